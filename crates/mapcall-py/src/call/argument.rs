//! The conversion of Python arguments to values for the check of a call.

#![allow(unsafe_code)]

use std::ptr;
use std::slice;
use std::sync::Arc;

use mapcall::contract::{
    ArrayRule, Check, FunctionValue, HostValue, Number, PointerRule, Problem, Role, Rule,
};
use mapcall::ctype::{CType, Function as FunctionType};
use numpy::PyUntypedArray;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySlice, PyString, PyTuple};

use super::callback::{self, Callback, Recipient};
use super::expected::{self, Expected};
use super::function::Function;
use super::handle::Handle;
use super::number::PythonNumber;
use super::resources::CallResources;
use super::snapshot::{Snapshot, Snapshots};
use super::store::Writer;
use super::struct_object::{LibraryReference, StructObject};
use super::{errors, foreign, foreign_function, ndarray, number};
use crate::once::intern;

/// A reader of the arguments of one call, which gives them to its check.
///
/// The parameter's rule selects the protocol by which an object is read. Whether the value is accepted
/// is decided by the check alone.
pub(super) struct Reader<'a, 'c, 'py> {
    pub(super) py: Python<'py>,
    pub(super) function: &'a Function,
    pub(super) check: &'a mut Check<'c>,
    pub(super) resources: CallResources,
    pub(super) arrays: &'a mut Snapshots,
    pub(super) ndarray: *mut ffi::PyTypeObject,
}

impl<'a, 'c, 'py> Reader<'a, 'c, 'py> {
    /// Returns a reader of the arguments of one call of a function.
    pub(super) fn new(
        py: Python<'py>,
        function: &'a Function,
        check: &'a mut Check<'c>,
        arrays: &'a mut Snapshots,
    ) -> Self {
        Self {
            py,
            function,
            check,
            resources: CallResources::default(),
            arrays,
            ndarray: function.ndarray.as_ptr().cast(),
        }
    }

    /// Reads the argument of a parameter.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if the check refuses the argument, or an exception of the object's methods.
    #[inline]
    pub(super) fn argument(
        &mut self,
        position: usize,
        rule: &Rule,
        expected: Option<&Expected>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        match rule {
            Rule::Number(number) | Rule::Reference(number) => {
                self.number(position, Some(*number), object)
            }
            Rule::InOut(_) if object.is_none() => self.omit(position),
            Rule::Inferred(_) | Rule::InOut(_) | Rule::Derived(_) => {
                self.number(position, None, object)
            }
            Rule::Array(_) if self.function.is_unchecked && object.is_instance_of::<Handle>() => {
                self.pointer(position, expected, object)
            }
            Rule::Array(array) if array.takes_text() || array.number().is_some() => {
                self.array_or_value(position, array, expected, object)
            }
            Rule::Text => self.text(position, expected, object),
            Rule::Pointer(_) => self.pointer(position, expected, object),
            Rule::Function(wanted) => self.function(position, wanted, object),
            Rule::Record { .. } => self.record(position, expected, object),
            _ => self.array(Role::Parameter(position), expected, object),
        }
    }

    /// Accepts that a parameter has no argument.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if it needs one.
    pub(super) fn omit(&mut self, position: usize) -> PyResult<()> {
        let omitted = self
            .check
            .argument(Role::Parameter(position), HostValue::Omitted);
        omitted.map_err(|error| errors::argument(self.py, &error))
    }

    /// Reads an array for a parameter or for the results of a batch. `expected` is the dtype that it
    /// should have.
    #[inline]
    pub(super) fn array(
        &mut self,
        role: Role,
        expected: Option<&Expected>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if let Some(array) = ndarray::as_array(object, self.ndarray) {
            return self.ndarray(role, expected, array, object);
        }
        self.other_array(role, expected, object)
    }

