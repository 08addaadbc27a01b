//! The arguments of a call, with their files mapped.

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

/// An argument of the command, opened.
pub(super) struct OpenedArgument {
    pub(super) opened: Opened,
    file: Option<ArrayFile>,
}

impl OpenedArgument {
    pub(super) fn arg(&mut self) -> Arg<'_> {
        self.opened.arg()
    }

    /// The array and its file, if the function may write them.
    pub(super) fn written(&self) -> Option<(&Array, &ArrayFile)> {
        match (&self.opened, &self.file) {
            (Opened::InOut(array), Some(file)) => Some((array, file)),
            _ => None,
        }
    }
}

/// The function with the extents that are given by their names.
pub(super) fn with_extents(
    function: &Function,
    values: &[Option<Value>],
) -> Result<Function, Failure> {
    let contract = function.contract();
    let mut function = function.clone();
    for (position, (rule, value)) in contract.rules().iter().zip(values).enumerate() {
        if let (Rule::Inferred(_), Some(Value::Scalar(value))) = (rule, value) {
            function = function.with_extent(contract.name(position), *value)?;
        }
    }
    Ok(function)
}

/// Maps the files.
pub(super) fn open(
    contract: &Contract,
    values: Vec<Option<Value>>,
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
            Opened::Input(array) => Opened::Input(aligned(array)),
            opened => opened,
        };
        Ok(Some(OpenedArgument { opened, file }))
    };
    values.into_iter().enumerate().map(open).collect()
}

/// An array that C can read: members of a `.npz` mostly begin at odd places, and are copied, unless
/// they are larger than memory.
fn aligned(array: Array) -> Array {
    let copied = match array.dtype().itemsize() {
        _ if array.is_aligned() => None,
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

/// Whether an array has axes that its parameter has no brackets for.
pub(super) fn has_axes(contract: &Contract, opened: &[Option<OpenedArgument>]) -> bool {
    contract.rules().iter().zip(opened).any(|(rule, value)| {
        let array = value.as_ref().and_then(|value| value.opened.array());
        array.is_some_and(|array| match rule {
            Rule::Array(rule) => array.ndim() > rule.rank(),
            Rule::Number(_) | Rule::Record { .. } => true,
            _ => false,
        })
    })
}

/// What is written in place shares no byte with anything else that is given: each file is mapped on
/// its own, so that addresses don't tell. And no new file takes its place.
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
                // A copy doesn't change meanwhile.
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

/// Whether two arrays of one file share a byte of it.
fn may_share(one: &Array, other: &Array) -> bool {
    match (in_file(one), in_file(other)) {
        (Some(one), Some(other)) => one.may_share(&other),
        _ => true,
    }
}

/// Where the elements lie, counted from the file's start.
fn in_file(array: &Array) -> Option<Layout> {
    let offset = usize::try_from(array.file_offset()?).ok()?;
    array.layout().clone().with_offset(offset).ok()
}
