//! `mapcall call`: a function of a shared library, on numbers, texts and files.

#![allow(unsafe_code)]

mod bind;
mod on_cluster;
mod opened;
mod outputs;
mod remedy;
mod report;
mod same_file;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use mapcall::array::{Array, Map, Mode};
use mapcall::batch::{Shape, Simd, Stream};
use mapcall::contract::{Contract, Role};
use mapcall::{Arg, CallError, Function, Success};

use crate::bar::Bar;
use crate::cluster::Cluster;
use crate::interrupt::Interrupts;
use crate::prototypes::{self, HeaderOptions};
use crate::units::readable;
use crate::value::file::ArrayFile;
use crate::value::{ValueError, values};
use crate::{Failure, output};
pub(crate) use bind::FunctionError;
use on_cluster::Dask;
pub(crate) use on_cluster::DaskError;
use opened::OpenedArgument;
use outputs::OutputFiles;
use report::{Made, Report, Target};

/// The maximum size in bytes of an output without a file, which is kept in memory and shown.
const MAX_SHOWN_BYTES: usize = 64 << 20;

/// Call a C function, once or for each element or row of array files
///
/// If an array has more axes than its parameter has brackets, the function is called for each element, row
/// or sub-array along the additional axes, as a NumPy ufunc is; a number may be a file, too. An array that
/// the function writes is allocated if it is left out, and written in place if it is given as a file.
///
/// mapcall call libm.so.6 'double cos(double x)' x=angles.npy -o out.npy --threads 0
#[derive(Args)]
#[command(group = prototypes::group())]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command")]
pub(crate) struct Arguments {
    /// The library: a path, a file name (libm.so.6) or a bare name (m); or C code, by the path of its file
    /// (kern.c), which `mapcall compile` compiles with more options
    #[arg(value_name = "LIB")]
    library: OsString,
    /// The function's prototype in C, with the lengths of arrays in brackets; with --header or --prototypes, and
    /// for C code, the name of a function is enough
    #[arg(value_name = "PROTOTYPE")]
    prototype: String,
    /// The arguments: numbers, texts, NULL, and files as x.npy, x.npz:MEMBER,
    /// raw.bin:DTYPE[:SHAPE][@OFFSET], each with a range as in x.npy[0:1000]
    ///
    /// Parameters that are the length of an array are inferred. Members of a .npz that are only read are
    /// copied into memory if they are not aligned. `mapcall info --help` has more about files.
    #[arg(value_name = "NAME=VALUE")]
    values: Vec<OsString>,
    /// Write an output to a new .npy file; NAME is needed if there are several outputs, and `return` is the
    /// function's result
    ///
    /// The disk space is allocated first, and the file gets its name when it is complete. Until then, an
    /// existing file of that name is unchanged; then it is replaced, after the new one is on the disk. A file
    /// that can't be replaced (it has several hard links, or another owner) is overwritten in place.
    #[arg(short, long, value_name = "[NAME=]FILE.npy")]
    output: Vec<OsString>,
    /// The number of threads of a batch, 0 for all cores; not every C function may be called by several
    /// threads at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Make the calls of a batch by a vector variant of the function, which computes several items at once: one that
    /// the library exports, or libmvec for libm. Results may differ in the last bits; with `auto`, calls are made
    /// one by one if there is no such variant
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "always"
    )]
    simd: Option<When>,
    /// Release the pages of files that all calls have processed, so that memory stays bounded; by default,
    /// this is done if the files are larger than the free memory
    #[arg(long)]
    stream: bool,
    /// Wait until the written files are on the disk
    #[arg(long)]
    sync: bool,
    /// Convert arrays that do not fit, and back what the function writes: byte order, alignment, strides and
    /// dtype
    ///
    /// Numbers are cast as NumPy's rule `same_kind` allows, float64 to float32 or int32 to float64, but no
    /// fraction to an integer. A batch converts the arrays of some calls at once, so that memory stays bounded; an
    /// array that is the same in each call is converted once, as a whole.
    #[arg(long)]
    convert: bool,
    /// Make the calls on a cluster of Dask: the address of its scheduler, as `tcp://host:8786`, or `local` to
    /// start one on this machine for the call
    ///
    /// It needs the command of the Python package, installed with: pip install 'mapcall[dask]'. Files are
    /// opened, and outputs written, by the workers, which must see them by the same paths; --threads is the
    /// number of threads with which a worker makes the calls of a block. An array that is given as a whole
    /// .npy file and written by the function is replaced when all calls are made.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "stream")]
    dask: Option<String>,
    /// How the function reports success; if it reports a failure, the exit code is 1
    #[arg(long, value_name = "HOW")]
    check: Option<Check>,
    /// Call the function only where this file, of bool or bytes, is not 0
    #[arg(long = "where", value_name = "FILE")]
    mask: Option<OsString>,
    /// A header whose types the prototype may use; several are read in order
    #[arg(long, value_name = "HEADER")]
    header: Vec<OsString>,
    #[command(flatten)]
    headers: HeaderOptions,
    /// Write one JSON object on one line: {"returns", "outputs"}
    ///
    /// "returns" is the result of a single call; null if there is none, for NULL, and for a batch. "outputs"
    /// are objects {"name", "file", "dtype", "shape", "values"}, one for each written array; "file" is null if
    /// the array goes to no file, and only then there are "values", as nested lists. Complex numbers are lists
    /// of two. Addresses are strings, and so are numbers that JSON does not have ("NaN", "Infinity",
    /// "-Infinity").
    #[arg(long)]
    json: bool,
    /// Write only errors
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// When a batch is made by a vector variant.
#[derive(Clone, Copy, ValueEnum)]
enum When {
    /// Always; the batch is refused if no variant can make the calls
    Always,
    /// If a variant can make the calls
    Auto,
    /// Never
    Never,
}