    /// Reads an array, or a text or number in place of one.
    fn array_or_value(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        expected: Option<&Expected>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let role = Role::Parameter(position);
        if rule.takes_text()
            && let Some(text) = text_of(object)?
        {
            return self.push(role, HostValue::Text(text), object);
        }
        if let Some(number) = rule.number() {
            let is_array = match ndarray::as_array(object, self.ndarray) {
                Some(array) => !ndarray::memory(array).shape.is_empty(),
                None => false,
            };
            if !is_array
                && let read @ (PythonNumber::Scalar(_) | PythonNumber::Huge(_)) =
                    number::read(object)?
            {
                return self.push_number(position, Some(number), object, read);
            }
        }
        self.array(role, expected, object)
    }

    #[cold]
    fn other_array(
        &mut self,
        role: Role,
        expected: Option<&Expected>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if let Role::Parameter(position) = role
            && self.c_value(position, object)?
        {
            return Ok(());
        }
        if let (Role::Parameter(position), true) = (role, is_composed(object))
            && let Some(rule) = self.function.inner.contract().rules().get(position)
            && let Some(array) = self.composed(position, rule, object)?
        {
            return self.ndarray(role, expected, &array, object);
        }
        match self.view(role, object)? {
            Some(array) => self.ndarray(role, expected, &array, object),
            None => self.push_other(role, object),
        }
    }

