//! The conversion of errors of calls to Python exceptions, with NumPy calls as remedies.

use mapcall::contract::{ArgumentError, HostValue, Problem, Remedy};
use mapcall::{BindError, CallError, LibraryError, PrototypeError};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple, PyType};

use super::ndarray;
use crate::errors::with_fields;
use crate::package::Package;

/// Makes an exception of one of the package's classes. Returns the exception that this raises, if it
/// does.
fn make(
    py: Python<'_>,
    class: impl FnOnce(&Package) -> &Py<PyType>,
    message: &str,
    set: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>,
) -> PyErr {
    let exception = Package::get(py)
        .and_then(|package| class(package).bind(py).call1((message,)))
        .map(PyErr::from_value);
    match exception {
        Ok(exception) => with_fields(py, exception, set),
        Err(error) => error,
    }
}

#[cold]
pub(super) fn argument(py: Python<'_>, error: &ArgumentError) -> PyErr {
    let remedy = remedy(error);
    make(
        py,
        |package| &package.argument_error,
        &error.message(&remedy),
        |value| {
            value.setattr("function", error.function.as_str())?;
            value.setattr("parameter", error.parameter.as_str())?;
            value.setattr("expected", error.expected())?;
            value.setattr("found", error.found())?;
            value.setattr("remedy", remedy.as_str())
        },
    )
}

/// Returns the remedy as a call of NumPy on the argument, under the parameter's name.
fn remedy(error: &ArgumentError) -> String {
    let name = &error.parameter;
    match error.remedy() {
        Remedy::Convert(dtype) => match dtype.fields() {
            Some(_) => format!("convert it with {name}.astype(struct.dtype), library.struct's"),
            None => format!("convert it with {name}.astype('{}')", dtype.name()),
        },
        Remedy::MakeArray(dtype) | Remedy::GiveStruct(dtype) => match dtype.fields() {
            Some(_) => {
                format!("make it one with numpy.array({name}, struct.dtype), library.struct's")
            }
            None => format!("make it one with numpy.asarray({name}, '{}')", dtype.name()),
        },
        Remedy::MakeColumnMajor => format!("copy it with numpy.asfortranarray({name})"),
        Remedy::MakeContiguous => format!("copy it with numpy.ascontiguousarray({name})"),
        Remedy::Copy if matches!(error.problem, Problem::ReadOnly) => {
            format!("pass {name}.copy(), or open the map for writing")
        }
        Remedy::Copy => format!("pass {name}.copy()"),
        Remedy::Unmask { by_copy: true } => {
            format!("pass {name}.filled(value), or {name}.data to have the masked elements count")
        }
        Remedy::Unmask { by_copy: false } => {
            format!("pass {name}.data, where the masked elements are written too")
        }
        Remedy::GiveText { or_array: false } => "give a str or bytes".into(),
        Remedy::GiveText { or_array: true } => "give a str, bytes or an array".into(),
        Remedy::GiveHandle { or_array: false } => "give a handle or None".into(),
        Remedy::GiveHandle { or_array: true } => "give an array, a handle or None".into(),
        Remedy::GivePointer { target } => format!("give library.handle('{target} *', {name})"),
        Remedy::GiveFunction => "give a bound function or a callable".into(),
        Remedy::GiveExtent => format!("give it by name, {name}=..."),
        Remedy::OmitInferred => "leave out the rest; inferred parameters are given by name".into(),
        Remedy::GiveOutputs { count: 0 } => "leave `out` out".into(),
        Remedy::GiveOutputs { count: 1 } => "give an array or a path as `out`".into(),
        Remedy::GiveOutputs { count } => format!(
            "give a tuple of {count} as `out`, with None for an output that is to be allocated"
        ),
        Remedy::Measure => {
            let function = &error.function;
            format!("write {name}[n] in the prototype, or call {function}.unchecked(...)")
        }
        other => other.to_string(),
    }
}

