"""The package without Dask: it works, and says what to install where Dask is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Script = Callable[..., str]

# A finder that finds none of the packages, as where they are not installed.
HIDDEN = """
    import sys

    class Hidden:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.split(".")[0] in ("dask", "distributed"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Hidden)
    import mapcall
    import numpy as np

    def remedy(use):
        try:
            use()
        except ImportError as error:
            print(error)

    assert mapcall.load("m").function("double cos(double x)")(np.zeros(3)).tolist() == [1] * 3
"""


def test_the_error_says_what_to_install(run_script: Script, tmp_path: Path) -> None:
    script = (
        HIDDEN
        + """
    x = mapcall.memmap(sys.argv[1], mode="w+", shape=4)
    remedy(x.to_dask)
    remedy(lambda: mapcall.dask)
    """
    )
    expected = "mapcall.dask needs Dask's arrays; install them with: pip install 'mapcall[dask]'\n"
    assert run_script(script, tmp_path / "x.dat") == expected * 2


def test_importing_mapcall_imports_no_dask(run_script: Script) -> None:
    script = """
        import sys
        import mapcall
        assert not {"dask", "distributed", "cloudpickle"} & set(sys.modules)
        print(mapcall.dask.__name__, "dask" in sys.modules)
    """
    assert run_script(script) == "mapcall.dask True\n"
