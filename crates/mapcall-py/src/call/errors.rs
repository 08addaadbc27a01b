//! The conversion of errors of calls to Python exceptions, with NumPy calls as remedies.

use mapcall::contract::{Access, ArgumentError, Form, HostValue, Problem, Remedy, Replacement};
use mapcall::{BindError, CallError, LibraryError, PrototypeError};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBytes, PyComplex, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple, PyType,
};

use super::{ndarray, remedies};
use crate::errors::with_fields;
use crate::once::intern;
use crate::package::Package;

/// Makes an exception of one of the package's classes. Returns the exception that this raises, if it
/// does.
pub(super) fn make(
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
    let remedy = remedies::text(error);
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
    match name_object(&mut error, value, object) {
        Ok(()) => argument(object.py(), &error),
        Err(error) => error,
    }
}

fn name_object(
    error: &mut ArgumentError,
    value: HostValue<'_>,
    object: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let is_other = matches!(value, HostValue::Other | HostValue::None);
    if matches!(value, HostValue::Array { .. }) && !object.is_instance_of::<PyUntypedArray>() {
        return without_methods(error, object);
    }
    let access = error.subject.access;
    match &mut error.problem {
        Problem::Type { .. } if is_other && ndarray::is_masked(object)? => {
            let (found, is_written) = (what(object)?, access.is_written());
            error.problem = Problem::Masked { found, is_written };
        }
        Problem::Type { found, remedy } if is_other => {
            *found = what(object)?;
            if let Remedy::GiveRecords(dtype) | Remedy::GiveStruct(dtype) = remedy
                && has_tuples(object)
            {
                *remedy = Remedy::Replace(Replacement::new(Form::MakeArray(dtype.clone())));
                return Ok(());
            }
            let Remedy::Replace(replacement) = remedy else {
                return Ok(());
            };
            let Form::MakeArray(dtype) = &replacement.form else {
                return Ok(());
            };
            if error.subject.rank > 0 && is_number(object)? {
                replacement.form = Form::OfNumber {
                    dtype: dtype.clone(),
                    rank: error.subject.rank,
                };
            } else if is_path(object)? {
                *remedy = Remedy::OpenFile {
                    is_written: access.is_written(),
                    is_output: access == Access::Output,
                };
            }
        }
        Problem::NotOwned { found } => *found = what(object)?,
        Problem::Unbounded { found, .. } if matches!(value, HostValue::Pointer(_)) => {
            *found = format!("{} object", what(object)?);
        }
        // The text of a str is cut by characters.
        Problem::NulInText { at, length } => {
            if let Ok(text) = object.cast::<PyString>() {
                let before = text.to_str()?.get(..*at).unwrap_or_default();
                *length = before.chars().count();
            }
        }
        _ => {}
    }
    Ok(())
}

/// Replaces a remedy by methods of NumPy's arrays for an array of another library, which lacks them.
fn without_methods(error: &mut ArgumentError, object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let class = object.get_type();
    let found = error.found();
    let name = &error.parameter;
    let view = PyMemoryView::from(object).ok();
    let bytes = match &view {
        Some(view) => {
            let format = view.getattr(intern!(py, "format"))?;
            matches!(format.extract::<&str>(), Ok("B" | "b" | "c"))
        }
        None => false,
    };
    let remedy = match &error.problem {
        Problem::DType { expected, .. } if bytes => {
            let dtype = remedies::quoted(error, expected);
            Remedy::Words(format!(
                "pass numpy.frombuffer({name}, {dtype}), if it has such numbers"
            ))
        }
        Problem::DType { found, .. } if found.fields().is_some() => {
            Remedy::Words(format!("give {}", error.expected))
        }
        Problem::DType { expected, .. } if !class.hasattr(intern!(py, "astype"))? => {
            Remedy::Replace(Replacement::new(Form::MakeArray(expected.clone())))
        }
        Problem::ReadOnly if bytes => Remedy::Words(format!(
            "pass new_{name} = bytearray({name}), which has the results then"
        )),
        Problem::ReadOnly | Problem::Unaligned { .. } if !class.hasattr(intern!(py, "copy"))? => {
            let has = |attribute| class.hasattr(attribute).unwrap_or(false);
            // NumPy makes an array of all others by `numpy.array`.
            let is_dlpack_alone = view.is_none()
                && !has("__array__")
                && !has("__array_interface__")
                && !has("__buffer__");
            let array = if is_dlpack_alone {
                format!("numpy.array(numpy.from_dlpack({name}))")
            } else {
                format!("numpy.array({name})")
            };
            Remedy::Words(format!(
                "pass new_{name} = {array}, which has the results then"
            ))
        }
        _ => return Ok(()),
    };
    error.expected = error.expected();
    error.subject.can_convert &= !matches!(remedy, Remedy::Words(_));
    error.problem = Problem::Type { found, remedy };
    Ok(())
}

/// Returns whether an object is a tuple, or a list of tuples, of which NumPy makes structs.
fn has_tuples(object: &Bound<'_, PyAny>) -> bool {
    let Ok(list) = object.cast::<PyList>() else {
        return object.is_instance_of::<PyTuple>();
    };
    !list.is_empty()
        && list
            .iter()
            .all(|element| element.is_instance_of::<PyTuple>())
}

/// Returns whether an object is one number of Python or NumPy.
fn is_number(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let class = object.get_type();
    Ok(object.is_instance_of::<PyFloat>()
        || object.is_instance_of::<PyComplex>()
        || class.hasattr(intern!(object.py(), "__index__"))?
            && !class.hasattr(intern!(object.py(), "__getitem__"))?)
}

/// Returns whether an object is the name of a file: a str, bytes or an object of `os.PathLike`.
pub(super) fn is_path(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.is_instance_of::<PyString>()
        || object.is_instance_of::<PyBytes>()
        || object
            .get_type()
            .hasattr(intern!(object.py(), "__fspath__"))?)
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
