# ruff: noqa: E501 (messages stand on one line)
"""The remedies in messages on compilers, headers, source code and the loader: each is done, and works.

`test_every_remedy.py` knows which remedies there are, and reads this file for the calls of `advises`.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mapcall
from remedy_texts import advises, complains
from terminal import run

Compile = Callable[..., Path]
Script = Callable[..., str]

MIB = 1 << 20
COS = "double cos(double x);"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("CC", "CXX", "FC"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing")
    return path


def script(path: Path, text: str) -> str:
    """Writes a shell script, which a test gives as a compiler, and returns its absolute path."""
    # Another process writes it: a child of this one could keep it open, and the kernel would not run it.
    write = 'printf "#!/bin/sh\\n%s\\n" "$2" > "$1" && /bin/chmod +x "$1"'
    subprocess.run(["/bin/sh", "-c", write, "sh", path, text], check=True)
    return str(path.absolute())


class TestWithoutACompiler:
    """No command of a compiler is found by its name."""

    @pytest.fixture(autouse=True)
    def path(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "bin").mkdir()
        # The programs that GCC starts in its turn.
        for name in ("as", "ld"):
            (folder / "bin" / name).symlink_to(program(name))
        self.commands = {name: shutil.which(name) for name in ("cc", "c++", "gfortran")}
        monkeypatch.setenv("PATH", str(folder / "bin"))

    def test_c(self, monkeypatch: pytest.MonkeyPatch) -> None:
        code = "int one(void) { return 1; }"
        with advises("conda: conda install c-compiler), or set CC to its command"):
            mapcall.compile(code)
        monkeypatch.setenv("CC", str(self.commands["cc"]))
        assert mapcall.compile(code).one() == 1

    def test_cpp(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def compiled() -> mapcall.Library:
            code = 'extern "C" int two(void) { return 2; }'
            return mapcall.compile(code, language="c++", prototypes=Path("two.h"))

        Path("two.h").write_text("int two(void);")
        # The prototypes are read as C.
        monkeypatch.setenv("CC", str(self.commands["cc"]))
        with advises("conda: conda install cxx-compiler), or set CXX to its command"):
            compiled()
        if self.commands["c++"] is None:
            pytest.skip("a C++ compiler is missing: on Debian, apt-get install g++")
        monkeypatch.setenv("CXX", self.commands["c++"])
        assert compiled().two() == 2

    def test_fortran(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def compiled() -> mapcall.Library:
            code = "integer function three() bind(C)\n  three = 3\nend function\n"
            return mapcall.compile(code, language="fortran", prototypes=Path("three.h"))

        Path("three.h").write_text("int three(void);")
        monkeypatch.setenv("CC", str(self.commands["cc"]))
        with advises("conda: conda install fortran-compiler), or set FC to its command"):
            compiled()
        compiler = self.commands["gfortran"]
        if compiler is None:
            # A command that preprocesses C as gfortran does, and makes the library of a file of C.
            Path("three.c").write_text("int three(void) { return 3; }")
            text = f'case "$*" in *"-o "*) ;; *) exec {self.commands["cc"]} "$@"; esac\n'
            text += 'while [ "$1" != -o ]; do shift; done\n'
            text += f'exec {self.commands["cc"]} -shared -fPIC -o "$2" {folder}/three.c'
            compiler = script(folder / "fortran", text)
        monkeypatch.setenv("FC", compiler)
        assert compiled().three() == 3

    def test_headers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("k.h").write_text(f"#if SIDE > 2\n{COS}\n#endif\n")

        def loaded() -> mapcall.Library:
            return mapcall.load("m", header="k.h", define={"SIDE": 3})

        with advises("install one, or set CC to its command"):
            loaded()
        monkeypatch.setenv("CC", str(self.commands["cc"]))
        assert loaded().cos(0) == 1

    def test_parts_of_a_compiler(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        code = "int one(void) { return 1; }"
        monkeypatch.setenv("CC", str(self.commands["cc"]))
        version = subprocess.run([os.environ["CC"], "-v"], capture_output=True, text=True)
        if "clang" in version.stderr:
            pytest.skip("Clang has an assembler of its own")
        (folder / "bin" / "as").rename(folder / "as")
        with advises("install it, or add its folder to PATH", mapcall.CompileError):
            mapcall.compile(code)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        assert mapcall.compile(code).one() == 1


def test_a_compiler_that_writes_no_object_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It preprocesses the header, and fails to compile without saying so."""
    Path("k.h").write_text(f"#define SIDE 3\n#define AREA (SIDE * SIDE)\n{COS}\n")
    text = 'for each; do [ "$each" != -c ] || exit 0; done\nexec cc "$@"'
    monkeypatch.setenv("CC", script(folder / "compiler", text))
    library = mapcall.load("m", header="k.h")
    assert library.cos(0) == 1
    with advises("compile a file that includes it by hand"):
        _ = library.AREA
    Path("area.c").write_text('#include "k.h"\nint area = AREA;\n')
    # So one sees that this compiler makes nothing.
    subprocess.run([os.environ["CC"], "-c", "area.c"], check=True)
    assert not Path("area.o").exists()
    monkeypatch.setenv("CC", "cc")
    subprocess.run(["cc", "-c", "area.c"], check=True)
    assert Path("area.o").exists()
    assert mapcall.load("m", header="k.h").AREA == 9


