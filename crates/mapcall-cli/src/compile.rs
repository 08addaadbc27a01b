//! `mapcall compile`: makes a shared library of source code.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use mapcall::source::{BuiltLibrary, Language, Severity};
use mapcall::{CompileError, SourceCode};

use crate::interrupt::Interrupts;
use crate::prototypes::name_and_value;
use crate::{Failure, output};

/// Compile C code to a shared library, and write the library's path
///
/// The library is kept in the user's cache folder (~/.cache/mapcall), and taken from there while the code, the
/// options, the compiler and all files that it reads are the same.
///
/// mapcall call "$(mapcall compile kern.c)" 'double twice(double x)' x=x.npy -o y.npy
///
/// mapcall call takes source code, too, and then the name of the function is enough.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The file of the code, or - for the standard input: C, or by its suffix C++ or Fortran
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Options of the compiler, such as '-O3 -march=native'
    #[arg(
        short,
        long,
        value_name = "OPTIONS",
        allow_hyphen_values = true,
        default_value = ""
    )]
    flags: String,
    /// Link a library: a name (m), a file name (libz.so.1) or a path
    #[arg(short, long = "library", value_name = "LIB")]
    libraries: Vec<OsString>,
    /// Search for headers in this directory, too
    #[arg(short = 'I', value_name = "DIR")]
    include: Vec<PathBuf>,
    /// Define a macro, as 1 if no value is given
    #[arg(short = 'D', value_name = "NAME[=VALUE]")]
    define: Vec<String>,
    /// The language, in place of that of the suffix: c, c++ or fortran
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<Language>,
    /// The compiler, in place of $CC, $CXX or $FC
    #[arg(long, value_name = "COMMAND")]
    compiler: Option<OsString>,
    /// Write the library to this file instead
    #[arg(short, long, value_name = "FILE.so")]
    output: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut source = if arguments.file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        SourceCode::new(text)
    } else {
        SourceCode::file(&arguments.file)?
    };
    if let Some(language) = arguments.language {
        source = source.language(language);
    }
    source = source.flags(arguments.flags.split_ascii_whitespace());
    for library in &arguments.libraries {
        source = source.library(library);
    }
    for directory in &arguments.include {
        source = source.include(directory);
    }
    for definition in &arguments.define {
        let (name, value) = name_and_value(definition);
        source = source.define(name, value);
    }
    if let Some(compiler) = &arguments.compiler {
        source = source.compiler(compiler);
    }
    let built = build(source)?;
    let path = match &arguments.output {
        Some(path) => {
            fs::copy(built.path(), path)?;
            path
        }
        None if built.is_temporary() => return Err(Failure::NoCache),
        None => built.path(),
    };
    output::write(|output| writeln!(output, "{}", path.display()))?;
    Ok(())
}

/// Compiles source code, and writes the messages of the compiler to the standard error output. Ctrl-C stops the
/// compiler.
pub(crate) fn build(source: SourceCode) -> Result<BuiltLibrary, Failure> {
    let interrupts = Interrupts::watch()?;
    let built = source.stop_if(interrupts.poll()).build();
    let messages = match &built {
        Ok(built) => built.warnings(),
        Err(error) => error.diagnostics(),
    };
    for message in messages {
        // If the message can't be written, the exit code is the only report.
        let _ = writeln!(io::stderr(), "{message}");
    }
    let is_error = |severity| severity == Severity::Error;
    match built {
        Ok(built) => Ok(built),
        Err(CompileError::Refused {
            diagnostics,
            compiler,
            ..
        }) => Err(Failure::NotCompiled {
            compiler,
            count: diagnostics
                .iter()
                .filter(|message| is_error(message.severity))
                .count(),
        }),
        Err(CompileError::Stopped) => Err(Failure::Interrupted {
            signal: interrupts.signal().unwrap_or(2),
            left: "compile: interrupted; nothing is left behind".into(),
        }),
        Err(error) => Err(error.into()),
    }
}
