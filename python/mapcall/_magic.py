"""The cell magic ``%%mapcall`` of IPython."""

from __future__ import annotations

import shlex
from typing import Any

from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from ._errors import CompileError
from ._mapcall import Function, compile


@magics_class
class CompileMagic(Magics):
    """The magic, of one shell."""

    @magic_arguments()
    @argument(
        "library",
        nargs="?",
        help="the variable that gets the library; without one, each function becomes a variable",
    )
    @argument("-f", "--flags", default="", help="options of the compiler, such as '-O3 -fopenmp'")
    @argument(
        "-l",
        "--library",
        dest="libraries",
        action="append",
        default=[],
        metavar="NAME",
        help="link a library",
    )
    @argument(
        "-I",
        "--include",
        action="append",
        default=[],
        metavar="DIR",
        help="look for headers in a folder",
    )
    @argument(
        "-D",
        "--define",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="define a macro",
    )
    @argument("--language", default=None, help="c, c++ or fortran")
    @argument(
        "--prototypes", default=None, metavar="VARIABLE", help="the variable that has prototypes"
    )
    @argument("--compiler", default=None, help="the command of the compiler")
    @argument("--no-cache", action="store_true", help="compile in any case, and keep nothing")
    @cell_magic
    def mapcall(self, line: str, cell: str) -> None:
        """Compile the cell, and make its functions callable, as `mapcall.compile` does."""
        shell: Any = self.shell
        options = parse_argstring(CompileMagic.mapcall, line)
        define = dict(
            definition.split("=", 1) if "=" in definition else (definition, None)
            for definition in options.define
        )
        prototypes = options.prototypes and shell.user_ns[options.prototypes]
        try:
            library = compile(
                # The magic's own line is the first one of the cell.
                "\n" + cell,
                flags=unquoted(options.flags),
                libraries=options.libraries,
                include=options.include,
                define=define,
                prototypes=prototypes,
                language=options.language,
                compiler=options.compiler,
                cache=not options.no_cache,
            )
        except CompileError as error:
            # The lines of the cell say all; IPython shows these in place of Python's.
            shown = f"{type(error).__name__}:\n{error}".splitlines()
            error._render_traceback_ = lambda: shown  # type: ignore[attr-defined]
            raise
        if options.library is not None:
            shell.push({options.library: library})
            return
        found = {name: getattr(library, name, None) for name in library.symbols()}
        functions = {name: each for name, each in found.items() if isinstance(each, Function)}
        shell.push(functions)


def unquoted(argument: str) -> list[str]:
    """Return the words of an argument, which IPython passes with its quotes.

    >>> unquoted("'-O3 -fopenmp'")
    ['-O3', '-fopenmp']
    """
    return [word for part in shlex.split(argument) for word in part.split()]


def register(shell: Any) -> None:
    """Register the magic with a shell."""
    shell.register_magics(CompileMagic)