class TestErrorsOfCompilers:
    def test_symbols(self, compile_c: Compile) -> None:
        code = "int other(void); int one(void) { return other(); }"
        with advises("define it, or name the library that has it in `libraries`"):
            mapcall.compile(code)
        assert mapcall.compile(code + "int other(void) { return 1; }").one() == 1
        compile_c("int other(void) { return 2; }").rename("libother.so")
        assert mapcall.compile(code, libraries="./libother.so").one() == 2

    def test_libraries(self, compile_c: Compile) -> None:
        code = "int other(void); int one(void) { return other(); }"
        with advises("install the library's development package, or give the path of its file"):
            mapcall.compile(code, libraries="mapcall-other")
        path = compile_c("int other(void) { return 3; }")
        assert mapcall.compile(code, libraries=path).one() == 3

    def test_headers(self, folder: Path) -> None:
        code = "#include <two.h>\nint two(void) { return TWO; }"
        with advises("add the folder that has it to `include`"):
            mapcall.compile(code)
        Path("in").mkdir()
        Path("in/two.h").write_text("#define TWO 2\n")
        assert mapcall.compile(code, include=folder / "in").two() == 2


class TestLimits:
    def test_headers(self) -> None:
        Path("large.h").write_text(f'{COS}\nconst char *text = "{"x" * (17 * MIB)}";\n')
        Path("small.h").write_text(COS)
        Path("all.h").write_text('#include "small.h"\n#include "large.h"\n')
        with advises("read a header that includes less"):
            mapcall.load("m", header="all.h")
        assert mapcall.load("m", header="small.h").cos(0) == 1

    def test_prototypes(self) -> None:
        library = mapcall.load("m")
        with advises("give only the declarations that are needed"):
            library.function(COS + "\n" * (17 * MIB))
        assert library.function(COS)(0) == 1

    def test_source_code(self) -> None:
        code = "int one(void) { return 1; }" + " " * (17 * MIB)
        with advises("compile it by a build system, and load the library"):
            mapcall.compile(code)
        Path("one.c").write_text(code)
        Path("Makefile").write_text("libone.so: one.c\n\tcc -shared -fPIC -o $@ $<\n")
        program("make")
        subprocess.run(["make"], check=True, capture_output=True)
        assert mapcall.load("./libone.so").function("int one(void)")() == 1

    def test_levels(self) -> None:
        library = mapcall.load("m")
        remedy = complains(
            "leave out needless brackets, or write `void *` in place of an inner type"
        )
        for deep, less in [
            (f"double cos(double {'(' * 70}x{')' * 70})", "double cos(double x)"),
            (f"double cos(int {'(*' * 70}f{')(void)' * 70})", "double cos(void *(*f)(void))"),
            (f"double cos(double {'*' * 70}x)", "double cos(void *x)"),
        ]:
            with pytest.raises(mapcall.PrototypeError) as caught:
                library.function(deep)
            complains(remedy, caught.value)
            assert library.function(less)

    def test_parameters(self) -> None:
        numbers = range(1025)
        code = f"int total({', '.join(f'int x{n}' for n in numbers)})"
        code += f"{{ return {'+'.join(f'x{n}' for n in numbers)}; }}\n"
        wrapper = f"struct numbers {{ int x[{len(numbers)}]; }};\n"
        wrapper += "int total_of(struct numbers all)"
        wrapper += f"{{ return total({', '.join(f'all.x[{n}]' for n in numbers)}); }}\n"
        library = mapcall.compile(code + wrapper)
        with advises("wrap it in a function that takes a struct"):
            _ = library.total
        given = np.array((np.arange(1025),), [("x", "i4", 1025)])
        assert library.total_of(given) == sum(numbers)

    def test_errors(self) -> None:
        Path("many.h").write_text("struct { int 3; } x;\n" * 1000 + COS)
        done = run("prototypes", "many.h")
        assert done.returncode == 2
        complains("give declarations that a C compiler accepts", done.stderr)
        Path("many.h").write_text("struct { int n; } x;\n" + COS)
        done = run("prototypes", "many.h")
        assert (done.returncode, done.stdout, done.stderr) == (0, "double cos(double x);\n", "")


