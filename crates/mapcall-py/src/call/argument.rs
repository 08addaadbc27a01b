//! The conversion of one argument into slots of the frame.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::slice;

use mapcall::contract::{ArrayRule, Check, PointerRule, Problem, Remedy, Role, Rule};
use mapcall::prototype::Ownership;
use numpy::PyUntypedArray;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::callback::{self, Callback};
use super::expected::Expected;
use super::function::Function;
use super::handle::Handle;
use super::number::PythonNumber;
use super::resources::CallResources;
use super::snapshot::{Snapshot, Snapshots};
use super::{errors, foreign, ndarray, number};

/// Reads the arguments of one call: checks them and fills its frame.
pub(super) struct Reader<'a, 'c, 'py> {
    pub(super) py: Python<'py>,
    pub(super) function: &'a Function,
    pub(super) check: &'a mut Check<'c>,
    pub(super) resources: CallResources,
    pub(super) arrays: &'a mut Snapshots,
    pub(super) ndarray: *mut ffi::PyTypeObject,
}

impl<'py> Reader<'_, '_, 'py> {
    /// Checks an argument and puts it into the frame.
    #[inline]
    pub(super) fn argument(
        &mut self,
        position: usize,
        rule: &Rule,
        expected: Option<&Expected>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        match rule {
            Rule::Array(array) => self.array(position, array, expected, object),
            Rule::Number(kind) => self.number(position, *kind, object),
            _ => self.other(position, rule, object),
        }
    }

    #[inline]
    fn array(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        expected: Option<&Expected>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if let Some(array) = ndarray::as_array(object, self.ndarray) {
            return self.ndarray(position, rule, expected, array);
        }
        self.other_array(position, rule, expected, object)
    }

    /// Reads an array that is not NumPy's, or None for one that is left out.
    #[cold]
    fn other_array(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        expected: Option<&Expected>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if object.is_none() {
            return self.leave_out(position);
        }
        let array = self.view(position, object)?.ok_or_else(|| {
            let remedy = Remedy::MakeArray(rule.dtype.clone());
            self.unfit(position, object, remedy)
        })?;
        self.ndarray(position, rule, expected, &array)
    }

    #[inline]
    fn ndarray(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        expected: Option<&Expected>,
        array: &Bound<'py, PyUntypedArray>,
    ) -> PyResult<()> {
        let array = self.snapshot(position, array)?;
        self.dtype(position, expected, &array)?;
        let checked = if self.function.is_unchecked {
            self.check
                .array_unchecked(position, rule, array.memory(self.py))
        } else {
            self.check.array(position, rule, array.memory(self.py))
        };
        checked.map_err(|error| errors::argument(self.py, &error))?;
        self.arrays.push(Role::Parameter(position), array);
        Ok(())
    }

    #[inline]
    fn snapshot(&self, position: usize, array: &Bound<'py, PyUntypedArray>) -> PyResult<Snapshot> {
        let contract = self.function.inner.contract();
        Snapshot::new(contract, Role::Parameter(position), array)
    }