    /// Makes an array of the structs or pointers in a list, or of one struct; `None` for a parameter whose
    /// elements are neither.
    fn composed(
        &mut self,
        position: usize,
        rule: &Rule,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
        if let Ok(found) = object.cast::<StructObject>() {
            self.keep_struct(found.get());
            return found.get().array(self.py, 1).map(Some);
        }
        let target = match rule {
            Rule::Array(array) if array.rank() == 1 => array.ctype(),
            Rule::Pointer(pointer) => &pointer.ctype,
            _ => return Ok(None),
        };
        let elements: Vec<_> = match object.cast::<PyDict>() {
            Ok(members) if matches!(target.resolved(), CType::Record(_)) => {
                vec![members.clone().into_any()]
            }
            Err(_) if matches!(target.resolved(), CType::Record(_) | CType::Pointer(_)) => {
                object.try_iter()?.collect::<PyResult<_>>()?
            }
            _ => return Ok(None),
        };
        let is_struct = |element: &Bound<'_, PyAny>| {
            element.is_instance_of::<PyDict>() || element.is_instance_of::<StructObject>()
        };
        if matches!(target.resolved(), CType::Record(_)) && !elements.iter().all(is_struct) {
            return Ok(None);
        }
        let contract = self.function.inner.contract();
        let (library, name) = (self.library(), self.function.inner.name());
        let target = library.completed(self.py, target);
        let writer = Writer::new(self.py, &library, name, contract.name(position));
        let mut writer = writer.unchecked(self.function.is_unchecked);
        let array = writer.list(&target, &elements)?;
        let mut kept = writer.into_kept();
        for array in kept.arrays.drain(..) {
            self.arrays.push(Role::Parameter(position), array);
        }
        kept.objects.push(array.clone().into_any().unbind());
        self.resources.add_kept(kept);
        // The zero behind the elements is no element.
        let elements = PySlice::new(self.py, 0, elements.len().cast_signed(), 1);
        let array = array.get_item(elements)?;
        Ok(Some(array.cast_into::<PyUntypedArray>()?))
    }

    fn library(&self) -> LibraryReference {
        LibraryReference {
            object: self.function.binding().library.clone_ref(self.py),
            inner: self.function.inner.library().clone(),
        }
    }

    /// Notes what a call needs to know of a struct among its arguments.
    fn keep_struct(&mut self, found: &StructObject) {
        for object in found.objects(self.py) {
            self.resources.add_object(object);
        }
        if found.calls_back(self.py) {
            self.resources.note_callback();
        }
    }

    /// Reads a NumPy array, which is `object` or a view of its memory.
    #[inline]
    pub(super) fn ndarray(
        &mut self,
        role: Role,
        expected: Option<&Expected>,
        array: &Bound<'py, PyUntypedArray>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let array = Snapshot::new(self.function.inner.contract(), role, array)?;
        let dtype = expected::convert(expected, array.dtype(self.py));
        let value = HostValue::Array {
            memory: array.memory(self.py),
            dtype: expected::borrowed(&dtype),
        };
        self.push(role, value, object)?;
        self.arrays.push(role, array);
        Ok(())
    }

    /// Reads a number, or an array with one for each call of a batch. `number` is the parameter's type;
    /// `None` for an inferred parameter.
    fn number(
        &mut self,
        position: usize,
        number: Option<Number>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if let Some(array) = ndarray::as_array(object, self.ndarray)
            && !ndarray::memory(array).shape.is_empty()
        {
            return self.scalars(position, array, object);
        }
        match number::read(object) {
            Ok(PythonNumber::None) if self.c_value(position, object)? => Ok(()),
            // A tensor of several elements raises an exception when it is read as a number.
            Ok(PythonNumber::None) | Err(_) if self.foreign(position, number, object)? => Ok(()),
            read => self.push_number(position, number, object, read?),
        }
    }

    /// Reads an array of another library, of one number or of several. Returns false if the object is
    /// no such array.
    #[cold]
    fn foreign(
        &mut self,
        position: usize,
        number: Option<Number>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<bool> {
        if object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyString>() {
            return Ok(false);
        }
        let Some(array) = self.view(Role::Parameter(position), object)? else {
            return Ok(false);
        };
        if ndarray::memory(&array).shape.is_empty() {
            // Without these it is a scalar, which `number::read` has already refused.
            let class = object.get_type();
            if !class.hasattr(intern!(self.py, "__dlpack__"))?
                && !class.hasattr(intern!(self.py, "__array__"))?
            {
                return Ok(false);
            }
            let item = array.get_item(PyTuple::empty(self.py))?;
            let read = number::read(&item)?;
            self.push_number(position, number, &item, read)?;
            return Ok(true);
        }
        self.scalars(position, &array, object)?;
        Ok(true)
    }

    /// Reads an array with a number or struct for each call of a batch.
    #[cold]
    pub(super) fn scalars(
        &mut self,
        position: usize,
        array: &Bound<'py, PyUntypedArray>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let role = Role::Parameter(position);
        let expected = self.function.scalar(self.py, role)?;
        self.ndarray(role, expected, array, object)
    }

    pub(super) fn push_number(
        &mut self,
        position: usize,
        number: Option<Number>,
        object: &Bound<'py, PyAny>,
        read: PythonNumber,
    ) -> PyResult<()> {
        let extended = match (number, &read) {
            (_, PythonNumber::None) | (None, _) => None,
            (Some(number), _) => number::extended(object, number)?,
        };
        let role = Role::Parameter(position);
        match &extended {
            Some(slots) => self.push(role, HostValue::LongDouble(slots), object),
            None => self.push(role, read.value(), object),
        }
    }

    /// Reads a text; in an unchecked function, also an array.
    fn text(
        &mut self,
        position: usize,
        expected: Option<&Expected>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let role = Role::Parameter(position);
        match text_of(object)? {
            Some(text) => self.push(role, HostValue::Text(text), object),
            None if self.c_value(position, object)? => Ok(()),
            None if self.function.is_unchecked => self.pointer(position, expected, object),
            None => self.push_other(role, object),
        }
    }

    /// Reads a handle, an array, or an object with an `_as_parameter_`.
    fn pointer(
        &mut self,
        position: usize,
        expected: Option<&Expected>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let role = Role::Parameter(position);
        if object.is_none() {
            return self.push_other(role, object);
        }
        if let Ok(handle) = object.cast::<Handle>() {
            let handle = handle.get();
            let in_use = handle.as_argument(self.py, &self.function.inner, position)?;
            let in_use = self.resources.add_handle(in_use);
            let checked = self.check.argument(role, in_use.value());
            checked.map_err(|error| errors::argument(self.py, &error))?;
            if handle.calls_back() {
                self.resources.note_callback();
            }
            return Ok(());
        }
        if is_composed(object) {
            return self.composed_pointer(position, object);
        }
        let array = match ndarray::as_array(object, self.ndarray) {
            Some(array) => Some(array.clone()),
            None if self.c_value(position, object)? => return Ok(()),
            None => self.view(role, object)?,
        };
        if let Some(array) = array {
            return self.ndarray(role, expected, &array, object);
        }
        let Some(parameter) = object.getattr_opt(intern!(self.py, "_as_parameter_"))? else {
            // Only an unchecked call takes a number; the error of others names the remedy.
            let rule = self.function.inner.contract().rules().get(position);
            let number = rule.and_then(Rule::pointer).and_then(PointerRule::number);
            return match number.map(|_| number::read(object)).transpose()? {
                None | Some(PythonNumber::None) => self.push_other(role, object),
                Some(read) => self.push_number(position, number, object, read),
            };
        };
        let address = ptr::with_exposed_provenance(foreign::address_of(&parameter)?);
        self.push(role, HostValue::Pointer(address), object)?;
        self.resources.add_object(parameter);
        Ok(())
    }

    /// Reads a struct, a dict of its members, or a list for a pointer without an extent.
    #[cold]
    fn composed_pointer(&mut self, position: usize, object: &Bound<'py, PyAny>) -> PyResult<()> {
        let role = Role::Parameter(position);
        if let Ok(found) = object.cast::<StructObject>() {
            self.keep_struct(found.get());
            return self.push(role, found.get().value(), object);
        }
        let rule = self.function.inner.contract().rules().get(position);
        let Some(rule @ Rule::Pointer(pointer)) = rule else {
            return self.push_other(role, object);
        };
        let Some(array) = self.composed(position, rule, object)? else {
            return self.push_other(role, object);
        };
        let address = ndarray::memory(&array).address;
        let value = match pointer.ctype.resolved() {
            CType::Pointer(_) => HostValue::List(address.cast()),
            _ if object.is_instance_of::<PyDict>() => HostValue::Struct {
                ctype: &pointer.ctype,
                address: address.cast(),
                is_read_only: false,
            },
            _ => return self.ndarray(role, None, &array, object),
        };
        self.push(role, value, object)
    }

    /// Reads a function, or a callable for which a closure is made.
    fn function(
        &mut self,
        position: usize,
        wanted: &Arc<FunctionType>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let role = Role::Parameter(position);
        if let Some(value) = callback::function_value(object) {
            self.push(role, value, object)?;
            if object.is_instance_of::<Callback>() {
                self.resources.note_callback();
            }
            return Ok(());
        }
        if let Some(function) = foreign_function::read(object)? {
            self.push(role, function.value(), object)?;
            // Its code may need the interpreter's lock.
            self.resources.note_callback();
            return Ok(());
        }
        if !object.is_callable() {
            return self.push_other(role, object);
        }
        let recipient = Recipient::Parameter(
            self.function.inner.clone(),
            position,
            self.function.binding().options.text,
        );
        let closure = callback::closure(&recipient, wanted, object)?;
        let value = HostValue::Function {
            function: FunctionValue::Closure(wanted),
            address: closure.address(),
        };
        self.push(role, value, object)?;
        self.resources.add_callback(closure);
        Ok(())
    }

    /// Reads a struct: an item of a structured array, or an array with one for each call of a batch.
    fn record(
        &mut self,
        position: usize,
        expected: Option<&Expected>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let role = Role::Parameter(position);
        let contract = self.function.inner.contract();
        let array = match ndarray::as_array(object, self.ndarray) {
            Some(array) => array.clone(),
            None => match ndarray::of_void(object)? {
                Some(array) => array,
                None if is_composed(object) => return self.composed_record(position, object),
                None if self.c_value(position, object)? => return Ok(()),
                None => return self.push_other(role, object),
            },
        };
        if !ndarray::memory(&array).shape.is_empty() {
            return self.scalars(position, &array, object);
        }
        let size = ndarray::itemsize(&array);
        let array = Snapshot::new(contract, role, &array)?;
        let dtype = expected::convert(expected, array.dtype(self.py));
        let memory = array.memory(self.py);
        if !(memory.shape.is_empty() && array.is_current(self.py)) {
            let error = contract.refuse(position, Problem::Changed);
            return Err(errors::argument(self.py, &error));
        }
        // SAFETY: an array without axes has one item of its dtype. Its address is current, because no
        // Python code has run since the snapshot was compared.
        let bytes = unsafe { slice::from_raw_parts(memory.address, size) };
        let value = HostValue::Record {
            dtype: expected::borrowed(&dtype),
            bytes,
        };
        self.push(role, value, object)
    }

    /// Reads a struct by value from a struct in memory, or from a dict of its members.
    #[cold]
    fn composed_record(&mut self, position: usize, object: &Bound<'py, PyAny>) -> PyResult<()> {
        let role = Role::Parameter(position);
        let contract = self.function.inner.contract();
        let Some(Rule::Record { ctype, dtype, .. }) = contract.rules().get(position) else {
            return self.push_other(role, object);
        };
        if object.is_instance_of::<PyDict>() || object.is_instance_of::<StructObject>() {
            let (library, name) = (self.library(), self.function.inner.name());
            let writer = Writer::new(self.py, &library, name, contract.name(position));
            let mut writer = writer.unchecked(self.function.is_unchecked);
            let mut bytes = vec![0; ctype.size().unwrap_or_default()];
            writer.write(ctype, object, &mut bytes)?;
            let mut kept = writer.into_kept();
            for array in kept.arrays.drain(..) {
                self.arrays.push(role, array);
            }
            self.resources.add_kept(kept);
            let value = HostValue::Record {
                dtype: Ok(dtype),
                bytes: &bytes,
            };
            return self.push(role, value, object);
        }
        self.push_other(role, object)
    }

    /// Returns a NumPy array on the memory of an array of another library; `None` for any other object.
    fn view(
        &self,
        role: Role,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
        if object.is_none() {
            return Ok(None);
        }
        foreign::view(self.function.inner.contract(), role, object)
    }

    /// Gives the check None, or an object of a kind that no protocol reads.
    #[cold]
    fn push_other(&mut self, role: Role, object: &Bound<'py, PyAny>) -> PyResult<()> {
        let value = if object.is_none() {
            HostValue::None
        } else {
            HostValue::Other
        };
        self.push(role, value, object)
    }

    /// Gives the check the value of an object.
    #[inline]
    pub(super) fn push(
        &mut self,
        role: Role,
        value: HostValue<'_>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let checked = self.check.argument(role, value);
        checked.map_err(|error| errors::refused(*error, value, object))
    }
}

/// Returns whether an object is a struct, or a dict or list that memory is made of.
fn is_composed(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyDict>()
        || object.is_instance_of::<PyList>()
        || object.is_instance_of::<PyTuple>()
        || object.is_instance_of::<StructObject>()
}

/// Returns the bytes of a `str` or `bytes`, with the NUL behind them; `None` for another object.
fn text_of<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Option<&'a [u8]>> {
    let text = if let Ok(text) = object.cast::<PyString>() {
        text.to_str()?.as_bytes()
    } else if let Ok(text) = object.cast::<PyBytes>() {
        text.as_bytes()
    } else {
        return Ok(None);
    };
    // SAFETY: a NUL stands behind the bytes of a `bytes` object (`PyBytes_AsString`) and behind the
    // UTF-8 of a `str` (`PyUnicode_AsUTF8AndSize`). The object is borrowed as long as the slice.
    Ok(Some(unsafe {
        slice::from_raw_parts(text.as_ptr(), text.len() + 1)
    }))
}
