//! Compiles source code, or takes what was compiled before from the cache.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use object::read::NameOrOrdinal;
use object::{BinaryFormat, Object};
use tempfile::TempDir;

use super::arguments::{FORTRAN, LIBRARY, linked_files};
use super::prelude::{PROTOTYPES, TEXT, prelude};
use super::{CompileError, Diagnostic, Language, Prototypes, Severity, SourceCode, diagnostic};
use crate::compiler::{self, Entry, Exited, Failed, Limits, Question, Request};
use crate::declarations::Declarations;
use crate::header::Attempt;
use crate::header::evaluate::Evaluator;
use crate::parse::MAX_TEXT;
use crate::source_map;

/// A shared library that has been made of source code.
///
/// ```
/// use mapcall_decl::SourceCode;
///
/// let library = SourceCode::new("int f(void) { int unused; return 0; }").flags(["-Wall"]).build()?;
/// assert_eq!(library.warnings()[0].line, Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BuiltLibrary {
    path: PathBuf,
    declarations: Declarations,
    warnings: Vec<Diagnostic>,
    /// The directory of a library that is not in the cache.
    temporary: Option<TempDir>,
}

impl BuiltLibrary {
    /// Returns the library's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file is removed when this is dropped, because it is not in the cache.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Returns the declarations of the source code, or of its prototypes.
    #[must_use]
    pub fn declarations(&self) -> &Declarations {
        &self.declarations
    }

    /// Returns the warnings of the compiler, also those of an earlier run whose library is in the cache.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

/// The texts that compilers read.
struct Inputs {
    /// The source code; empty for Fortran, whose compilers read files only.
    code: String,
    /// C code with the prototypes of the functions, which is preprocessed.
    declared: Option<String>,
}

/// The output of a preprocessor.
struct Preprocessed {
    output: String,
    messages: String,
    argv: Vec<OsString>,
    searched: Vec<PathBuf>,
}

impl SourceCode {
    /// Compiles the source code, or finds the library that was compiled of it before.
    ///
    /// ```
    /// use mapcall_decl::SourceCode;
    ///
    /// let source = SourceCode::new("int answer(void) { return 42; }");
    /// let (first, second) = (source.build()?, source.build()?);
    /// # if !first.is_temporary() {
    /// assert_eq!(first.path(), second.path());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The library is kept in the folder `mapcall` of the user's cache folder (`$XDG_CACHE_HOME`, otherwise
    /// `~/.cache`), which only the user may use. It is used again while all that it was made of is the same: the
    /// text, the options, the compiler, the contents of the files that were included, the files that were linked
    /// (by size and time), and the processor, for `-march=native`; its own content is verified, too. Not noticed
    /// are a header that `__has_include` did not find, and a library that the linker would find before another
    /// one. The environment variable `MAPCALL_HEADER_CACHE=0` turns this off, as [`cache`](Self::cache) does; the
    /// library is then in a temporary directory, as it is where the cache can't be used.
    ///
    /// # Errors
    ///
    /// [`CompileError`] if there is no compiler, or if it refuses the source code; then nothing is left.
    pub fn build(&self) -> Result<BuiltLibrary, CompileError> {
        self.check()?;
        let inputs = self.inputs();
        let request = (self.is_cached && self.has_known_files())
            .then(|| self.request(&inputs))
            .flatten();
        if let Some(request) = &request
            && let Some(entry) = request.load()
            && let Some(stored) = &entry.library
            && let Some((path, bytes)) = request.library(stored)
        {
            let warnings = self.warnings(&stored.messages);
            return Ok(BuiltLibrary {
                path,
                declarations: self.declarations(&entry, &bytes, Some(request.clone())),
                warnings,
                temporary: None,
            });
        }
        self.compile(&inputs, request)
    }

