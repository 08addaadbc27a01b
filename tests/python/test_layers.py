"""The layers of the crates: no cycle of imports, and no import against their order."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from layers import Crate, Module, circles

ROOT = Path(__file__).resolve().parents[2]
# In ascending order: each imports only those before it.
CRATES = ["mapcall-array", "mapcall-decl", "mapcall", "mapcall-cli", "mapcall-py"]
# The modules of a crate in ascending order.
MODULES = {
    "mapcall-array": [
        *["mode", "fork", "sys", "guard", "literal", "dtype", "convert", "layout", "format"],
        *["error", "map", "buffer", "array", "ctypes", "typed", "open"],
    ],
    "mapcall-decl": [
        *["nearest", "stack", "ctype", "error", "source_map", "prototype"],
        *["function_type", "contradiction", "syntax", "parse", "declarations", "sys"],
        *["compiler", "header", "source"],
    ],
    "mapcall": ["call", "library", "contract", "function", "compile", "batch"],
}

# The modules of `mapcall.dask` in ascending order.
DASK = [
    *["_requirement", "_maps", "_arrays", "_kernels", "_progress", "_store", "_calls"],
    *["_plugin", "_ship", "_command", "__init__"],
]


@pytest.fixture(scope="module")
def crates() -> dict[str, Crate]:
    return {name: Crate(ROOT / "crates" / name) for name in CRATES}


def against(order: list[str], imports: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Returns the imports of modules that come later in the order."""
    rank = {name: index for index, name in enumerate(order)}
    return [
        (name, other)
        for name, others in sorted(imports.items())
        for other in sorted(others)
        if rank[name] < rank[other]
    ]


@pytest.mark.parametrize("name", CRATES)
def test_no_circle(crates: dict[str, Crate], name: str) -> None:
    folders = crates[name].siblings()
    found = {"::".join(folder): circles(imports) for folder, imports in folders.items()}
    assert {folder: circle for folder, circle in found.items() if circle} == {}


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_lower_ones_only(crates: dict[str, Crate], name: str) -> None:
    imports = crates[name].siblings()[()]
    assert set(imports) == set(MODULES[name]), "a module is missing in the list of this test"
    assert against(MODULES[name], imports) == []


def test_modules_of_mapcall_dask_import_lower_ones_only() -> None:
    folder = ROOT / "python/mapcall/dask"
    imports = {}
    for path in folder.glob("*.py"):
        imports[path.stem] = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.level == 1
            for name in ([node.module] if node.module else [alias.name for alias in node.names])
        }
    assert set(imports) == set(DASK), "a module is missing in the list of this test"
    assert against(DASK, imports) == []
    assert {"_maps", "_store"} <= imports["_calls"]


def test_crates_depend_on_lower_ones_only() -> None:
    names = {path.name for path in (ROOT / "crates").iterdir()}
    assert names == set(CRATES)
    imports = {}
    for name in CRATES:
        manifest = tomllib.loads((ROOT / "crates" / name / "Cargo.toml").read_text())
        tables = [manifest, *manifest.get("target", {}).values()]
        imports[name] = {
            other
            for table in tables
            for kind in ("dependencies", "build-dependencies", "dev-dependencies")
            for other in table.get(kind, {})
            if other in names
        }
    assert against(CRATES, imports) == []
    assert imports["mapcall"] == {"mapcall-array", "mapcall-decl"}


def test_declarations_are_without_unsafe_code() -> None:
    root = (ROOT / "crates/mapcall-decl/src/lib.rs").read_text()
    assert "#![forbid(unsafe_code)]" in root


def write(folder: Path, files: dict[str, str]) -> Crate:
    for name, text in files.items():
        path = folder / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Crate(folder)


LEAVES = {"lib.rs": "mod a;\nmod b;\npub use b::Thing;", "b.rs": "pub struct Thing;"}


class TestReading:
    """Imports of every form are found, and none in comments, texts and tests."""

    @pytest.mark.parametrize(
        "text",
        [
            "use crate::b::Thing;",
            "use super::b;",
            "use crate::{b::{self, Thing}, a};",
            "use crate::Thing;",
            "use crate::Thing as Other;",
            "fn f(thing: crate::b::Thing) {}",
            "fn f<'a>(thing: &'a super::Thing) {}",
            "    use super::\n        b::Thing;",
        ],
    )
    def test_imports(self, tmp_path: Path, text: str) -> None:
        crate = write(tmp_path, LEAVES | {"a.rs": text})
        assert crate.siblings()[()] == {"a": {"b"}, "b": set()}

    @pytest.mark.parametrize(
        "text",
        [
            "// use crate::b::Thing;",
            "/// See [`Thing`](crate::b::Thing).\nfn f() {}",
            "/* crate::b */",
            'const TEXT: &str = "crate::b::Thing";',
            'const TEXT: &str = r#"a "quote" crate::b"#;',
            "#[cfg(test)]\nmod tests {\n    use crate::b::Thing;\n    fn f() { {} }\n}",
            "use other::b::Thing;",
        ],
    )
    def test_no_imports(self, tmp_path: Path, text: str) -> None:
        crate = write(tmp_path, LEAVES | {"a.rs": text})
        assert crate.siblings()[()] == {"a": set(), "b": set()}

    def test_folders(self, tmp_path: Path) -> None:
        crate = write(
            tmp_path,
            {
                "lib.rs": "mod a;\nmod b;",
                "a/mod.rs": "mod c;\nmod d;\npub use c::One;",
                "a/c.rs": "pub struct One;\nuse super::d::Two;",
                "a/d.rs": "pub struct Two;\nuse super::One;",
                "b.rs": "use crate::a::One;",
            },
        )
        assert crate.siblings() == {
            (): {"a": set(), "b": {"a"}},
            ("a",): {"c": {"d"}, "d": {"c"}},
        }
        assert circles(crate.siblings()[("a",)]) == [{"c", "d"}]

    def test_an_import_against_the_order_is_seen(self, tmp_path: Path) -> None:
        files = LEAVES | {"a.rs": "use crate::b::Thing;"}
        imports = write(tmp_path, files).siblings()[()]
        assert against(["b", "a"], imports) == []
        assert against(["a", "b"], imports) == [("a", "b")]


def test_the_reader_sees_the_crates(crates: dict[str, Crate]) -> None:
    """The crates have imports, so the checks above are no empty ones."""
    contract: Module = ("contract",)
    assert "error" in crates["mapcall"].siblings()[contract]["check"]
    assert "contract" in crates["mapcall"].siblings()[()]["function"]
    sources = sum(len(crate.sources) for crate in crates.values())
    assert sources > 150
    uses = sum(len(re.findall(r"^use ", text, re.M)) for text in crates["mapcall"].sources.values())
    assert uses > 100
