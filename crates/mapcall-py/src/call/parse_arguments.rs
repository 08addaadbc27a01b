//! The assignment of positional and keyword arguments to parameters.

#![allow(unsafe_code)]

use mapcall::contract::Problem;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use smallvec::SmallVec;

use super::errors;
use super::function::Function;
use super::keywords::BatchOptions;
use super::spelling::{self, KEYWORDS};

/// Writes each argument to the position of its parameter in `given`, which is all null before. The
/// position of a parameter without an argument stays null. Returns the options of a batch call, if any
/// are given.
///
/// `arguments` has first `positional` arguments by position, then one for each of the `keywords`. Arguments
/// by position are those of the first parameters; or those of the required parameters, if they are as many,
/// and no required one is given by name.
///
/// # Errors
///
/// `ArgumentError` if there are too many arguments, two for one parameter, or a keyword that is
/// neither a parameter nor an option.
pub(super) fn parse_arguments<'py>(
    py: Python<'py>,
    function: &Function,
    arguments: &[*mut PyObject],
    positional: usize,
    keywords: Option<&Bound<'py, PyTuple>>,
    given: &mut [*mut PyObject],
) -> PyResult<Option<Box<BatchOptions<'py>>>> {
    let contract = function.inner.contract();
    let refuse = |problem| Err(errors::argument(py, &contract.refuse_all(problem)));
    let taken = contract.arguments();
    if positional > taken.len() {
        return refuse(Problem::TooMany {
            max: taken.len(),
            found: positional,
        });
    }
    let (by_position, by_name) = arguments.split_at_checked(positional).unwrap_or_default();
    let required: SmallVec<[usize; 8]>;
    let taken = if positional < taken.len() {
        required = taken
            .iter()
            .copied()
            .filter(|&position| !contract.is_optional(position))
            .collect();
        // As many as are required, of which none is given by name, can't be others.
        let is_named = || {
            let names = keywords.into_iter().flat_map(|names| names.iter_borrowed());
            names.into_iter().any(|name| {
                let Ok(name) = name.cast::<PyString>() else {
                    return false;
                };
                let found = name.to_str().ok();
                let found = found.and_then(|name| spelling::position(contract.prototype(), name));
                found.is_some_and(|position| required.contains(&position))
            })
        };
        if required.len() == positional && !is_named() {
            &required[..]
        } else {
            taken
        }
    } else {
        taken
    };
    for (&position, argument) in taken.iter().zip(by_position) {
        if let Some(slot) = given.get_mut(position) {
            *slot = *argument;
        }
    }
    let mut options = None;
    let Some(keywords) = keywords else {
        return Ok(None);
    };
    for (name, argument) in keywords.iter_borrowed().zip(by_name) {
        let mut names = function.parameters().iter().map(|(name, _)| name);
        // Keywords in source code are interned, as the names are.
        let position = names.position(|known| known.is(&*name)).or_else(|| {
            let name = name.cast::<PyString>().ok()?;
            spelling::position(contract.prototype(), name.to_str().ok()?)
        });
        let Some(position) = position else {
            let name = name.to_string();
            // SAFETY: the pointer is that of a live object, to which the caller of the function has a
            // reference.
            let value = unsafe { Borrowed::from_ptr(py, *argument) };
            if !BatchOptions::set(&mut options, &name, &value) {
                return refuse(contract.unknown(&name, &KEYWORDS));
            }
            continue;
        };
        match given.get_mut(position) {
            Some(slot) if slot.is_null() => *slot = *argument,
            _ => {
                let problem = Problem::Twice;
                return Err(errors::argument(py, &contract.refuse(position, problem)));
            }
        }
    }
    Ok(options)
}
