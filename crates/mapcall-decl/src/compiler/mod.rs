//! The system's compilers: their commands, how they are run, and the cache of what they have written.

mod cache;
mod run;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use cache::{Entry, Question, Request};
pub(crate) use run::{Exited, Failed, Limits, finish, start};

/// The header of mapcall's notations.
pub(crate) const OWN_HEADER: &str = "mapcall.h";

/// Writes [`OWN_HEADER`] into a directory.
pub(crate) fn write_own_header(directory: &Path) -> io::Result<()> {
    fs::write(directory.join(OWN_HEADER), crate::MAPCALL_H)
}

/// Returns the commands to try, each a program and its first arguments: the given one; otherwise that of an
/// environment variable; otherwise the usual ones.
pub(crate) fn commands(
    given: Option<&OsString>,
    variable: &str,
    usual: &[&str],
) -> Vec<Vec<OsString>> {
    if let Some(compiler) = given {
        return vec![vec![compiler.clone()]];
    }
    match env::var_os(variable).filter(|command| !command.is_empty()) {
        Some(command) => {
            // The text is either the path of a program, with spaces, or a program with arguments.
            let argv = command
                .to_str()
                .unwrap_or_default()
                .split_ascii_whitespace();
            let argv: Vec<_> = argv.map(OsString::from).collect();
            let mut commands = vec![vec![command]];
            commands.extend((argv.len() > 1).then_some(argv));
            commands
        }
        None => usual
            .iter()
            .map(|name| vec![OsStr::new(name).to_owned()])
            .collect(),
    }
}

/// Returns the path behind `./`, so that it is not read as an option, or as GCC's `=` for the sysroot.
pub(crate) fn behind_dot(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}

/// Returns the options for directories to search for headers, and for macros with their values.
pub(crate) fn search_and_define(
    directories: &[PathBuf],
    macros: &[(String, Option<String>)],
) -> Vec<OsString> {
    let mut options: Vec<OsString> = Vec::new();
    for directory in directories {
        options.extend(["-I".into(), behind_dot(directory).into()]);
    }
    for (name, value) in macros {
        let definition = match value {
            Some(value) => format!("-D{name}={value}"),
            None => format!("-D{name}"),
        };
        options.push(definition.into());
    }
    options
}

/// Returns the directories that `-v` lists, and the other messages.
pub(crate) fn split_messages(stderr: &str) -> (Vec<PathBuf>, String) {
    const END: &str = "End of search list.";
    let Some((list, rest)) = stderr.split_once(END) else {
        return (Vec::new(), stderr.to_owned());
    };
    let list = list.split_once("#include \"...\" search starts here:");
    let (_, list) = list.unwrap_or_default();
    let directories = list.lines().filter_map(|line| line.strip_prefix(' '));
    let is_message = |line: &&str| {
        let variables = ["COMPILER_PATH=", "LIBRARY_PATH=", "COLLECT_GCC_OPTIONS="];
        !line.is_empty() && !variables.iter().any(|name| line.starts_with(name))
    };
    let rest: Vec<_> = rest.lines().filter(is_message).collect();
    (directories.map(PathBuf::from).collect(), rest.join("\n"))
}
