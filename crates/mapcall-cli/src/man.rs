//! `mapcall man`: writes the manual pages.

use std::io::{self, Write};

use clap::Args;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::{EXIT_CODES, Failure, command, output};

/// Write the manual page of mapcall, or of a subcommand
///
/// To read it: mapcall man | man -l -
#[derive(Args)]
pub(crate) struct Arguments {
    /// The subcommand; without it, the page of mapcall itself
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut whole = command();
    whole.build();
    let page = match &arguments.command {
        None => whole,
        Some(name) => {
            let page = whole.find_subcommand(name).cloned();
            page.ok_or_else(|| {
                let names = whole.get_subcommands().map(clap::Command::get_name);
                Failure::NoCommand {
                    name: name.clone(),
                    names: names.collect::<Vec<_>>().join(", "),
                }
            })?
        }
    };
    let has_subcommands = page.has_subcommands();
    // A subcommand has no version by default, which the renderer needs.
    let man = Man::new(page.version(env!("CARGO_PKG_VERSION")));
    output::write(|output| {
        man.render_title(output)?;
        man.render_name_section(output)?;
        man.render_synopsis_section(output)?;
        man.render_description_section(output)?;
        man.render_options_section(output)?;
        if has_subcommands {
            man.render_subcommands_section(output)?;
        }
        exit_status(output)?;
        man.render_version_section(output)
    })?;
    Ok(())
}

fn exit_status(output: &mut impl Write) -> io::Result<()> {
    let mut page = Roff::default();
    page.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        page.control("TP", []);
        page.text([roman(code)]);
        page.text([roman(meaning)]);
    }
    page.to_writer(output)
}
