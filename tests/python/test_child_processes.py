"""Headers in processes that lose the status of their children: SIGCHLD is ignored, or handled."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from terminal import COMMAND

SETUPS = {
    "ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "waited for in a handler": """
def wait(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

signal.signal(signal.SIGCHLD, wait)
""",
    "waited for in a thread": """
def wait():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.001)

threading.Thread(target=wait, daemon=True).start()
""",
}


@pytest.mark.parametrize("setup", SETUPS)
class TestPython:
    def test_a_header(self, run_script: Callable[..., str], setup: str) -> None:
        script = f"""
import os, signal, sys, threading, time
import mapcall
{SETUPS[setup]}
for _ in range(3):
    libm = mapcall.load("m", header="math.h")
    print(libm.cos(0.0))
print(signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN)
"""
        ignored = setup == "ignored"
        assert run_script(script) == f"1.0\n1.0\n1.0\n{ignored}\n"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("#include <no/such/header.h>\nint f(void);\n", "no/such/header.h"),
            ("#error not today\nint f(void);\n", "not today"),
            ("#warning never mind\nint abs(int);\n", None),
            ("int abs(int);", None),
        ],
    )
    def test_the_compilers_messages(
        self,
        tmp_path: Path,
        run_script: Callable[..., str],
        setup: str,
        text: str,
        message: str | None,
    ) -> None:
        header = tmp_path / "k.h"
        header.write_text(text)
        script = f"""
import os, signal, sys, threading, time
import mapcall
{SETUPS[setup]}
try:
    library = mapcall.load(None, header=sys.argv[1])
except mapcall.PrototypeError as error:
    print("refused:", error)
else:
    print(library.abs(-3))
"""
        output = run_script(script, header)
        if message is None:
            assert output == "3\n"
        else:
            assert output.startswith("refused:")
            assert message in output

    def test_a_compiler_that_is_killed(
        self, tmp_path: Path, run_script: Callable[..., str], setup: str
    ) -> None:
        # This compiler fails in the middle of its output, without a message.
        compiler = tmp_path / "cc"
        compiler.write_text(
            "#!/bin/sh\nprintf '# 1 \"k.h\"\\nint abs(int);\\nint la'\nkill -9 $$\n"
        )
        compiler.chmod(0o755)
        (tmp_path / "k.h").write_text("int abs(int);\nint labs(int);\n")
        script = f"""
import os, signal, sys, threading, time
os.environ["CC"] = sys.argv[1] + "/cc"
import mapcall
{SETUPS[setup]}
try:
    mapcall.load(None, header=sys.argv[1] + "/k.h")
except mapcall.PrototypeError as error:
    print("refused")
"""
        assert run_script(script, tmp_path) == "refused\n"


class TestCommand:
    @staticmethod
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs the command in a process that ignores SIGCHLD because its parent did."""
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN) and None,
        )

    def test_a_header(self, tmp_path: Path) -> None:
        header = tmp_path / "k.h"
        header.write_text("#include <stddef.h>\nsize_t strlen(const char *text);\n")
        result = self.run("prototypes", header)
        assert (result.returncode, result.stderr) == (0, "")
        assert "strlen" in result.stdout
        result = self.run("call", "c", "strlen", "text=abc", "--header", header)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.split()[-1] == "3"

    def test_a_header_that_is_refused(self, tmp_path: Path) -> None:
        header = tmp_path / "k.h"
        header.write_text("#error not today\n")
        result = self.run("prototypes", header)
        assert result.returncode == 2
        assert "not today" in result.stderr
