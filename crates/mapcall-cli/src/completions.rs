//! `mapcall completions`: completions of the command for shells.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use crate::{Failure, command, output};

/// Write the completions of the command for a shell
///
/// For bash: mapcall completions bash > ~/.local/share/bash-completion/completions/mapcall
#[derive(Args)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut command = command();
    let name = command.get_name().to_owned();
    // The text is written to memory first, as `generate` panics if a write fails.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    output::write(|output| output.write_all(&script))?;
    Ok(())
}
