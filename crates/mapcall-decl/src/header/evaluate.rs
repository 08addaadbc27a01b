//! Values of macros, which the compiler computes into an object file. No program is run.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use object::{Object, ObjectSection, ObjectSymbol};

use crate::compiler::{self, Failed, Limits, Request};
use crate::declarations::{
    Constant, ConstantError, ConstantValue, Declarations, Evaluate, Macros, Program, Source,
};
use crate::source_map::Separated;

/// Defines, for a macro, a string that holds its text if it is one, and a struct of its class, its value as an
/// integer and as a float, and the size of the string.
const PRELUDE: &str = r#"
struct mapcall_constant { long long class; unsigned long long integer; double number; unsigned long long size; };
#define MAPCALL_STRING(M) __builtin_choose_expr(__builtin_types_compatible_p(__typeof__(M), char[sizeof(M)]), M, "")
#define MAPCALL_CONSTANT(I, M) \
const char mapcall_s_##I[] = MAPCALL_STRING(M); \
const struct mapcall_constant mapcall_n_##I = { \
_Generic((M), _Bool: 2, char: (char)-1 < 0 ? 1 : 2, signed char: 1, short: 1, int: 1, long: 1, long long: 1, \
unsigned char: 2, unsigned short: 2, unsigned int: 2, unsigned long: 2, unsigned long long: 2, \
float: 3, double: 3, long double: 3, \
char *: __builtin_types_compatible_p(__typeof__(M), char[sizeof(M)]) ? 4 : 0, default: 0), \
(unsigned long long)_Generic((M), _Bool: (M), char: (M), signed char: (M), short: (M), int: (M), long: (M), \
long long: (M), unsigned char: (M), unsigned short: (M), unsigned int: (M), unsigned long: (M), \
unsigned long long: (M), default: 0), \
(double)_Generic((M), float: (M), double: (M), long double: (M), default: 0), \
sizeof(mapcall_s_##I) };
"#;

/// The size of that struct in bytes, and the offsets of its members after the first.
const SIZE: u64 = 32;

/// The name of the file in which the compiler reports errors of macros; the line is the number of the macro.
const FILE: &str = "mapcall-constants";

/// The maximum number of times that the compiler is run, each without the macros that it has refused.
const MAX_RUNS: usize = 12;

/// The maximum size of an object file in bytes.
const MAX_OBJECT: u64 = 256 << 20;

/// The compiler of a header, which evaluates macros.
#[derive(Debug)]
pub(crate) struct Evaluator {
    /// The compiler and its first arguments.
    pub(crate) argv: Vec<OsString>,
    pub(crate) time_limit: Duration,
    pub(crate) cache: Option<Request>,
}

impl Evaluator {
    /// Returns the declarations of what a preprocessor wrote, whose constants this evaluates. If `exported` is given,
    /// only functions of these names are listed.
    pub(crate) fn declarations(
        self,
        separated: Separated,
        exported: Option<HashSet<String>>,
    ) -> Declarations {
        let source = Source {
            map: Some(separated.map),
            macros: Macros::new(&separated.directives),
            evaluator: Some(Box::new(self)),
            exported,
        };
        Declarations::new(Arc::from(separated.text), source)
    }
}

impl Evaluate for Evaluator {
    fn evaluate(&self, program: &Program) -> Result<Vec<Constant>, ConstantError> {
        let cached = self
            .cache
            .as_ref()
            .and_then(|cache| cache.constants(program));
        if let Some(constants) = cached {
            return Ok(constants);
        }
        let constants = self
            .compile(program)
            .map_err(|reason| ConstantError { reason })?;
        if let Some(cache) = &self.cache {
            cache.store_constants(program, &constants);
        }
        Ok(constants)
    }
}

impl Evaluator {
    fn compile(&self, program: &Program) -> Result<Vec<Constant>, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = directory.path().join("constants.o");
        let mut arguments: Vec<OsString> = ["-c", "-w", "-x", "c", "-O0", "-g0", "-fno-lto"]
            .map(Into::into)
            .into();
        // Errors are reported in the line that uses a macro, and all of them.
        let options = if program.is_clang {
            ["-fno-caret-diagnostics", "-ferror-limit=0"]
        } else {
            ["-fno-diagnostics-show-caret", "-ftrack-macro-expansion=0"]
        };
        arguments.extend(options.map(Into::into));
        arguments.extend(["-o".into(), path.clone().into_os_string(), "-".into()]);
        let mut refused = HashSet::new();
        for _ in 0..MAX_RUNS {
            let text = text(program, &refused);
            let messages = match compile(&self.argv, &arguments, &text, self.time_limit)? {
                Ok(()) => {
                    let mut object = Vec::new();
                    let file = File::open(&path)
                        .map_err(|error| format!("it wrote no object file ({error})"))?;
                    let read = file.take(MAX_OBJECT).read_to_end(&mut object);
                    read.map_err(|error| error.to_string())?;
                    return read_object(&object, &program.names);
                }
                Err(messages) => messages,
            };
            let before = refused.len();
            refused.extend(messages.lines().filter_map(refused_line));
            if refused.len() == before {
                let message = messages.lines().find(|line| line.contains("error"));
                return Err(message
                    .or(messages.lines().next())
                    .unwrap_or_default()
                    .into());
            }
        }
        Err(format!("it refuses more than {} of them", refused.len()))
    }
}

