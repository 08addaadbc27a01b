//! The user data of SciPy's `LowLevelCallable`, which C passes to the function with each call.

#![allow(unsafe_code)]

use mapcall::contract::{Contract, Problem, Remedy, Rule};
use mapcall::ctype::CType;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use smallvec::SmallVec;

use super::c_value::CValue;
use super::function::Function;
use super::{errors, foreign_function};
use crate::once::intern;

/// The objects of the user data among the arguments of a call, which live until the call returns.
pub(super) type UserData<'py> = SmallVec<[Bound<'py, PyAny>; 1]>;

/// Gives C the user data of the functions among the arguments: as the `void *` argument behind the function, or the
/// only one, which is left out or None. `given` has an argument for each parameter; null for those left out.
///
/// # Errors
///
/// `ArgumentError` if there is no such parameter, or if it has another argument.
pub(super) fn forward<'py>(
    py: Python<'py>,
    function: &Function,
    given: &mut [*mut PyObject],
) -> PyResult<UserData<'py>> {
    let contract = function.inner.contract();
    let mut added = UserData::new();
    for (position, rule) in contract.rules().iter().enumerate() {
        let Rule::Function(wanted) = rule else {
            continue;
        };
        let Some(object) = argument(py, given, position) else {
            continue;
        };
        let Some(address) = foreign_function::user_data(&object)? else {
            continue;
        };
        let name = contract.name(position);
        let refuse = |found: String, remedy: String| {
            let remedy = Remedy::Words(remedy);
            let problem = Problem::Type { found, remedy };
            errors::argument(py, &contract.refuse(position, problem))
        };
        let found = format!("{} with user_data", errors::what(&object)?);
        let without = format!("give LowLevelCallable({name}.function)");
        if !wanted.parameters.iter().any(is_void_pointer) {
            return Err(refuse(found, without));
        }
        let Some(data) = place(contract, position) else {
            let remedy = format!(
                "write `void *data` behind it in the prototype, if C takes that, or {without}"
            );
            return Err(refuse(found, remedy));
        };
        if let Some(other) = argument(py, given, data)
            && !other.is_none()
            && self::address(&other)? != Some(address)
        {
            let data = contract.name(data);
            return Err(refuse(
                format!("{found}, and other data for {data}"),
                format!("leave {data} out, or {without}"),
            ));
        }
        let pointer = py.import(intern!(py, "ctypes"))?;
        let pointer = pointer.call_method1(intern!(py, "c_void_p"), (address,))?;
        if let Some(slot) = given.get_mut(data) {
            *slot = pointer.as_ptr();
        }
        added.push(pointer);
    }
    Ok(added)
}

/// Returns the argument of a parameter; `None` if it is left out.
fn argument<'py>(
    py: Python<'py>,
    given: &[*mut PyObject],
    position: usize,
) -> Option<Bound<'py, PyAny>> {
    let object = given.get(position).copied().unwrap_or_default();
    // SAFETY: null, or an argument, to which the caller of the function has a reference.
    unsafe { Bound::from_borrowed_ptr_or_opt(py, object) }
}

/// Returns the position of the parameter for the user data of a function that is given for another one.
fn place(contract: &Contract, function: usize) -> Option<usize> {
    let is_void = |position: &usize| {
        let rule = contract.rules().get(*position);
        rule.and_then(Rule::pointer)
            .is_some_and(|rule| rule.is_void)
    };
    let mut places = (0..contract.rules().len()).filter(is_void);
    let behind = Some(function + 1).filter(is_void);
    behind.or_else(|| places.next().filter(|_| places.next().is_none()))
}

fn is_void_pointer(ctype: &CType) -> bool {
    match ctype.resolved() {
        CType::Pointer(pointer) => matches!(pointer.target.resolved(), CType::Void),
        _ => false,
    }
}

/// Returns the address that an argument leads to, if it is a pointer of ctypes or cffi, or a capsule.
fn address(object: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    if let Ok(capsule) = object.cast::<PyCapsule>() {
        return foreign_function::capsule_address(capsule).map(Some);
    }
    Ok(CValue::read(object)?.and_then(|value| value.address()))
}
