"""Run the installed test modules of NumPy with mapcall's objects in place of NumPy's.

    TESTS = load_numpy_tests(
        "numpy.tests.test_ctypeslib",
        {"numpy.ctypeslib": mapcall.ctypeslib},
        differences={"TestNdpointer.test_flags": "why ours differs on purpose"},
    )
    globals().update(exported(TESTS))

pytest then collects NumPy's tests from the module with these lines. The objects
are swapped while the test module is imported and while each test runs, and
at no other time. The marks of NumPy's tests, such as ``thread_unsafe``, have
to be registered in mapcall's configuration.
"""

import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest


@contextmanager
def swapped(replacements: Mapping[str, Any]) -> Iterator[None]:
    """Set the attribute at each dotted path to its value, and restore the old one afterwards.

    A path that names a module is swapped in `sys.modules` too, so that every
    form of import finds the replacement.
    """
    with pytest.MonkeyPatch.context() as patch:
        for path, ours in replacements.items():
            owner, _, name = path.rpartition(".")
            patch.setattr(importlib.import_module(owner), name, ours)
            if path in sys.modules:
                patch.setitem(sys.modules, path, ours)
        yield


def load_numpy_tests(
    module: str,
    replacements: Mapping[str, Any],
    differences: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
) -> ModuleType:
    """Execute an installed test module of NumPy with mapcall's objects.

    Parameters
    ----------
    module
        The dotted name of the test module. A copy that is already imported stays unchanged.
    replacements
        mapcall's object for each dotted path, such as ``numpy.memmap``.
    differences
        The tests that must fail, because mapcall differs on purpose: test name
        (``TestClass.test_name`` or ``test_name``) to reason. The run fails if one of
        them passes, and if NumPy has no test with that name.
    only
        The test classes and functions to keep; all if left out.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"NumPy was installed without {module}")
    tests = importlib.util.module_from_spec(spec)
    # The classes and functions of the module are pickled by its name.
    sys.modules.setdefault(module, tests)
    with swapped(replacements):
        spec.loader.exec_module(tests)

    if only is not None:
        _keep_only(tests, only)
    for name, reason in (differences or {}).items():
        _expect_failure(tests, name, reason)

    @pytest.fixture(autouse=True)
    def swapped_while_running() -> Iterator[None]:
        with swapped(replacements):
            yield

    tests.swapped_while_running = swapped_while_running
    return tests


def exported(tests: ModuleType) -> dict[str, Any]:
    """Return the names that a pytest module needs in order to run `tests`."""
    return {name: value for name, value in vars(tests).items() if name[:2] != "__"}


def _is_test(name: str) -> bool:
    return name.startswith(("Test", "test"))


def _keep_only(tests: ModuleType, only: Collection[str]) -> None:
    missing = [name for name in only if not hasattr(tests, name)]
    if missing:
        raise LookupError(f"{tests.__name__} has no {', '.join(missing)}")
    for name in [name for name in vars(tests) if _is_test(name)]:
        if name not in only:
            delattr(tests, name)


def _expect_failure(tests: ModuleType, name: str, reason: str) -> None:
    *owners, leaf = name.split(".")
    owner: Any = tests
    for part in owners:
        owner = getattr(owner, part)
    test = getattr(owner, leaf)
    setattr(owner, leaf, pytest.mark.xfail(reason=reason, strict=True)(test))