    fn compile(
        &self,
        inputs: &Inputs,
        request: Option<Request>,
    ) -> Result<BuiltLibrary, CompileError> {
        let start = SystemTime::now();
        let directory = TempDir::new().map_err(|source| io_error(&std::env::temp_dir(), source))?;
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).map_err(|source| io_error(&path, source))
        };
        compiler::write_own_header(directory.path())
            .map_err(|source| io_error(directory.path(), source))?;
        let (mut files, mut searched) = (Vec::new(), Vec::new());
        let (mut command, mut version) = (None, String::new());
        let mut preprocessed_by = |found: &Preprocessed| {
            version.clone_from(&found.messages);
            files.extend(source_map::separate(&found.output, |_| true).files);
            searched.extend(found.searched.iter().cloned());
            command = Some(found.argv.clone());
        };
        let mut entry = Entry {
            output: String::new(),
            argv: Vec::new(),
            library: None,
        };
        let mut refusal = None;
        if self.language == Language::Cpp {
            let arguments = self.preprocessor(self.language, directory.path());
            match self.preprocess(&arguments, &inputs.code, directory.path())? {
                Ok(found) => preprocessed_by(&found),
                Err(refused) => refusal = Some(refused),
            }
        }
        if let Some(declared) = inputs.declared.as_ref().filter(|_| refusal.is_none()) {
            let arguments = self.preprocessor(Language::C, directory.path());
            match self.preprocess(&arguments, declared, directory.path())? {
                Ok(found) => {
                    preprocessed_by(&found);
                    entry.output = found.output;
                }
                Err(refused) => refusal = Some(refused),
            }
        }
        if self.language == Language::Fortran && self.file.is_none() {
            write(FORTRAN, &self.text)?;
        }
        let version = refusal
            .as_ref()
            .map_or(&version, |refused| &refused.messages);
        let arguments = self.compiler_arguments(version, directory.path());
        let commands = command.map_or_else(
            || self.language.compilers(self.compiler.as_ref()),
            |argv| vec![argv],
        );
        let (argv, exited) = self.run(commands, &arguments, &inputs.code, directory.path())?;
        let messages = String::from_utf8_lossy(&exited.stderr);
        let written = directory.path().join(FORTRAN);
        let messages = messages.replace(&*written.to_string_lossy(), TEXT);
        let library = directory.path().join(LIBRARY);
        let bytes = fs::read(&library);
        let has_failed = exited.status.is_some_and(|status| !status.success());
        let (false, None, Ok(bytes)) = (has_failed, &refusal, bytes) else {
            let messages = match &refusal {
                Some(refused) if !has_failed => &refused.messages,
                _ => &messages,
            };
            return Err(self.refused(messages, &argv, &exited));
        };
        entry.argv = argv;
        let declarations = self.declarations(&entry, &bytes, request.clone());
        let warnings = self.warnings(&messages);
        if let Some(request) = request {
            let linked = linked_files(&String::from_utf8_lossy(&exited.output), directory.path());
            if let Some((stored, path)) = request.store_library(&bytes, linked, messages) {
                entry.library = Some(stored);
                // The files of the directory are no files that the entry depends on.
                drop(directory);
                request.store(&entry, &searched, &files, start);
                return Ok(BuiltLibrary {
                    path,
                    declarations,
                    warnings,
                    temporary: None,
                });
            }
        }
        Ok(BuiltLibrary {
            path: library,
            declarations,
            warnings,
            temporary: Some(directory),
        })
    }

    /// Returns the request to the cache; `None` if there is no cache for it.
    fn request(&self, inputs: &Inputs) -> Option<Request> {
        let nowhere = Path::new("");
        let mut arguments = self.preprocessor(self.language, nowhere);
        arguments.extend(self.compiler_arguments("", nowhere));
        let mut facts: Vec<Vec<u8>> = vec![self.language.name().into()];
        facts.push(inputs.declared.clone().unwrap_or_default().into());
        if self.language == Language::Fortran {
            facts.push(self.text.as_bytes().into());
        }
        // Options may name files: `-fprofile-use=FILE`, `@FILE`, `-Wl,-T,FILE`.
        for argument in &arguments {
            for part in argument.to_string_lossy().split(['=', ',', '@']) {
                if Path::new(part).is_file() {
                    facts.push(fs::read(part).ok()?);
                }
            }
        }
        let is_relative_option = |flag: &OsString| {
            let flag = flag.to_string_lossy();
            flag.contains(['/', '.']) || flag.starts_with("-I") || flag.starts_with("-L")
        };
        let has_quotes = |text: &str| text.contains("include \"");
        let is_quoted = |prototypes: &Prototypes| match prototypes {
            Prototypes::Text(text) => has_quotes(text),
            Prototypes::File(_) => false,
        };
        let is_relative = self.directories.iter().any(|path| path.is_relative())
            || self.flags.iter().any(is_relative_option)
            || self.file.is_none() && has_quotes(&self.text)
            || self.prototypes.iter().any(is_quoted);
        let facts: Vec<&[u8]> = facts.iter().map(Vec::as_slice).collect();
        Request::new(Question {
            commands: self.language.compilers(self.compiler.as_ref()),
            arguments: &arguments,
            input: &inputs.code,
            facts: &facts,
            is_relative,
            directories: &self.directories,
        })
    }

    /// Returns whether the files that the compiler reads are known from the output of a preprocessor. Those
    /// of Fortran's `include` and modules are not.
    fn has_known_files(&self) -> bool {
        if self.language != Language::Fortran {
            return true;
        }
        let mut lines = self
            .text
            .lines()
            .map(|line| line.trim().to_ascii_lowercase());
        lines.all(|line| {
            let module = line.strip_prefix("use ").map(str::trim_start);
            let is_intrinsic = |module: &str| {
                module.contains("intrinsic")
                    || module.starts_with("iso_c_binding")
                    || module.starts_with("iso_fortran_env")
            };
            !line.starts_with("include")
                && !line.starts_with('#')
                && !line.starts_with("use,")
                && module.is_none_or(is_intrinsic)
        })
    }

    fn inputs(&self) -> Inputs {
        let code = match self.language {
            Language::Fortran => String::new(),
            language => {
                let mut code = prelude(language, &self.text);
                let _ = writeln!(code, "#line 1 \"{TEXT}\"");
                let _ = match self.included() {
                    Some(path) => writeln!(code, "#include \"{path}\""),
                    None => writeln!(code, "{}", self.text),
                };
                code
            }
        };
        let mut prototypes = String::new();
        for given in &self.prototypes {
            let _ = writeln!(prototypes, "#line 1 \"{PROTOTYPES}\"");
            let _ = match given {
                Prototypes::Text(text) => writeln!(prototypes, "{text}"),
                Prototypes::File(path) => {
                    writeln!(prototypes, "#include \"{}\"", path.display())
                }
            };
        }
        let declared = match self.language {
            Language::C => Some(format!("{code}{prototypes}")),
            _ if prototypes.is_empty() => None,
            _ => Some(prelude(Language::C, "") + &prototypes),
        };
        Inputs { code, declared }
    }

    /// Returns the path of the file, if the text is read from it by `#include`, so that the compiler finds
    /// headers beside it.
    fn included(&self) -> Option<&str> {
        let path = self.file.as_ref()?.to_str()?;
        (!path.contains(['"', '\n', '\\'])).then_some(path)
    }

    /// Runs a preprocessor; returns its messages if it refuses the text.
    fn preprocess(
        &self,
        arguments: &[OsString],
        input: &str,
        directory: &Path,
    ) -> Result<Result<Preprocessed, Refusal>, CompileError> {
        let commands = self.language.compilers(self.compiler.as_ref());
        let (argv, exited) = self.run(commands, arguments, input, directory)?;
        if exited.output.len() > MAX_TEXT {
            return Err(CompileError::TooLong { limit: MAX_TEXT });
        }
        let messages = String::from_utf8_lossy(&exited.stderr).into_owned();
        let is_success = exited.status.is_none_or(|status| status.success());
        // All compilers that accept these options write line markers.
        if !is_success || !exited.output.starts_with(b"# ") {
            return Ok(Err(Refusal { messages }));
        }
        let (searched, _) = compiler::split_messages(&messages);
        Ok(Ok(Preprocessed {
            output: String::from_utf8_lossy(&exited.output).into_owned(),
            messages,
            argv,
            searched,
        }))
    }

    /// Runs the first of the compilers that exists.
    fn run(
        &self,
        commands: Vec<Vec<OsString>>,
        arguments: &[OsString],
        input: &str,
        directory: &Path,
    ) -> Result<(Vec<OsString>, Exited), CompileError> {
        let mut tried = Vec::new();
        for argv in commands {
            let command = command_line(&argv);
            let child = match compiler::start(&argv, arguments, input, Some(directory)) {
                Ok(child) => child,
                Err(error) => {
                    tried.push(Attempt {
                        command,
                        reason: error.to_string(),
                    });
                    continue;
                }
            };
            let limits = Limits {
                time: self.time_limit,
                stop: &*self.stop,
            };
            return match compiler::finish(child, limits) {
                Ok(exited) => Ok((argv, exited)),
                Err(Failed::Stopped) => Err(CompileError::Stopped),
                Err(Failed::TooSlow) => Err(CompileError::TooSlow {
                    compiler: command,
                    limit: self.time_limit,
                }),
                Err(Failed::Io(source)) => Err(io_error(Path::new(&command), source)),
            };
        }
        Err(CompileError::NoCompiler {
            language: self.language,
            tried,
        })
    }

    fn diagnostics(&self, messages: &str) -> Vec<Diagnostic> {
        let file = self.file.as_ref().and_then(|path| path.to_str());
        diagnostic::parse(messages, &self.text, file)
    }

    fn warnings(&self, messages: &str) -> Vec<Diagnostic> {
        let mut warnings = self.diagnostics(messages);
        warnings.retain(|diagnostic| diagnostic.severity == Severity::Warning);
        warnings
    }

    fn refused(&self, messages: &str, argv: &[OsString], exited: &Exited) -> CompileError {
        let mut diagnostics = self.diagnostics(messages);
        let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
        if !diagnostics.iter().any(is_error) {
            let last = messages.lines().rfind(|line| !line.trim().is_empty());
            let message = match (last, exited.status) {
                (Some(last), _) => last.to_owned(),
                (None, Some(status)) => format!("the compiler ended with {status}"),
                (None, None) => "the compiler has written no library".into(),
            };
            diagnostics.push(Diagnostic {
                severity: Severity::Error,
                message,
                file: None,
                line: None,
                column: None,
            });
        }
        CompileError::Refused {
            diagnostics,
            text: Arc::clone(&self.text),
            compiler: command_line(argv),
            output: messages.to_owned(),
        }
    }

    fn declarations(&self, entry: &Entry, library: &[u8], cache: Option<Request>) -> Declarations {
        // Functions of the system's headers are not those of the source code.
        let mut separated = source_map::separate(&entry.output, |_| true);
        if self.language == Language::C {
            let overriding = self.prototypes.iter().map(|prototypes| match prototypes {
                Prototypes::Text(_) => PROTOTYPES.into(),
                Prototypes::File(path) => path.to_string_lossy(),
            });
            separated.map.override_by(overriding.collect());
        }
        let evaluator = Evaluator {
            argv: entry.argv.clone(),
            time_limit: self.time_limit,
            cache,
        };
        evaluator.declarations(separated, exported_names(library))
    }
}

/// The messages of a preprocessor that refuses a text.
struct Refusal {
    messages: String,
}

fn io_error(path: &Path, source: io::Error) -> CompileError {
    CompileError::Io {
        path: path.into(),
        source,
    }
}

fn command_line(argv: &[OsString]) -> String {
    argv.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

/// Returns the names that a library exports; `None` if it can't be read.
fn exported_names(library: &[u8]) -> Option<HashSet<String>> {
    let file = object::File::parse(library).ok()?;
    let prefix = match file.format() {
        BinaryFormat::MachO => "_",
        _ => "",
    };
    let mut names = HashSet::new();
    for export in file.exports().ok()? {
        if let NameOrOrdinal::Name(name) = export.ok()?.name()
            && let Ok(name) = str::from_utf8(name)
        {
            names.insert(name.strip_prefix(prefix).unwrap_or(name).to_owned());
        }
    }
    Some(names)
}
