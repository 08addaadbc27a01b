//! The arguments of compilers and linkers, and the files that a linker lists.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{CompileError, Language, SourceCode};
use crate::compiler;
use crate::parse::MAX_TEXT;

/// The name of the library in the temporary directory.
pub(super) const LIBRARY: &str = "library.so";

/// The name of the file of a text in Fortran in the temporary directory.
pub(super) const FORTRAN: &str = "source.f90";

impl SourceCode {
    /// Refuses what the compiler would read as something else.
    pub(super) fn check(&self) -> Result<(), CompileError> {
        const REFUSED: [&str; 9] = [
            "-",
            "-c",
            "-E",
            "-S",
            "-M",
            "-MM",
            "-fsyntax-only",
            "--help",
            "--version",
        ];
        if self.text.len() > MAX_TEXT {
            return Err(CompileError::TooLong { limit: MAX_TEXT });
        }
        for flag in &self.flags {
            let flag = flag.to_string_lossy();
            let is_refused = REFUSED.contains(&&*flag)
                || flag.starts_with("-o")
                || flag.starts_with("-x")
                || flag.contains('\0');
            if is_refused {
                let flag = flag.into_owned();
                return Err(CompileError::Flag { flag });
            }
        }
        for library in &self.libraries {
            let name = library.to_string_lossy();
            if name.is_empty() || name.contains(char::is_control) {
                let name = name.into_owned();
                return Err(CompileError::LibraryName { name });
            }
        }
        for (name, value) in &self.macros {
            let mut letters = name.bytes().enumerate();
            let is_identifier = letters.all(|(at, byte)| {
                byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit()
            });
            let value = value.as_deref().unwrap_or_default();
            if name.is_empty() || !is_identifier || value.contains(['\n', '\r', '\0']) {
                let definition = format!("{name}={value}");
                return Err(CompileError::Macro { definition });
            }
        }
        Ok(())
    }

    /// Returns the arguments of a preprocessor, which finds `mapcall.h` in a directory.
    pub(super) fn preprocessor(&self, language: Language, own: &Path) -> Vec<OsString> {
        // The definitions of macros are in the output, and the directories to search in the messages.
        let mut arguments: Vec<OsString> = ["-E", "-dD", "-v", "-w"].map(Into::into).into();
        arguments.push("-D__mapcall__=1".into());
        if language == self.language {
            arguments.extend(self.flags.iter().cloned());
        }
        arguments.extend(self.options(language, own));
        arguments.push("-".into());
        arguments
    }

    /// Returns the options of the language, of headers and of macros.
    fn options(&self, language: Language, own: &Path) -> Vec<OsString> {
        let mut options = compiler::search_and_define(&self.directories, &self.macros);
        if let Some(name) = language.option() {
            options.extend(["-idirafter".into(), own.into()]);
            options.extend(["-x".into(), name.into()]);
        }
        options
    }

    /// Returns the arguments of the compiler, which writes to a directory and has reported its version in the
    /// messages of a preprocessor.
    pub(super) fn compiler_arguments(&self, messages: &str, directory: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["-shared", "-fPIC", "-O2"].map(Into::into).into();
        arguments.push(if messages.contains("clang version ") {
            "-fno-caret-diagnostics".into()
        } else {
            "-fno-diagnostics-show-caret".into()
        });
        if gcc_version(messages).is_some_and(|version| version >= 11) {
            arguments.push("-fdiagnostics-column-unit=byte".into());
        }
        if cfg!(target_os = "linux") {
            // Symbols that are missing are errors of the linker, which also lists the files that it reads.
            arguments.extend(["-Wl,-z,defs".into(), "-Wl,-t".into()]);
        }
        if self.language == Language::Fortran {
            arguments.extend(["-J".into(), directory.into()]);
        }
        arguments.extend(self.flags.iter().cloned());
        arguments.extend(self.options(self.language, directory));
        arguments.extend(["-o".into(), directory.join(LIBRARY).into()]);
        match (self.language, &self.file) {
            (Language::Fortran, Some(file)) => arguments.push(file.into()),
            (Language::Fortran, None) => arguments.push(directory.join(FORTRAN).into()),
            _ => arguments.extend(["-".into(), "-x".into(), "none".into()]),
        }
        for library in &self.libraries {
            arguments.extend(linker_arguments(library));
        }
        if cfg!(unix) {
            arguments.push("-lm".into());
        }
        arguments
    }
}

/// Returns the major version of GCC, which `-v` reports.
fn gcc_version(messages: &str) -> Option<u32> {
    let (_, version) = messages.split_once("\ngcc version ")?;
    version.split('.').next()?.parse().ok()
}

/// Returns the arguments by which a library is linked.
fn linker_arguments(library: &OsString) -> Vec<OsString> {
    let path = Path::new(library);
    let name = library.to_string_lossy();
    if path.components().count() > 1 || path.is_file() {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        let mut arguments = vec![path.clone().into_os_string()];
        if let Some(parent) = path.parent() {
            // The loader looks for it there, too.
            let mut option = OsString::from("-Wl,-rpath,");
            option.push(parent);
            arguments.push(option);
        }
        return arguments;
    }
    let name = name.strip_prefix("-l").unwrap_or(&name);
    let is_file_name = name.starts_with("lib") && (name.contains(".so") || name.contains(".a"));
    vec![if is_file_name {
        format!("-l:{name}").into()
    } else {
        format!("-l{name}").into()
    }]
}

/// Returns the files that a linker lists, other than those of a directory. A member of an archive is listed
/// behind the archive in parentheses.
pub(super) fn linked_files(output: &str, directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut known = HashSet::new();
    for line in output.lines() {
        let line = match line.strip_prefix('(') {
            Some(member) => member.split(')').next().unwrap_or_default(),
            None => line,
        };
        let path = Path::new(line);
        if path.is_absolute() && !path.starts_with(directory) && known.insert(line) {
            files.push(path.into());
        }
    }
    files
}
