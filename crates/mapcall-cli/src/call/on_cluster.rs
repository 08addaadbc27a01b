//! A batch on a cluster of Dask: `--dask`.

#![allow(unsafe_code)]

use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mapcall::Function;
use mapcall::array::format::Format;
use mapcall::array::layout::Order;
use mapcall::array::{Array, DType, Mode};
use mapcall::batch::Shape;
use mapcall::contract::{Contract, Role, Rule};

use super::opened::OpenedArgument;
use super::outputs::OutputFiles;
use super::report::Report;
use super::{Arguments, Check, arguments_of, bind, input_bytes, left, made_outputs, output_bytes};
use crate::Failure;
use crate::bar::Bar;
use crate::cluster::{Cluster, ClusterArgument, ClusterBatch, ClusterError, Target};
use crate::value::Opened;

/// The reason why a call can't be made on a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaskError {
    #[error(
        "--dask: expected the command of the Python package, got one that was built without Python; install \
         it with: pip install 'mapcall[dask]'"
    )]
    NoPython,
    #[error(
        "{function}: --dask: expected a batch, got a single call; give a file for a number, or an array with \
         more axes than its parameter has brackets, or leave out --dask"
    )]
    Single { function: String },
    #[error(
        "{function}: --dask: expected an output, got a function that returns nothing and writes no array; \
         leave out --dask"
    )]
    NoOutput { function: String },
    #[error(
        "{function}: {name}: expected a whole .npy file, which --dask replaces when all calls are made, got \
         {text:?}, a part of a file that would be written in place; copy it to a .npy file, or leave out \
         --dask"
    )]
    InPlace {
        function: String,
        name: String,
        text: String,
    },
}

/// The scheduler's address, and the interface to it.
#[derive(Clone, Copy)]
pub(super) struct Dask<'a> {
    address: &'a str,
    cluster: &'a dyn Cluster,
}

impl<'a> Dask<'a> {
    /// Returns the cluster that the option names; `None` without the option.
    pub(super) fn of(
        arguments: &'a Arguments,
        cluster: Option<&'a dyn Cluster>,
    ) -> Result<Option<Self>, DaskError> {
        match (&arguments.dask, cluster) {
            (None, _) => Ok(None),
            (Some(_), None) => Err(DaskError::NoPython),
            (Some(address), Some(cluster)) => Ok(Some(Self { address, cluster })),
        }
    }

    /// Calls the function as a batch on the cluster.
    pub(super) fn batch(
        self,
        arguments: &Arguments,
        function: &Function,
        given: &mut [Option<OpenedArgument>],
        files: &OutputFiles,
        mask: Option<&Array>,
    ) -> Result<Report, Failure> {
        let contract = function.contract();
        let name = || function.name().to_owned();
        if !has_loops(contract, given, mask) {
            return Err(DaskError::Single { function: name() }.into());
        }
        if contract.outputs().is_empty() && !contract.is_status() {
            return Err(DaskError::NoOutput { function: name() }.into());
        }
        let started = Instant::now();
        let made = check(function, given, files, mask)?;
        let bytes = output_bytes(contract, files, &made)?.saturating_add(input_bytes(given, mask));

        let arrays = reopened(given)?;
        let mut outputs = Vec::new();
        for (role, (file, made)) in contract.outputs().iter().zip(files.iter().zip(&made)) {
            outputs.push(match (&file.file, made, role) {
                (Some(path), ..) => Target::File(path),
                (None, Some(Shape { dtype, shape, .. }), _) => Target::Memory {
                    dtype: dtype.clone(),
                    shape: shape.clone(),
                },
                (None, None, Role::Parameter(position)) => {
                    Target::File(replaced(contract, *position, given)?)
                }
                _ => Target::Ignored,
            });
        }
        if outputs.is_empty() {
            outputs.push(Target::Ignored);
        }
        let prototype = bind::text(arguments, function);
        let batch = ClusterBatch {
            address: self.address,
            library: &arguments.library,
            headers: &arguments.header,
            prototypes: &arguments.headers.prototypes,
            include: &arguments.headers.include,
            define: &arguments.headers.define,
            prototype: &prototype,
            check: arguments.check.map(Check::name),
            arguments: described(contract, given, &arrays),
            mask,
            outputs,
            threads: arguments.threads,
            simd: arguments.simd(),
            is_synced: arguments.sync,
            converts: arguments.convert,
        };
        let bar = Bar::new(function.name(), bytes, !arguments.quiet);
        let bar = Arc::new(Mutex::new(Some(bar)));
        let shown = Arc::clone(&bar);
        let done = self.cluster.run(
            &batch,
            Box::new(move |done, blocks| {
                let mut bar = shown.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(bar) = bar.as_mut() {
                    bar.update(done, blocks);
                }
            }),
        );
        drop(bar.lock().unwrap_or_else(PoisonError::into_inner).take());
        let contents = done.map_err(|error| match error {
            ClusterError::Interrupted(signal) => Failure::Interrupted {
                signal,
                left: left(function, files, &[]),
            },
            error => error.into(),
        })?;

        let mut contents = contents.into_iter();
        let mut arrays = Vec::new();
        for target in &batch.outputs {
            arrays.push(match target {
                Target::Memory { dtype, shape } => {
                    let content = contents.next().unwrap_or_default();
                    Some(filled(dtype, shape, &content)?)
                }
                _ => None,
            });
        }
        let mut report = Report::default();
        report.seconds = started.elapsed().as_secs_f64();
        report.outputs = made_outputs(files, made, arrays);
        Ok(report)
    }
}

