//! The kinds of results of functions.

use std::sync::Arc;

use mapcall::contract::{Number, Rule, target_name};
use mapcall::ctype::{CType, Float, Function as FunctionType, Pointer};
use numpy::PyArrayDescr;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::struct_object::has_pointers;
use super::structure;
use super::text::Text;

/// The Python object that a function's result becomes.
///
/// Each call reads it, so that its tag is a byte of its own.
#[repr(u8)]
pub(super) enum Returns {
    Void,
    Number(Number),
    /// A NumPy scalar, for `long double`, whose values a float can't hold.
    Extended(Py<PyArrayDescr>),
    Text,
    Pointer(Arc<Pointer>),
    /// A function pointer, by the name of its type if it has one.
    Function(Arc<FunctionType>, Option<Box<str>>),
    Record(Py<PyArrayDescr>),
    /// A struct or union with pointers, whose dtype has their addresses only.
    Struct(Py<PyArrayDescr>),
}

impl Returns {
    pub(super) fn new(py: Python<'_>, ctype: &CType, text: Text) -> PyResult<Self> {
        let dtype = || structure::dtype(py, ctype).map(Bound::unbind);
        Ok(match Number::of(ctype) {
            Some(Number::Float(Float::LongDouble) | Number::Complex(Float::LongDouble)) => {
                Self::Extended(dtype()?)
            }
            Some(number) => Self::Number(number),
            None => match ctype.resolved() {
                CType::Pointer(pointer) if pointer.is_text() && text != Text::Handle => Self::Text,
                CType::Pointer(pointer) => match function_pointed_to(pointer) {
                    Some(function) => Self::Function(function, type_name(ctype)),
                    None => Self::Pointer(Arc::clone(pointer)),
                },
                CType::Record(_) if has_pointers(ctype) => Self::Struct(dtype()?),
                CType::Record(_) => Self::Record(dtype()?),
                _ => Self::Void,
            },
        })
    }

    /// Returns whether a call returns pointers: as its result, or as an array of them that it
    /// allocates.
    pub(super) fn has_pointers(&self, function: &mapcall::Function) -> bool {
        let mut outputs = function.contract().rules().iter().filter_map(Rule::array);
        matches!(
            self,
            Self::Pointer(_) | Self::Function(..) | Self::Struct(_)
        ) || outputs.any(|array| array.is_output() && pointed_to(array.ctype()).is_some())
    }

    /// Checks that a function returns pointers which a destructor can destroy: as its result, or in
    /// an array that it writes.
    ///
    /// # Errors
    ///
    /// `ValueError` if it returns none.
    pub(super) fn check_destructor(
        &self,
        function: &mapcall::Function,
        destructor: Option<&mapcall::Function>,
    ) -> PyResult<()> {
        let outputs = function.contract().rules().iter().filter_map(Rule::array);
        let outputs = outputs.filter(|array| !array.is_const());
        let mut targets: Vec<String> = outputs
            .filter_map(|array| pointed_to(array.ctype()))
            .map(|pointer| target_name(&pointer.target))
            .collect();
        if let Self::Pointer(pointer) = self {
            targets.push(target_name(&pointer.target));
        }
        let is_fit = match destructor {
            Some(destructor) => targets.iter().any(|target| destructor.destroys(target)),
            None => !targets.is_empty(),
        };
        if is_fit {
            return Ok(());
        }
        let targets = if targets.is_empty() {
            "what it returns".to_owned()
        } else {
            targets.join(" or ")
        };
        let function = function.name();
        Err(PyValueError::new_err(match destructor {
            Some(destructor) => format!(
                "{function}: destructor: expected a function of one pointer to {targets}, got {}",
                destructor.prototype(),
            ),
            None => format!(
                "{function}: destructor: expected none, as the function returns no pointer, got a \
                 callable"
            ),
        }))
    }
}

/// Returns the function type that a pointer leads to; `None` for pointers to objects.
pub(super) fn function_pointed_to(pointer: &Pointer) -> Option<Arc<FunctionType>> {
    match pointer.target.resolved() {
        CType::Function(function) => Some(Arc::clone(function)),
        _ => None,
    }
}

/// Returns the typedef name of a pointer type, or of its target; `None` if it has none.
pub(super) fn type_name(ctype: &CType) -> Option<Box<str>> {
    match ctype {
        CType::Typedef(typedef) => Some(typedef.name.as_str().into()),
        CType::Pointer(pointer) => match &pointer.target {
            CType::Typedef(typedef) => Some(typedef.name.as_str().into()),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the pointer type that a C type is; `None` for any other type.
pub(super) fn pointed_to(ctype: &CType) -> Option<&Pointer> {
    match ctype.resolved() {
        CType::Pointer(pointer) => Some(pointer),
        _ => None,
    }
}
