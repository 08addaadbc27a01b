//! Maps the files of the arguments of a call.

#![allow(unsafe_code)]

use mapcall::array::layout::Order;
use mapcall::array::map::available_memory;
use mapcall::array::{Array, Element, Layout};
use mapcall::contract::{Contract, Rule};
use mapcall::{Arg, Function};

use super::OutputError;
use super::outputs::OutputFiles;
use super::same_file::is_same_file;
use crate::Failure;
use crate::value::file::ArrayFile;
use crate::value::{Opened, Value};

/// An argument of the command, whose file is mapped.
pub(super) struct OpenedArgument {
    pub(super) opened: Opened,
    file: Option<ArrayFile>,
}

impl OpenedArgument {
    pub(super) fn arg(&mut self) -> Arg<'_> {
        self.opened.arg()
    }

    /// Returns the file of an array.
    pub(super) fn file(&self) -> Option<&ArrayFile> {
        self.file.as_ref()
    }

    /// Returns the array and its file if the function may write them.
    pub(super) fn written(&self) -> Option<(&Array, &ArrayFile)> {
        match (&self.opened, &self.file) {
            (Opened::InOut(array), Some(file)) => Some((array, file)),
            _ => None,
        }
    }
}

/// Returns the function with the extents whose values the user has given by name.
pub(super) fn with_extents(
    function: &Function,
    values: &[Option<Value>],
) -> Result<Function, Failure> {
    let contract = function.contract();
    let mut function = function.clone();
    for (position, (rule, value)) in contract.rules().iter().zip(values).enumerate() {
        if let (Rule::Inferred(_) | Rule::InOut(_) | Rule::Derived(_), Some(Value::Scalar(value))) =
            (rule, value)
        {
            function = function.with_extent(contract.name(position), *value)?;
        }
    }
    Ok(function)
}

/// Maps the files of all values. Unless calls convert them, unaligned arrays are replaced by aligned ones, copies if
/// `is_called`, else zeros, which suffice for the checks.
pub(super) fn open(
    contract: &Contract,
    values: Vec<Option<Value>>,
    (is_called, converts): (bool, bool),
) -> Result<Vec<Option<OpenedArgument>>, Failure> {
    let open = |(position, value): (usize, Option<Value>)| {
        let Some(value) = value else {
            return Ok(None);
        };
        let file = match &value {
            Value::File { file, .. } => Some(file.clone()),
            _ => None,
        };
        // SAFETY: the user has named the file, and is responsible for other programs that write it.
        let opened = match unsafe { value.open(contract, position)? } {
            Opened::Input(array) if !converts => Opened::Input(aligned(array, is_called)),
            opened => opened,
        };
        Ok(Some(OpenedArgument { opened, file }))
    };
    values.into_iter().enumerate().map(open).collect()
}

/// Returns an aligned array. Most members of a `.npz` are unaligned; they are copied, unless they are larger
/// than the available memory.
fn aligned(array: Array, is_copied: bool) -> Array {
    let copied = match array.dtype().itemsize() {
        _ if array.is_aligned() => None,
        _ if !is_copied => Array::zeros(array.dtype().clone(), array.shape(), Order::C).ok(),
        2 => copy::<[u8; 2]>(&array),
        4 => copy::<[u8; 4]>(&array),
        8 => copy::<[u8; 8]>(&array),
        16 => copy::<[u8; 16]>(&array),
        _ => None,
    };
    copied.unwrap_or(array)
}

fn copy<T: Element>(array: &Array) -> Option<Array> {
    if available_memory().is_some_and(|free| array.layout().nbytes() as u64 > free) {
        return None;
    }
    let mut copy = Array::zeros(array.dtype().clone(), array.shape(), Order::C).ok()?;
    let view = array.view::<T>().ok()?;
    copy.view_mut::<T>().ok()?.assign(&view);
    Some(copy)
}

/// Returns whether an array has more axes than its parameter, so that the call is a batch.
pub(super) fn has_axes(contract: &Contract, opened: &[Option<OpenedArgument>]) -> bool {
    contract.rules().iter().zip(opened).any(|(rule, value)| {
        let array = value.as_ref().and_then(|value| value.opened.array());
        array.is_some_and(|array| match rule {
            Rule::Array(rule) => array.ndim() > rule.rank() && !rule.is_sized(),
            Rule::Number(_) | Rule::Record { .. } => true,
            _ => false,
        })
    })
}

/// Returns an error if an array that is written in place has bytes in common with another argument, or if a
/// new file would replace its file. Paths and file offsets are compared, as each argument has a map of its
/// own, and two maps of a file have different addresses.
pub(super) fn check_apart(
    contract: &Contract,
    opened: &[Option<OpenedArgument>],
    outputs: &OutputFiles,
) -> Result<(), OutputError> {
    let function = || contract.prototype().name.clone();
    let files = || {
        let opened = opened.iter().enumerate();
        opened.filter_map(|(position, value)| {
            let value = value.as_ref()?;
            Some((position, value.opened.array()?, value.file.as_ref()?))
        })
    };
    for (position, value) in opened.iter().enumerate() {
        let Some((array, file)) = value.as_ref().and_then(OpenedArgument::written) else {
            continue;
        };
        for (other, other_array, other_file) in files() {
            if other != position
                && is_same_file(file.path(), other_file.path())
                // A copy in memory does not see the writes.
                && other_array.file_offset().is_some()
                && may_share(array, other_array)
            {
                return Err(OutputError::Shared {
                    function: function(),
                    name: contract.name(position).to_owned(),
                    path: file.path().to_owned(),
                    other: contract.name(other).to_owned(),
                });
            }
        }
        for output in outputs.iter() {
            if let Some(path) = &output.file
                && is_same_file(file.path(), path)
            {
                return Err(OutputError::Same {
                    function: function(),
                    name: output.name.clone(),
                    path: path.clone(),
                    other: contract.name(position).to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Returns whether two arrays of one file may have bytes in common.
fn may_share(one: &Array, other: &Array) -> bool {
    match (in_file(one), in_file(other)) {
        (Some(one), Some(other)) => one.may_share(&other),
        _ => true,
    }
}

/// Returns the layout of an array relative to the start of its file.
fn in_file(array: &Array) -> Option<Layout> {
    let offset = usize::try_from(array.file_offset()?).ok()?;
    array.layout().clone().with_offset(offset).ok()
}