/// The results that mean success.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// The result is 0
    Zero,
    /// The result is not 0
    Nonzero,
    /// The result is a pointer other than NULL
    #[value(alias = "null")]
    Nonnull,
    /// errno is 0 after the call
    Errno,
}

impl Arguments {
    /// Returns whether the batch is made by a vector variant.
    fn simd(&self) -> Simd {
        match self.simd {
            Some(When::Always) => Simd::Required,
            Some(When::Auto) => Simd::Auto,
            Some(When::Never) | None => Simd::Off,
        }
    }
}

impl Check {
    /// Returns the value of the option.
    fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Nonzero => "nonzero",
            Self::Nonnull => "nonnull",
            Self::Errno => "errno",
        }
    }
}

impl From<Check> for Success {
    fn from(check: Check) -> Self {
        match check {
            Check::Zero => Self::Zero,
            Check::Nonzero => Self::Nonzero,
            Check::Nonnull => Self::Nonnull,
            Check::Errno => Self::NoErrno,
        }
    }
}

/// The error for outputs that can't be written to their files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("{function}: expected no -o, as it makes nothing that a file can hold; leave it out")]
    None { function: String },
    #[error("{function}: expected the name of an output, got {name}; the outputs are {names}")]
    Unknown {
        function: String,
        name: String,
        names: String,
    },
    #[error(
        "{function}: expected NAME=FILE.npy, as there are several outputs, got {text:?}; the names \
         are {names}"
    )]
    Unnamed {
        function: String,
        text: OsString,
        names: String,
    },
    #[error("{function}: {name}: expected one file, got a second one, {text:?}; leave one out")]
    Twice {
        function: String,
        name: String,
        text: OsString,
    },
    #[error(
        "{function}: {name}: expected a file either to write in place or to make, got both; leave out \
         {name}=... or -o"
    )]
    Given { function: String, name: String },
    #[error(
        "{function}: {name}: expected a file that ends in .npy, got {path:?}; write {}",
        path.with_extension("npy").display()
    )]
    Suffix {
        function: String,
        name: String,
        path: PathBuf,
    },
    #[error(
        "{function}: {name}: expected a file of its own, got {path:?}, which {other} has; choose \
         another name"
    )]
    Same {
        function: String,
        name: String,
        path: PathBuf,
        other: String,
    },
    #[error(
        "{function}: {name}: expected a file for {}, got none; add -o {}FILE.npy",
        readable(*bytes),
        if *is_only { String::new() } else { format!("{name}=") }
    )]
    TooLarge {
        function: String,
        name: String,
        bytes: usize,
        is_only: bool,
    },
    #[error(
        "{function}: {name}: expected {path:?} to stay the file that was opened, got another file of that \
         name, without the results; call it again"
    )]
    Replaced {
        function: String,
        name: String,
        path: PathBuf,
    },
    #[error(
        "{function}: {name}: expected memory of its own to write, got bytes of {path:?} that {other} \
         has, too; give a copy of one"
    )]
    Shared {
        function: String,
        name: String,
        path: PathBuf,
        other: String,
    },
}