#[cold]
pub(super) fn call(py: Python<'_>, error: &CallError) -> PyErr {
    match error {
        CallError::Argument(error) => argument(py, error),
        CallError::Status {
            function,
            code,
            errno,
            index,
            ..
        } => {
            let code = PyInt::new(py, *code).into_any();
            let failure = failure(function, &code, *errno, &error.to_string());
            at(py, failure, index.as_deref())
        }
        CallError::Fault { fault, index, .. } => {
            at(py, crate::faults::fault(py, fault), index.as_deref())
        }
        CallError::Array { source, .. } => crate::errors::of(py, source),
        // Only in the child of a fork during a batch, where the calls end without an exception.
        CallError::Interrupted { .. } => PyRuntimeError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

/// Adds the index of the call of a batch that failed: as the `index` of a `CallError` that has none, else
/// as a note.
#[cold]
pub(super) fn at(py: Python<'_>, error: PyErr, index: Option<&[usize]>) -> PyErr {
    let Some(index) = index else {
        return error;
    };
    with_fields(py, error, |value| {
        let class = Package::get(py)?.call_error.bind(py);
        if value.is_instance(class)? && value.getattr("index")?.is_none() {
            return value.setattr("index", PyTuple::new(py, index)?);
        }
        let index = PyTuple::new(py, index)?.repr()?;
        let note = format!("raised for the call at index {index} of the batch");
        // If the note can't be added, the exception is raised without it.
        let _ = value.call_method1("add_note", (note,));
        Ok(())
    })
}

/// Returns the name of an object's type for messages: `a list`, `None`.
#[cold]
pub(super) fn what(object: &Bound<'_, PyAny>) -> PyResult<String> {
    if object.is_none() {
        return Ok("None".into());
    }
    let name = object.get_type().name()?.to_string();
    // The name of a class of cffi says nothing; its values are displayed as `<cdata 'double *' 0x5c..>`.
    if name.contains("CData") {
        let shown = object.repr()?.to_string();
        let ctype = shown.split('\'').nth(1).unwrap_or_default();
        return Ok(format!("a cdata '{ctype}'"));
    }
    let article = if name.starts_with(['a', 'e', 'i', 'o']) {
        "an"
    } else {
        "a"
    };
    Ok(format!("{article} {name}"))
}

/// Makes the exception for an object whose `value` the check has refused. The name of the object's type
/// replaces that of the kind of value.
#[cold]
pub(super) fn refused(
    mut error: ArgumentError,
    value: HostValue<'_>,
    object: &Bound<'_, PyAny>,
) -> PyErr {
    match name_object(&mut error.problem, value, object) {
        Ok(()) => argument(object.py(), &error),
        Err(error) => error,
    }
}

fn name_object(
    problem: &mut Problem,
    value: HostValue<'_>,
    object: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let is_other = matches!(value, HostValue::Other | HostValue::None);
    match problem {
        Problem::Type { .. } if is_other && ndarray::is_masked(object)? => {
            let (found, is_written) = (what(object)?, false);
            *problem = Problem::Masked { found, is_written };
        }
        Problem::Type { found, .. } if is_other => *found = what(object)?,
        Problem::NotOwned { found } => *found = what(object)?,
        Problem::Unbounded { found } if matches!(value, HostValue::Pointer(_)) => {
            *found = format!("{} object", what(object)?);
        }
        _ => {}
    }
    Ok(())
}

/// Makes a `CallError`.
#[cold]
fn failure(function: &str, code: &Bound<'_, PyAny>, errno: i32, message: &str) -> PyErr {
    make(
        code.py(),
        |package| &package.call_error,
        message,
        |value| {
            value.setattr("function", function)?;
            value.setattr("code", code)?;
            value.setattr("errno", errno)
        },
    )
}

pub(super) fn library(py: Python<'_>, error: &LibraryError) -> PyErr {
    make(
        py,
        |package| &package.library_error,
        &error.to_string(),
        |_| Ok(()),
    )
}

pub(super) fn prototype(py: Python<'_>, error: &PrototypeError) -> PyErr {
    let before = error.text.get(..error.span.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |line| line.chars().count())
        + 1;
    make(
        py,
        |package| &package.prototype_error,
        &error.to_string(),
        |value| {
            value.setattr("reason", error.kind.to_string())?;
            value.setattr("remedy", error.kind.remedy())?;
            value.setattr("line", line)?;
            value.setattr("column", column)
        },
    )
}

/// Makes a `PrototypeError` without a position in the text.
pub(super) fn unsupported(py: Python<'_>, reason: &str) -> PyErr {
    make(
        py,
        |package| &package.prototype_error,
        reason,
        |value| value.setattr("reason", reason),
    )
}

pub(super) fn bind(py: Python<'_>, error: &BindError) -> PyErr {
    match error {
        BindError::Prototype(error) => prototype(py, error),
        BindError::Library(error) => library(py, error),
        error => unsupported(py, &error.to_string()),
    }
}
