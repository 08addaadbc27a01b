"""Finds which modules of the Rust crates import which, by their sources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

# Comments, and literals whose text could look like code.
TRIVIA = re.compile(
    r"""//[^\n]*|/\*.*?\*/|r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'""", re.DOTALL
)
TEST = re.compile(r"#\[cfg\(test\)\]\s*mod\s+\w+\s*\{")
USE = re.compile(
    r"^\s*(?:(pub(?:\([\w\s]+\))?)\s+)?use\s+((?:crate|super|self|\w+)\b[^;]*);", re.MULTILINE
)
PATH = re.compile(r"\b(crate|super|self)((?:\s*::\s*\w+)+)")

Module = tuple[str, ...]


class Crate:
    """The modules of a crate: their files, and their imports of each other."""

    def __init__(self, folder: Path) -> None:
        self.sources: dict[Module, str] = {}
        for path in sorted((folder / "src").rglob("*.rs")):
            parts = path.relative_to(folder / "src").with_suffix("").parts
            if parts[-1] in ("mod", "lib"):
                parts = parts[:-1]
            self.sources[parts] = without_tests(TRIVIA.sub(" ", path.read_text()))
        self.exports = {module: dict(self._exports(module)) for module in self.sources}

    def _exports(self, module: Module) -> Iterator[tuple[str, Module]]:
        """Yields the names that a module re-exports, and the paths of the items."""
        for visibility, tree in USE.findall(self.sources[module]):
            for path, name in leaves(tree):
                if visibility and (target := self._absolute(module, path)) is not None:
                    yield name, target

    def _absolute(self, module: Module, path: Module) -> Module | None:
        """Returns a path from the crate's root; None if it is in another crate."""
        first, *rest = path
        if first == "crate":
            return tuple(rest)
        at = module
        while first in ("super", "self"):
            at = at[:-1] if first == "super" else at
            if not rest:
                return at
            first, *rest = rest
            if first not in ("super", "self"):
                return (*at, first, *rest)
        return (*module, *path) if (*module, first) in self.sources else None

    def defining(self, path: Module) -> Module:
        """Returns the module that defines the item of a path, through all re-exports."""
        for _ in range(8):
            module = path
            while module not in self.sources:
                module = module[:-1]
            rest = path[len(module) :]
            target = self.exports[module].get(rest[0]) if rest else None
            if target is None or target[: len(module) + 1] == (*module, rest[0]):
                return module
            path = (*target, *rest[1:])
        return module

    def imports(self, module: Module) -> set[Module]:
        """Returns the modules whose items a module uses."""
        source = self.sources[module]
        paths = {
            path
            for visibility, tree in USE.findall(source)
            for path, _ in leaves(tree)
            # A module need not use the items that it re-exports.
            if not visibility
        }
        rest = USE.sub(" ", source)
        for first, tail in PATH.findall(rest):
            paths.add((first, *re.findall(r"\w+", tail)))
        found = {self._absolute(module, path) for path in paths}
        return {self.defining(path) for path in found if path is not None} - {module}

    def siblings(self) -> dict[Module, dict[str, set[str]]]:
        """Returns for each folder which of its modules import which; a subfolder is one module."""
        folders: dict[Module, dict[str, set[str]]] = {}
        for module in self.sources:
            for depth, name in enumerate(module):
                folders.setdefault(module[:depth], {}).setdefault(name, set())
        for module in self.sources:
            for other in self.imports(module):
                depth = 0
                while module[: depth + 1] == other[: depth + 1]:
                    depth += 1
                if depth < min(len(module), len(other)):
                    folders[module[:depth]][module[depth]].add(other[depth])
        return folders


def without_tests(source: str) -> str:
    """Returns the source without its test modules."""
    while found := TEST.search(source):
        depth, end = 1, found.end()
        while depth and end < len(source):
            depth += {"{": 1, "}": -1}.get(source[end], 0)
            end += 1
        source = source[: found.start()] + source[end:]
    return source


def leaves(tree: str) -> Iterator[tuple[Module, str]]:
    """Yields the paths of a `use`, each with the name that it gives the item."""
    tree = tree.strip()
    head, brace, body = tree.partition("{")
    if not brace:
        path, _, alias = tree.partition(" as ")
        names = tuple(re.findall(r"\w+|\*", path))
        if names[-1:] == ("self",) and len(names) > 1:
            names = names[:-1]
        yield names, alias.strip() or names[-1]
        return
    prefix = tuple(re.findall(r"\w+", head))
    depth, start = 0, 0
    body = body.rsplit("}", 1)[0] + ","
    for at, character in enumerate(body):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0 and body[start:at].strip():
            if branch := body[start:at].strip():
                for path, name in leaves(branch):
                    whole = prefix if path == ("self",) else (*prefix, *path)
                    yield whole, name if path != ("self",) else prefix[-1]
            start = at + 1


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Returns the sets of modules that import each other, directly or through others."""
    reach = {name: set(others) for name, others in imports.items()}
    for middle in reach:
        for others in reach.values():
            if middle in others:
                others |= reach[middle]
    found: list[set[str]] = []
    for name in reach:
        circle = {other for other in reach[name] if name in reach.get(other, set())}
        if circle and circle not in found:
            found.append(circle)
    return found
