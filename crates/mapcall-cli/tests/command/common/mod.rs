//! Runs the real program.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its part"
)]

pub(crate) mod kernels;

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Returns a command that runs the program with these arguments, in English and with the system's compiler.
pub(crate) fn mapcall(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mapcall"));
    command.args(arguments).env_remove("CC");
    command
}

/// Runs Python code in a directory, with NumPy as `np`; the interpreter is `$MAPCALL_PYTHON`, or `python3`.
pub(crate) fn numpy(directory: &Path, code: &str) {
    let python = env::var_os("MAPCALL_PYTHON").unwrap_or_else(|| "python3".into());
    let code = format!("import numpy as np\n{code}");
    let mut command = Command::new(python);
    let output = command
        .args(["-c", &code])
        .current_dir(directory)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{code}: {message} (MAPCALL_PYTHON names a Python with NumPy)"
    );
}

/// Runs a command that must succeed without a message, and returns its output.
pub(crate) fn succeeded(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && message.is_empty(),
        "{command:?}: {message}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must end with code 2 and without output, and returns its message.
pub(crate) fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{command:?}");
    assert!(output.stdout.is_empty(), "{command:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Parses one JSON object on each line.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    let object = |line| {
        let value: Value = serde_json::from_str(line).unwrap();
        assert!(value.is_object(), "{line}");
        value
    };
    text.lines().map(object).collect()
}