pub(crate) fn run(arguments: &Arguments, cluster: Option<&dyn Cluster>) -> Result<(), Failure> {
    call(arguments, cluster).map_err(|failure| {
        let (Failure::Argument(error)
        | Failure::Value(ValueError::Argument(error))
        | Failure::Call(CallError::Argument(error))) = &failure
        else {
            return failure;
        };
        Failure::Refused(remedy::message(error, &arguments.values))
    })
}

fn call(arguments: &Arguments, cluster: Option<&dyn Cluster>) -> Result<(), Failure> {
    let dask = Dask::of(arguments, cluster)?;
    let function = bind::function(arguments)?;
    let contract = function.contract();
    let values = values(contract, &arguments.values)?;
    let files = OutputFiles::new(contract, &values, &arguments.output)?;
    let function = opened::with_extents(&function, &values)?;
    let function = function.with_conversion(arguments.convert);
    let mut given = opened::open(contract, values, (dask.is_none(), arguments.convert))?;
    opened::check_apart(contract, &given, &files)?;
    let mask = match &arguments.mask {
        None => None,
        Some(text) => {
            let file = ArrayFile::parse(text)?;
            // SAFETY: the user has named the file, and is responsible for other programs that write it.
            Some(unsafe { file.open(Mode::Read)? })
        }
    };
    let is_batch = mask.is_some() || files.have_files() || opened::has_axes(contract, &given);
    let mut report = if let Some(dask) = dask {
        dask.batch(arguments, &function, &mut given, &files, mask.as_ref())?
    } else if is_batch {
        batch(arguments, &function, &mut given, &files, mask.as_ref())?
    } else {
        single(&function, &mut given)?
    };
    for (position, value) in given.iter().enumerate() {
        let Some((value, file)) = value.as_ref().and_then(OpenedArgument::written) else {
            continue;
        };
        if arguments.sync && dask.is_none() {
            value.flush()?;
        }
        // On a cluster, the result has replaced the file.
        if dask.is_none() && value.buffer().map().is_some_and(Map::is_replaced) {
            return Err(Failure::OutputFile(OutputError::Replaced {
                function: function.name().to_owned(),
                name: contract.name(position).to_owned(),
                path: file.path().to_owned(),
            }));
        }
        report.outputs.push(Made {
            name: contract.name(position).to_owned(),
            target: Target::File(file.text().into()),
            dtype: value.dtype().clone(),
            shape: value.shape().to_vec(),
        });
    }
    if arguments.json {
        output::write(|output| output::json_line(output, &report))?;
    } else if !arguments.quiet {
        output::write(|output| report.write(output, io::stdout().is_terminal()))?;
    }
    Ok(())
}

/// Calls the function once.
fn single(function: &Function, given: &mut [Option<OpenedArgument>]) -> Result<Report, Failure> {
    let contract = function.contract();
    let mut arguments = Vec::new();
    let mut taken = Vec::new();
    for (position, value) in given.iter_mut().enumerate() {
        if contract.arguments().contains(&position) {
            arguments.push(value.as_mut().map_or(Arg::Out, OpenedArgument::arg));
            taken.push(position);
        }
    }
    let value = function.call(&mut arguments)?;
    let mut report = Report::of(&value, function);
    for (position, argument) in taken.into_iter().zip(arguments) {
        if let Some(array) = argument.into_array() {
            report
                .outputs
                .push(Made::array(contract.name(position), array));
        }
    }
    Ok(report)
}

/// Returns the size of all outputs that a batch makes, in bytes.
///
/// # Errors
///
/// Those of [`OutputFiles::check_sizes`], if one is too large to be shown.
fn output_bytes(
    contract: &Contract,
    files: &OutputFiles,
    made: &[Option<Shape>],
) -> Result<usize, Failure> {
    let sizes = made
        .iter()
        .map(|made| made.as_ref().map_or(0, Shape::nbytes));
    let sizes: Vec<usize> = sizes.collect();
    files.check_sizes(contract, &sizes, MAX_SHOWN_BYTES)?;
    Ok(sizes.iter().sum())
}