    /// Checks the dtype of an array. A `void *` takes any.
    #[inline]
    fn dtype(
        &self,
        position: usize,
        expected: Option<&Expected>,
        array: &Snapshot,
    ) -> PyResult<()> {
        match expected.map(|expected| expected.check(array.dtype(self.py))) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(problem)) => Err(self.refuse(position, problem)),
        }
    }

    /// Reads a number; refuses an object that is none.
    fn number(
        &mut self,
        position: usize,
        kind: mapcall::contract::Number,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if let Some(array) = ndarray::as_array(object, self.ndarray)
            && !ndarray::memory(array).shape.is_empty()
        {
            return self.values(position, array);
        }
        match number::read(object) {
            // A tensor of several items raises an exception when it is read as a number.
            Ok(PythonNumber::None) | Err(_) if self.foreign_values(position, kind, object)? => {
                Ok(())
            }
            read => self.read_number(position, kind, object, read?),
        }
    }

    /// Reads an array of another library, of one number or several; returns whether it is one.
    #[cold]
    fn foreign_values(
        &mut self,
        position: usize,
        kind: mapcall::contract::Number,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<bool> {
        let is_text = object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyString>();
        let Some(array) = (if is_text {
            None
        } else {
            self.view(position, object)?
        }) else {
            return Ok(false);
        };
        if ndarray::memory(&array).shape.is_empty() {
            // Without DLPack it is a scalar, which `number::read` has already looked at.
            if !object.get_type().hasattr(intern!(self.py, "__dlpack__"))? {
                return Ok(false);
            }
            let item = array.get_item(PyTuple::empty(self.py))?;
            let read = number::read(&item)?;
            self.read_number(position, kind, &item, read)?;
            return Ok(true);
        }
        self.values(position, &array)?;
        Ok(true)
    }

    /// Reads an array with a number or struct for each call of a batch.
    #[cold]
    fn values(&mut self, position: usize, array: &Bound<'py, PyUntypedArray>) -> PyResult<()> {
        let array = self.snapshot(position, array)?;
        let expected = self.function.item(self.py, Role::Parameter(position))?;
        self.dtype(position, expected, &array)?;
        let checked = self.check.values(position, array.memory(self.py));
        checked.map_err(|error| errors::argument(self.py, &error))?;
        self.arrays.push(Role::Parameter(position), array);
        Ok(())
    }

    fn read_number(
        &mut self,
        position: usize,
        kind: mapcall::contract::Number,
        object: &Bound<'py, PyAny>,
        number: PythonNumber,
    ) -> PyResult<()> {
        if kind.is_extended()
            && !matches!(number, PythonNumber::None)
            && let Some(words) = number::extended(object, kind)?
        {
            self.check.words(position, &words);
            return Ok(());
        }
        match number {
            PythonNumber::Scalar(value) => {
                let checked = self.check.number(position, kind, value);
                checked.map_err(|error| errors::argument(self.py, &error))
            }
            PythonNumber::Huge(found) => {
                let remedy = Remedy::Words(format!("give a value that {kind} has"));
                Err(self.refuse(position, Problem::Type { found, remedy }))
            }
            PythonNumber::None => {
                let remedy = Remedy::Words("give a number".into());
                Err(self.unfit(position, object, remedy))
            }
        }
    }

    /// Reads an argument that is neither an array nor a number.
    fn other(&mut self, position: usize, rule: &Rule, object: &Bound<'py, PyAny>) -> PyResult<()> {
        match rule {
            Rule::Inferred(_)
                if let Some(array) = ndarray::as_array(object, self.ndarray)
                    && !ndarray::memory(array).shape.is_empty() =>
            {
                self.values(position, array)
            }
            Rule::Inferred(inferred) => match number::read(object)? {
                PythonNumber::Scalar(value) => self
                    .check
                    .inferred(position, *inferred, value)
                    .map_err(|error| errors::argument(self.py, &error)),
                PythonNumber::Huge(found) => {
                    let remedy = Remedy::Words("give the extent of the arrays".into());
                    Err(self.refuse(position, Problem::Type { found, remedy }))
                }
                PythonNumber::None => {
                    Err(self.unfit(position, object, Remedy::Words("give a number".into())))
                }
            },
            Rule::Text => self.text(position, rule, object),
            Rule::Pointer(pointer) => self.pointer(position, pointer, object),
            Rule::Function(wanted) => {
                let address = self.callback(position, wanted, object)?;
                self.check
                    .word(position, address.expose_provenance() as u64);
                Ok(())
            }
            Rule::Record { .. } => self.record(position, object),
            _ => Err(self.unfit(
                position,
                object,
                Remedy::Words("look at the prototype".into()),
            )),
        }
    }

    fn text(&mut self, position: usize, rule: &Rule, object: &Bound<'py, PyAny>) -> PyResult<()> {
        if object.is_none() {
            self.check.word(position, 0);
            return Ok(());
        }
        let text = if let Ok(text) = object.cast::<PyString>() {
            text.to_str()?.as_bytes()
        } else if let Ok(text) = object.cast::<PyBytes>() {
            text.as_bytes()
        } else if self.function.is_unchecked
            && let Some(pointer) = rule.pointer()
        {
            return self.pointer(position, pointer, object);
        } else {
            let remedy = Remedy::Words("give a str or bytes".into());
            return Err(self.unfit(position, object, remedy));
        };
        if let Ok(cut) = CStr::from_bytes_until_nul(text) {
            let at = cut.count_bytes();
            return Err(self.refuse(position, Problem::NulInText { at }));
        }
        // A bytes object and the UTF-8 of a str end with a NUL, and the caller keeps the object alive.
        let address: *const c_char = text.as_ptr().cast();
        self.check
            .word(position, address.expose_provenance() as u64);
        Ok(())
    }

    fn pointer(
        &mut self,
        position: usize,
        rule: &PointerRule,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if object.is_none() {
            self.check.word(position, 0);
            return Ok(());
        }
        if let Ok(handle) = object.cast::<Handle>() {
            let in_use = handle
                .get()
                .as_argument(self.py, &self.function.inner, position)?;
            let address = in_use.address().as_ptr();
            self.check
                .word(position, address.expose_provenance() as u64);
            self.resources.add_handle(in_use);
            return Ok(());
        }
        let is_allowed = rule.is_void || self.function.is_unchecked;
        let array = match ndarray::as_array(object, self.ndarray) {
            Some(array) => Some(array.clone()),
            None => self.view(position, object)?,
        };
        if let Some(array) = array {
            self.owned(position, rule, object)?;
            if !is_allowed {
                let found = "an array".into();
                return Err(self.refuse(position, Problem::Unbounded { found }));
            }
            let array = self.snapshot(position, &array)?;
            if !rule.is_void {
                self.dtype(position, self.function.expected(position), &array)?;
            }
            let memory = array.memory(self.py);
            let checked = if self.function.is_unchecked {
                self.check.pointer_unchecked(position, rule, memory)
            } else {
                self.check.pointer(position, rule, memory)
            };
            checked.map_err(|error| errors::argument(self.py, &error))?;
            self.arrays.push(Role::Parameter(position), array);
            return Ok(());
        }
        if let Some(parameter) = object.getattr_opt(intern!(self.py, "_as_parameter_"))? {
            self.owned(position, rule, object)?;
            if !is_allowed {
                let found = format!("{} object", errors::what(object)?);
                return Err(self.refuse(position, Problem::Unbounded { found }));
            }
            let address = address_of(&parameter)?;
            self.check.word(position, address as u64);
            self.resources.add_object(parameter);
            return Ok(());
        }
        let what = match is_allowed {
            _ if rule.is_text() => "a str, bytes or an array",
            true => "an array, a handle or None",
            false => "a handle or None",
        };
        Err(self.unfit(position, object, Remedy::Words(format!("give {what}"))))
    }

    /// Refuses memory that Python owns, if C owns the pointer's object after the call.
    fn owned(
        &self,
        position: usize,
        rule: &PointerRule,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if rule.ownership == Ownership::Kept {
            return Ok(());
        }
        let found = errors::what(object)?;
        Err(self.refuse(position, Problem::NotOwned { found }))
    }

    fn callback(
        &mut self,
        position: usize,
        wanted: &std::sync::Arc<mapcall::ctype::Function>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<*const c_void> {
        if object.is_none() {
            return Ok(ptr::null());
        }
        if let Ok(function) = object.cast::<Function>() {
            let prototype = function.get().inner.prototype();
            if !prototype.is_of(wanted) {
                let found = prototype.to_string();
                return Err(self.refuse(position, Problem::Function { found }));
            }
            return Ok(function.get().inner.address().as_ptr());
        }
        if let Ok(callback) = object.cast::<Callback>() {
            let callback = callback.get();
            if !callback.is_of(wanted) {
                let found = callback.ctype();
                return Err(self.refuse(position, Problem::Function { found }));
            }
            self.resources.note_callback();
            return Ok(callback.address());
        }
        if !object.is_callable() {
            let remedy = Remedy::Words("give a bound function or a callable".into());
            return Err(self.unfit(position, object, remedy));
        }
        let closure = callback::closure(&self.function.inner, position, wanted, object)?;
        let address = closure.address();
        self.resources.add_callback(closure);
        Ok(address)
    }

    fn record(&mut self, position: usize, object: &Bound<'py, PyAny>) -> PyResult<()> {
        let contract = self.function.inner.contract();
        let Some(Rule::Record { dtype, .. }) = contract.rules().get(position) else {
            return Ok(());
        };
        let numpy = self.py.import(intern!(self.py, "numpy"))?;
        let is_item = object.is_instance(&numpy.getattr(intern!(self.py, "void"))?)?;
        let array = match ndarray::as_array(object, self.ndarray) {
            Some(array) => array.clone(),
            None if is_item => numpy
                .call_method1(intern!(self.py, "asarray"), (object,))?
                .cast_into::<PyUntypedArray>()?,
            None => {
                let remedy = Remedy::MakeArray(dtype.clone());
                return Err(self.unfit(position, object, remedy));
            }
        };
        if !ndarray::memory(&array).shape.is_empty() {
            return self.values(position, &array);
        }
        let array = self.snapshot(position, &array)?;
        self.dtype(position, self.function.expected(position), &array)?;
        if !(array.memory(self.py).shape.is_empty() && array.is_current(self.py)) {
            return Err(self.refuse(position, Problem::Changed));
        }
        // SAFETY: an array without axes has one item of its dtype, which has the struct's size, and
        // its address is current: no Python code has run since the check.
        let bytes =
            unsafe { slice::from_raw_parts(array.memory(self.py).address, dtype.itemsize()) };
        self.check.bytes(position, bytes);
        Ok(())
    }

    pub(super) fn leave_out(&mut self, position: usize) -> PyResult<()> {
        let left_out = self.check.leave_out(position);
        left_out.map_err(|error| errors::argument(self.py, &error))
    }

    /// Returns an array of another library as one of NumPy's, without a copy; `None` if it is none.
    fn view(
        &self,
        position: usize,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
        let contract = self.function.inner.contract();
        foreign::view(contract, Role::Parameter(position), object)
    }

    fn refuse(&self, position: usize, problem: Problem) -> PyErr {
        let contract = self.function.inner.contract();
        errors::argument(self.py, &contract.refuse(position, problem))
    }

    #[cold]
    fn unfit(&self, position: usize, object: &Bound<'py, PyAny>, remedy: Remedy) -> PyErr {
        match errors::unfit(object, remedy) {
            Ok(problem) => self.refuse(position, problem),
            Err(error) => error,
        }
    }
}

/// Returns the address in an `_as_parameter_`: an int, or a pointer of ctypes.
fn address_of(parameter: &Bound<'_, PyAny>) -> PyResult<usize> {
    if let Ok(address) = parameter.extract::<usize>() {
        return Ok(address);
    }
    let ctypes = parameter.py().import("ctypes")?;
    let void_pointer = ctypes.getattr("c_void_p")?;
    let pointer = ctypes.call_method1("cast", (parameter, void_pointer))?;
    let address: Option<usize> = pointer.getattr("value")?.extract()?;
    Ok(address.unwrap_or(0))
}
