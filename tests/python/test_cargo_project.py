"""A new cargo project that depends on the crate by its path, as a user would make one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

MANIFEST = """
[package]
name = "fresh"
edition = "2024"

[dependencies]
mapcall = { path = "%s", default-features = false, features = ["headers"] }

[workspace]
"""

PROGRAM = r"""
use std::error::Error;
use std::path::Path;

use mapcall::array::{MapOptions, Mode};
use mapcall::{Arg, SourceCode, compile};

const CODE: &str = "
    void scale(int n, const double x[n], double by, double y[n])
    {
        for (int i = 0; i < n; i++)
            y[i] = by * x[i];
    }
";

fn main() -> Result<(), Box<dyn Error>> {
    // SAFETY: the code is sound for all arguments that fit its prototype.
    let kern = unsafe { compile(SourceCode::new(CODE).flags(["-O3"]))? };
    let scale = kern.function("scale")?;
    // SAFETY: no other program changes the file.
    let x = unsafe { MapOptions::new().mode(Mode::Read).open("x.npy")? };
    let mut outputs = [Arg::from(Path::new("y.npy"))];
    scale.map(&[Arg::from(&x), 3.0.into()], &mut outputs).threads(2).run()?;
    let wrong = compile_error();
    println!("{}", wrong.lines().next().unwrap_or_default());
    Ok(())
}

fn compile_error() -> String {
    // SAFETY: the compiler refuses the code.
    match unsafe { compile("int f(void) { return misspelt; }") } {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}
"""


@pytest.mark.skipif("MAPCALL_CARGO" not in os.environ, reason="builds the crate: make test-long")
def test_a_fresh_project_compiles_and_calls_c(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.rs").write_text(PROGRAM)
    (tmp_path / "Cargo.toml").write_text(MANIFEST % (ROOT / "crates" / "mapcall"))
    # The versions that the other tests have downloaded.
    shutil.copy(ROOT / "Cargo.lock", tmp_path)
    x = np.arange(12.0).reshape(4, 3)
    np.save(tmp_path / "x.npy", x)
    shown = subprocess.run(
        ["cargo", "run", "--quiet", "--offline"],
        cwd=tmp_path,
        env=os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == "error: 'misspelt' undeclared (first use in this function)\n"
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), 3 * x)