/// Calls the function as a batch.
fn batch(
    arguments: &Arguments,
    function: &Function,
    given: &mut [Option<OpenedArgument>],
    files: &OutputFiles,
    mask: Option<&Array>,
) -> Result<Report, Failure> {
    let contract = function.contract();
    let given_bytes = input_bytes(given, mask);
    let written: Vec<PathBuf> = given
        .iter()
        .flatten()
        .filter_map(|value| Some(value.written()?.1.path().to_owned()))
        .collect();

    let (inputs, mut outputs) = arguments_of(contract, given, files);
    let mask = mask.map(Arg::from);
    let started = Instant::now();
    let made = function.map(&inputs, &mut outputs).outputs()?;
    let bytes = output_bytes(contract, files, &made)?.saturating_add(given_bytes);
    let interrupts = Interrupts::watch()?;
    let mut bar = Bar::new(function.name(), bytes, !arguments.quiet);
    let batch = function
        .map(&inputs, &mut outputs)
        .threads(arguments.threads)
        .simd(arguments.simd())
        .progress(|done, calls| {
            bar.update(done, calls);
            match interrupts.signal() {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        });
    let batch = match &mask {
        Some(mask) => batch.only(mask),
        None => batch,
    };
    let batch = if arguments.stream {
        batch.stream(Stream::Always)
    } else {
        batch
    };
    let batch = if arguments.sync { batch.sync() } else { batch };
    let done = batch.run();
    drop(bar);
    if let Err(error) = done {
        // An interrupted sync returns another error than `CallError::Interrupted`, so the flag is tested.
        return Err(match interrupts.signal() {
            Some(signal) if !matches!(error, CallError::Status { .. }) => Failure::Interrupted {
                signal,
                left: left(function, files, &written),
            },
            _ => error.into(),
        });
    }
    let mut report = Report::default();
    report.seconds = started.elapsed().as_secs_f64();
    let arrays = outputs.into_iter().map(Arg::into_array);
    report.outputs = made_outputs(files, made, arrays);
    Ok(report)
}

/// Returns the outputs of a batch for the report: files, and arrays in memory.
fn made_outputs(
    files: &OutputFiles,
    made: Vec<Option<Shape>>,
    arrays: impl IntoIterator<Item = Option<Array>>,
) -> Vec<Made> {
    let mut outputs = Vec::new();
    for ((file, made), array) in files.iter().zip(made).zip(arrays) {
        match (&file.file, made, array) {
            (Some(path), Some(made), _) => outputs.push(Made {
                name: file.name.clone(),
                target: Target::File(path.into()),
                dtype: made.dtype,
                shape: made.shape,
            }),
            (None, _, Some(array)) => {
                outputs.push(Made::array(&file.name, array));
            }
            _ => {}
        }
    }
    outputs
}

/// Returns the size of all arrays that are given, in bytes.
fn input_bytes(given: &[Option<OpenedArgument>], mask: Option<&Array>) -> usize {
    let arrays = given.iter().flatten();
    let arrays = arrays.filter_map(|value| value.opened.array());
    let sizes = arrays.chain(mask).map(|array| array.layout().nbytes());
    sizes.sum()
}

/// Returns the inputs and the outputs of a batch.
fn arguments_of<'a>(
    contract: &Contract,
    given: &'a mut [Option<OpenedArgument>],
    files: &'a OutputFiles,
) -> (Vec<Arg<'a>>, Vec<Arg<'a>>) {
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let at = |path: &'a Option<PathBuf>| path.as_deref().map_or(Arg::Out, Arg::from);
    let mut rest = files.iter();
    if contract.returned().is_some() {
        outputs.extend(rest.next().map(|file| at(&file.file)));
    }
    for (position, value) in given.iter_mut().enumerate() {
        if !contract.arguments().contains(&position) {
            continue;
        }
        let argument = value.as_mut().map(OpenedArgument::arg);
        if contract.output_index(Role::Parameter(position)).is_some() {
            // A number that C reads and writes has a value, as an extent of the function, and a file.
            let file = rest.next().filter(|file| file.file.is_some());
            let made = file.map(|file| at(&file.file));
            outputs.push(made.or(argument).unwrap_or(Arg::Out));
        } else {
            inputs.push(argument.unwrap_or(Arg::Out));
        }
    }
    (inputs, outputs)
}

/// Returns the message of an interrupted batch, with the files that are missing or incomplete.
fn left(function: &Function, files: &OutputFiles, written: &[PathBuf]) -> String {
    let list = |paths: &mut dyn Iterator<Item = &Path>| {
        let paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
        paths.join(", ")
    };
    let missing = list(&mut files.iter().filter_map(|file| file.file.as_deref()));
    let partial = list(&mut written.iter().map(PathBuf::as_path));
    let mut message = format!("{}: interrupted", function.name());
    if !missing.is_empty() {
        message.push_str("; not written: ");
        message.push_str(&missing);
    }
    if !partial.is_empty() {
        message.push_str("; written in part: ");
        message.push_str(&partial);
    }
    message
}
