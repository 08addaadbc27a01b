//! The command `mapcall`.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    mapcall_cli::run(env::args_os(), None).into()
}