/// Returns whether an array has axes along which calls are made.
fn has_loops(contract: &Contract, given: &[Option<OpenedArgument>], mask: Option<&Array>) -> bool {
    let mask = mask.map_or(0, Array::ndim);
    let arguments = contract.rules().iter().zip(given);
    let axes = arguments.map(|(rule, value)| {
        let array = value.as_ref().and_then(|value| value.opened.array());
        array.map_or(0, |array| match rule {
            Rule::Array(rule) if rule.is_sized() => 0,
            Rule::Array(rule) => array.ndim().saturating_sub(rule.rank()),
            Rule::Number(_) | Rule::Record { .. } => array.ndim(),
            _ => 0,
        })
    });
    axes.max().unwrap_or(0).max(mask) > 0
}

/// Checks the arguments by the prototype, and returns the dtype and shape of each output that is made.
fn check(
    function: &Function,
    given: &mut [Option<OpenedArgument>],
    files: &OutputFiles,
    mask: Option<&Array>,
) -> Result<Vec<Option<Shape>>, Failure> {
    let (inputs, mut outputs) = arguments_of(function.contract(), given, files);
    let mask = mask.map(mapcall::Arg::from);
    let batch = function.map(&inputs, &mut outputs);
    let batch = match &mask {
        Some(mask) => batch.only(mask),
        None => batch,
    };
    Ok(batch.outputs()?)
}

/// Maps the files of the arguments again, for reading: arrays may have been copied to align them, and files
/// that are opened for writing may change without an error.
fn reopened(given: &[Option<OpenedArgument>]) -> Result<Vec<Option<Array>>, Failure> {
    let open = |value: &Option<OpenedArgument>| {
        let file = value.as_ref().and_then(OpenedArgument::file);
        // SAFETY: the user has named the file, and is responsible for other programs that write it.
        file.map(|file| unsafe { file.open(Mode::Read) })
            .transpose()
    };
    Ok(given.iter().map(open).collect::<Result<_, _>>()?)
}

/// Returns the file of an argument that the function writes: the result takes its place.
fn replaced<'a>(
    contract: &Contract,
    position: usize,
    given: &'a [Option<OpenedArgument>],
) -> Result<&'a Path, DaskError> {
    let value = given.get(position).and_then(Option::as_ref);
    let file = value.and_then(OpenedArgument::file);
    match file {
        Some(file) if file.is_whole() && file.format() == Some(Format::Npy) => Ok(file.path()),
        file => Err(DaskError::InPlace {
            function: contract.prototype().name.clone(),
            name: contract.name(position).to_owned(),
            text: file.map_or_else(String::new, |file| file.text().display().to_string()),
        }),
    }
}

/// Returns the arguments that are given, with the parameters' names.
fn described<'a>(
    contract: &'a Contract,
    given: &'a [Option<OpenedArgument>],
    arrays: &'a [Option<Array>],
) -> Vec<(&'a str, ClusterArgument<'a>)> {
    let mut described = Vec::new();
    for (position, (value, array)) in given.iter().zip(arrays).enumerate() {
        let argument = match (value.as_ref().map(|value| &value.opened), array) {
            (_, Some(array)) => ClusterArgument::Array(array),
            (Some(Opened::Scalar(value)), None) => ClusterArgument::Scalar(*value),
            (Some(Opened::Text(text)), None) => ClusterArgument::Text(text),
            (Some(Opened::Null), None) => ClusterArgument::Null,
            _ => continue,
        };
        described.push((contract.name(position), argument));
    }
    described
}

/// Returns an array with elements that are given in C order.
fn filled(dtype: &DType, shape: &[usize], content: &[u8]) -> Result<Array, Failure> {
    let array = Array::zeros(dtype.clone(), shape, Order::C)?;
    let count = content.len().min(array.buffer().len());
    // SAFETY: the buffer of `array`, which is new, has at least `count` bytes, and so has `content`.
    unsafe { ptr::copy_nonoverlapping(content.as_ptr(), array.as_mut_ptr(), count) };
    Ok(array)
}