def test_functions_that_can_not_be_called(compile_c: Compile) -> None:
    library = mapcall.load(
        compile_c(
            """
            __attribute__((ms_abi)) int windows(int x) { return x + 1; }
            int wrapped(int x) { return windows(x); }
            void square(__int128 *x) { *x *= *x; }
            __int128 twice(__int128 x) { return 2 * x; }
            long twice_of(long x) { return twice(x); }
            """
        )
    )
    with advises("wrap it in a function with the platform's calling convention"):
        library.function("__attribute__((ms_abi)) int windows(int x)")
    assert library.function("int wrapped(int x)")(1) == 2
    with advises("pass it by a pointer, or wrap the function"):
        library.function("__int128 twice(__int128 x)")
    assert library.function("long twice_of(long x)")(3) == 6
    square, x = library.function("void square(void *x)"), np.array([3, 0])
    square(x)
    assert x.tolist() == [9, 0]


class TestLibraries:
    def test_one_that_another_one_needs(self, folder: Path, run_script: Script) -> None:
        def compile_to(path: str, text: str, *flags: str) -> None:
            command = ["cc", "-shared", "-fPIC", "-xc", "-", "-o", path, *flags]
            subprocess.run(command, input=text, text=True, check=True)

        Path("needed").mkdir()
        for name, *flags in [("soname", "-Wl,-soname,libsoname.so"), ("plain",)]:
            compile_to(f"needed/lib{name}.so", f"int {name}(void) {{ return 3; }}", *flags)
            text = f"int {name}(void); int twice(void) {{ return 2 * {name}(); }}"
            compile_to(f"libneeds-{name}.so", text, "-Lneeded", f"-l{name}")
            with advises(
                "start the program with its folder in LD_LIBRARY_PATH, or load that library first, by its path, if it has a soname"
            ):
                mapcall.load(f"./libneeds-{name}.so")
        first = mapcall.load("needed/libsoname.so")
        twice = mapcall.load("./libneeds-soname.so").function("int twice(void)")
        del first
        assert twice() == 6
        load = """
            import sys
            import mapcall
            print(mapcall.load(sys.argv[1]).function("int twice(void)")())
        """
        environment = {"LD_LIBRARY_PATH": str(folder / "needed")}
        assert run_script(load, folder / "libneeds-plain.so", environment=environment) == "6\n"

    def test_a_pickle_of_one_whose_file_was_replaced(
        self, compile_c: Compile, run_script: Script
    ) -> None:
        path = Path("libkern.so").absolute()
        shutil.copy(compile_c("int f(void) { return 1; }"), path)
        old = mapcall.load(path).function("int f(void)")
        path.unlink()
        shutil.copy(compile_c("int f(void) { return 2; }"), path)
        with advises("load the library in a new process, or the new file from a path of its own"):
            pickle.dumps(old)
        new = shutil.copy(path, "libnew.so")
        function = mapcall.load(Path(new).absolute()).function("int f(void)")
        assert pickle.loads(pickle.dumps(function))() == 2
        in_a_new_process = """
            import pickle, sys
            import mapcall
            function = mapcall.load(sys.argv[1]).function("int f(void)")
            print(pickle.loads(pickle.dumps(function))())
        """
        assert run_script(in_a_new_process, path) == "2\n"