/// Compiles a text to an object file; returns the messages of the compiler if it refuses the text.
///
/// # Errors
///
/// The reason in one line if the compiler can't be run, or takes too long.
fn compile(
    argv: &[OsString],
    arguments: &[OsString],
    input: &str,
    limit: Duration,
) -> Result<Result<(), String>, String> {
    let child = compiler::start(argv, arguments, input, None).map_err(|error| error.to_string())?;
    let exited = match compiler::finish(child, Limits::of_time(limit)) {
        Ok(exited) => exited,
        Err(Failed::Io(error)) => return Err(error.to_string()),
        Err(Failed::TooSlow | Failed::Stopped) => {
            return Err(format!("it took longer than {limit:?}"));
        }
    };
    let messages = String::from_utf8_lossy(&exited.stderr).into_owned();
    Ok(match exited.status {
        Some(status) if !status.success() => Err(messages),
        _ => Ok(()),
    })
}

/// Returns the program without some of the macros, by their positions.
fn text(program: &Program, refused: &HashSet<usize>) -> String {
    let mut text = format!("{}\n{}{PRELUDE}", program.declarations, program.macros);
    for (position, name) in program.names.iter().enumerate() {
        if !refused.contains(&position) {
            let line = position + 1;
            let _ = writeln!(
                text,
                "# {line} \"{FILE}\"\nMAPCALL_CONSTANT({position}, {name})"
            );
        }
    }
    text
}

/// Returns the position of the macro that a message of the compiler refuses.
fn refused_line(message: &str) -> Option<usize> {
    let (line, rest) = message
        .strip_prefix(FILE)?
        .strip_prefix(':')?
        .split_once(':')?;
    let line: usize = line.parse().ok()?;
    rest.contains("error").then(|| line.checked_sub(1))?
}

/// Returns the constants that are in an object file.
fn read_object(bytes: &[u8], names: &[String]) -> Result<Vec<Constant>, String> {
    let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
    let is_little = file.is_little_endian();
    let mut symbols = HashMap::new();
    for symbol in file.symbols() {
        if let (Ok(name), Some(section)) = (symbol.name(), symbol.section_index()) {
            // Mach-O has an underscore before each name.
            let name = name.strip_prefix('_').unwrap_or(name);
            symbols.insert(name.to_owned(), (section, symbol.address()));
        }
    }
    let data = |name: &str, size: u64| {
        let &(section, address) = symbols.get(name)?;
        let section = file.section_by_index(section).ok()?;
        section.data_range(address, size).ok()?
    };
    let mut constants = Vec::new();
    for (position, name) in names.iter().enumerate() {
        let Some(fields) = data(&format!("mapcall_n_{position}"), SIZE) else {
            continue;
        };
        let field = |number: usize| {
            let bytes = fields.get(8 * number..)?.first_chunk::<8>()?;
            Some(if is_little {
                u64::from_le_bytes(*bytes)
            } else {
                u64::from_be_bytes(*bytes)
            })
        };
        let fields = (field(0), field(1), field(2), field(3));
        let (Some(class), Some(integer), Some(number), Some(size)) = fields else {
            continue;
        };
        let value = match class {
            1 => ConstantValue::Integer(integer.cast_signed().into()),
            2 => ConstantValue::Integer(integer.into()),
            3 => ConstantValue::Float(f64::from_bits(number)),
            4 => {
                let text = data(&format!("mapcall_s_{position}"), size);
                // A pointer that is no literal has no text.
                let Some([text @ .., 0]) = text.filter(|_| size > 0) else {
                    continue;
                };
                ConstantValue::Text(text.to_vec())
            }
            _ => continue,
        };
        let name = name.clone();
        constants.push(Constant { name, value });
    }
    Ok(constants)
}
