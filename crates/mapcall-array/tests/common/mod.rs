//! NumPy as the oracle of the property tests.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub
)]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

/// Evaluates a Python expression in a long-lived Python that has NumPy as `np`.
///
/// Returns the value as JSON, or the exception as `"ValueError: message"`. The interpreter is
/// `$MAPCALL_PYTHON`, or `python3`.
pub fn numpy(expression: &str) -> Result<Value, String> {
    static ORACLE: OnceLock<Mutex<Oracle>> = OnceLock::new();
    let oracle = ORACLE.get_or_init(|| Mutex::new(Oracle::start()));
    // A lock that another test has poisoned is still used.
    oracle
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .ask(expression)
}

const LOOP: &str = r#"
import json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
print("ready", flush=True)
for line in sys.stdin:
    try:
        answer = {"value": eval(json.loads(line), {"np": np})}
        text = json.dumps(answer, default=lambda x: x.item() if hasattr(x, "item") else str(x))
    except Exception as error:
        text = json.dumps({"error": f"{type(error).__name__}: {error}"})
    print(text, flush=True)
"#;

struct Oracle {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Oracle {
    fn start() -> Self {
        let python = env::var("MAPCALL_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut child = Command::new(&python)
            .args(["-c", LOOP])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {python} (set MAPCALL_PYTHON): {error}"));
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut oracle = Self {
            child,
            stdin,
            stdout,
        };
        let hello = oracle.line();
        assert_eq!(
            hello.trim(),
            "ready",
            "{python} has no NumPy; `make test` installs it"
        );
        oracle
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("the oracle answers");
        line
    }

    fn ask(&mut self, expression: &str) -> Result<Value, String> {
        writeln!(self.stdin, "{}", Value::from(expression)).expect("the oracle listens");
        let mut answer: Value =
            serde_json::from_str(&self.line()).expect("the oracle answers JSON");
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["value"].take()),
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
