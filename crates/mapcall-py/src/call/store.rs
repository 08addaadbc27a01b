//! The conversion of Python objects to values in C's memory: members of structs, elements of lists, and
//! variables.

#![allow(unsafe_code)]

use std::mem;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use mapcall::contract::{ArgumentError, HostValue, Number, Problem, Remedy, Rule, Scalar};
use mapcall::ctype::{Array, BitField, CType, Function as FunctionType, Record};
use mapcall::nearest::nearest;
use numpy::PyUntypedArray;
use pyo3::exceptions::PyRecursionError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyBytesMethods, PyDict, PyList, PyString, PyTuple};

use super::c_value::CValue;
use super::callback::{self, Callback, NamedRecipient, Recipient};
use super::function::Function;
use super::handle::{Ending, Handle};
use super::kept::{Kept, KeptHandle, KeptPointers};
use super::number::PythonNumber;
use super::snapshot::Snapshot;
use super::struct_object::{LibraryReference, StructMemory, StructObject, allocate};
use super::{errors, expected, foreign, foreign_function, ndarray, number, structure};
use crate::once::intern;

/// The maximum depth of dicts and lists in each other.
const MAX_DEPTH: usize = 64;

/// A writer of Python objects to memory.
pub(super) struct Writer<'a, 'py> {
    py: Python<'py>,
    library: &'a LibraryReference,
    /// The name of the function, struct or variable, for messages.
    name: &'a str,
    /// The place that is written, such as `s.data`, for messages.
    path: String,
    is_unchecked: bool,
    depth: usize,
    /// The offset in bytes of what is written in the value that is written as a whole.
    offset: usize,
    /// What the pointers that have been written lead to, by their offsets.
    pointers: KeptPointers,
    /// What the pointer leads to that is being written.
    pub(super) kept: Kept,
}

impl<'a, 'py> Writer<'a, 'py> {
    pub(super) fn new(
        py: Python<'py>,
        library: &'a LibraryReference,
        name: &'a str,
        path: &str,
    ) -> Self {
        Self {
            py,
            library,
            name,
            path: path.to_owned(),
            is_unchecked: false,
            depth: 0,
            offset: 0,
            pointers: Vec::new(),
            kept: Kept::default(),
        }
    }

    /// Returns what the pointers that have been written lead to, by their offsets in the value.
    pub(super) fn into_pointers(self) -> KeptPointers {
        self.pointers
    }

    /// Returns what all pointers that have been written lead to.
    pub(super) fn into_kept(self) -> Kept {
        let mut all = Kept::default();
        for (_, kept) in self.pointers {
            all.extend(kept);
        }
        all
    }

    /// Accepts pointers made by other libraries, too, if `is_unchecked`.
    pub(super) fn unchecked(self, is_unchecked: bool) -> Self {
        Self {
            is_unchecked,
            ..self
        }
    }

    /// Writes an object as a value of a C type, whose bytes are those of `to`.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if the type does not take the object, or an exception of the object's methods.
    pub(super) fn write(
        &mut self,
        ctype: &CType,
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<()> {
        if self.depth > MAX_DEPTH {
            let message = format!("{}: more than {MAX_DEPTH} objects in each other", self.name);
            return Err(PyRecursionError::new_err(message));
        }
        self.depth += 1;
        let written = match ctype.resolved() {
            CType::Record(record) => self.record(ctype, record, object, to),
            CType::Array(array) => self.array(ctype, array, object, to),
            _ => {
                // A pointer in other memory may be written meanwhile.
                let outer = mem::take(&mut self.kept);
                let written = self.scalar(ctype, object, to);
                let kept = mem::replace(&mut self.kept, outer);
                if !kept.is_empty() {
                    let range = self.offset..self.offset + to.len();
                    self.pointers.push((range, kept));
                }
                written
            }
        };
        self.depth -= 1;
        written
    }

    /// Writes a part at an offset in bytes, with another path for messages.
    fn at(
        &mut self,
        path: &str,
        offset: usize,
        write: impl FnOnce(&mut Self) -> PyResult<()>,
    ) -> PyResult<()> {
        let length = self.path.len();
        self.path.push_str(path);
        self.offset += offset;
        let written = write(self);
        self.offset -= offset;
        self.path.truncate(length);
        written
    }

    /// Writes a struct from a dict, another struct, or an item of a structured array.
    fn record(
        &mut self,
        ctype: &CType,
        record: &Record,
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<()> {
        if let Ok(members) = object.cast::<PyDict>() {
            return self.members(record, members, to);
        }
        let rule = self.rule(ctype)?;
        if let Ok(found) = object.cast::<StructObject>() {
            let found = found.get();
            let dtype = found.ctype.dtype();
            let value = HostValue::Record {
                dtype: dtype.as_ref().map_err(|error| error.reason.as_str()),
                bytes: &found.read(0..found.size()),
            };
            let offset = self.offset;
            let pointers = found.pointers(self.py).into_iter();
            let shifted =
                pointers.map(|(range, kept)| (range.start + offset..range.end + offset, kept));
            self.pointers.extend(shifted);
            return self.convert(&rule, value, Some(object), to);
        }
        if self.c_value(&rule, object, to)? {
            return Ok(());
        }
        let is_item = object.is_instance_of::<PyUntypedArray>() || foreign::is_scalar(object)?;
        let item = is_item.then(|| ndarray::copy_of_item(object));
        match item.transpose()?.flatten() {
            Some((dtype, bytes)) => {
                let dtype = expected::convert(None, &dtype);
                let dtype = expected::borrowed(&dtype);
                let value = HostValue::Record {
                    dtype,
                    bytes: &bytes,
                };
                self.convert(&rule, value, Some(object), to)
            }
            None => self.convert(&rule, HostValue::Other, Some(object), to),
        }
    }

    /// Writes the members of a struct. Members that the dict lacks are zero, as in C's initialisers.
    fn members(
        &mut self,
        record: &Record,
        members: &Bound<'py, PyDict>,
        to: &mut [u8],
    ) -> PyResult<()> {
        to.fill(0);
        let known = record.named_members();
        for (name, object) in members.iter() {
            let name = name.str()?;
            let name = name.to_str()?;
            let found = known.iter().find(|(known, ..)| *known == name);
            let Some(&(_, ctype, offset, bits)) = found else {
                let names = known.iter().map(|(known, ..)| *known);
                let near = nearest(name, names).first().map(|name| (*name).to_owned());
                let problem = Problem::Unknown {
                    name: name.to_owned(),
                    nearest: near,
                };
                let mut error = self.refuse("the name of a member".into(), problem);
                let names = known.iter().map(|(known, ..)| (*known).to_owned());
                error.subject.names = names.collect();
                return Err(errors::argument(self.py, &error));
            };
            let size = bits.map_or(ctype.size().unwrap_or_default(), |bits| bits.bytes());
            let Some(to) = to.get_mut(offset..offset + size) else {
                continue;
            };
            let dot = if self.path.is_empty() { "" } else { "." };
            self.at(&format!("{dot}{name}"), offset, |writer| match bits {
                Some(bits) => writer.bits(ctype, bits, &object, to),
                None => writer.write(ctype, &object, to),
            })?;
        }
        Ok(())
    }

    /// Writes a bit-field in the bytes that have its bits.
    pub(super) fn bits(
        &mut self,
        ctype: &CType,
        bits: BitField,
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<()> {
        let read = match (number::read(object)?, CValue::read(object)?) {
            (PythonNumber::None, Some(CValue::Number(value, _))) => number::read(&value)?,
            (read, _) => read,
        };
        let (smallest, largest) = bits.range();
        let problem = match &read {
            PythonNumber::Scalar(Scalar::Int(value)) if (smallest..=largest).contains(value) => {
                bits.write(to, *value);
                return Ok(());
            }
            PythonNumber::Scalar(Scalar::Bool(value)) => {
                bits.write(to, (*value).into());
                return Ok(());
            }
            PythonNumber::Scalar(value @ Scalar::Int(_)) => Problem::Range { value: *value },
            PythonNumber::Scalar(value) => Problem::Kind { value: *value },
            _ => Problem::Type {
                found: errors::what(object)?,
                remedy: Remedy::GiveNumber { or_omit: false },
            },
        };
        let expected = format!("{ctype} of {} bits", bits.width);
        Err(errors::argument(self.py, &self.refuse(expected, problem)))
    }

    /// Writes an array that is a part of a struct or variable.
    fn array(
        &mut self,
        ctype: &CType,
        array: &Array,
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<()> {
        let size = array.item.size().unwrap_or_default();
        let is_char = array.item.size() == Some(1);
        let text = match object.cast::<PyString>() {
            Ok(text) if is_char => Some(text.to_str()?.as_bytes()),
            _ => object
                .cast::<PyBytes>()
                .ok()
                .filter(|_| is_char)
                .map(PyBytesMethods::as_bytes),
        };
        if let Some(text) = text {
            let Some(part) = to.get_mut(..text.len()) else {
                return self.too_long(ctype, object, text.len());
            };
            part.copy_from_slice(text);
            to.get_mut(text.len()..).unwrap_or_default().fill(0);
            return Ok(());
        }
        let is_list = object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>();
        let mut found = None;
        if !is_list {
            match CValue::read(object)? {
                Some(CValue::Text(text)) if is_char => return self.array(ctype, array, &text, to),
                Some(CValue::Memory(memory)) if is_char && memory.text().is_some() => {
                    let text = memory.text().and_then(<[u8]>::split_last);
                    let text = PyBytes::new(self.py, text.map_or(&[], |(_, text)| text));
                    return self.array(ctype, array, &text.into_any(), to);
                }
                Some(CValue::Memory(memory)) if matches!(memory.target.dtype, Some(Ok(_))) => {
                    found = Some(memory.array(1)?);
                }
                _ => found = self.exported(object)?,
            }
        }
        if let Some(found) = found {
            let dtype = structure::dtype(self.py, ctype)?;
            let bytes = self.bytes_of(ctype, &dtype, &found, object)?;
            if bytes.len() != to.len() {
                return self.too_long(ctype, object, bytes.len() / size.max(1));
            }
            to.copy_from_slice(&bytes);
            return Ok(());
        }
        if !is_list {
            let remedy = Remedy::Words("give a list or an array".into());
            let found = errors::what(object)?;
            let error = self.refuse(ctype.to_string(), Problem::Type { found, remedy });
            return Err(errors::argument(self.py, &error));
        }
        let length = object.len()?;
        if length
            .checked_mul(size)
            .is_none_or(|bytes| bytes > to.len())
        {
            return self.too_long(ctype, object, length);
        }
        to.fill(0);
        for (index, (element, to)) in object
            .try_iter()?
            .zip(to.chunks_mut(size.max(1)))
            .enumerate()
        {
            let element = element?;
            self.at(&format!("[{index}]"), index * size, |writer| {
                writer.write(&array.item, &element, to)
            })?;
        }
        Ok(())
    }

    /// Returns the bytes of an array of NumPy for an array in memory, which has the same dtype and shape.
    fn bytes_of(
        &self,
        ctype: &CType,
        dtype: &Bound<'py, numpy::PyArrayDescr>,
        found: &Bound<'py, PyUntypedArray>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<u8>> {
        use numpy::PyArrayDescrMethods;
        let (base, shape) = (dtype.base(), dtype.shape());
        let memory = ndarray::memory(found);
        let is_same = ndarray::is_same(&base, &ndarray::dtype_of(found));
        if !(is_same && memory.shape == shape.as_slice()) || ndarray::is_masked(object)? {
            let remedy = Remedy::Words("give an array of this dtype and shape".into());
            let shown = ndarray::dtype_of(found);
            let found = format!("an array of {shown} with shape {:?}", memory.shape);
            let error = self.refuse(ctype.to_string(), Problem::Type { found, remedy });
            return Err(errors::argument(self.py, &error));
        }
        let bytes = found.call_method0(intern!(self.py, "tobytes"))?;
        bytes.extract()
    }

    fn too_long(&self, ctype: &CType, object: &Bound<'py, PyAny>, length: usize) -> PyResult<()> {
        let found = format!("{} of {length}", errors::what(object)?);
        let remedy = Remedy::Words("give as many elements as it has".into());
        let error = self.refuse(ctype.to_string(), Problem::Type { found, remedy });
        Err(errors::argument(self.py, &error))
    }

    /// Writes a number, a pointer or a function pointer.
    fn scalar(&mut self, ctype: &CType, object: &Bound<'py, PyAny>, to: &mut [u8]) -> PyResult<()> {
        let rule = self.rule(ctype)?;
        match &rule {
            Rule::Number(number) => self.number(&rule, *number, object, to),
            Rule::Function(wanted) => self.function(&rule, wanted, object, to),
            _ => self.pointer(&rule, object, to),
        }
    }

    pub(super) fn number(
        &mut self,
        rule: &Rule,
        number: Number,
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<()> {
        if let Some(slots) = number::extended(object, number)? {
            return self.convert(rule, HostValue::LongDouble(&slots), Some(object), to);
        }
        let read = number::read(object)?;
        if matches!(read, PythonNumber::None) && self.c_value(rule, object, to)? {
            return Ok(());
        }
        self.convert(rule, read.value(), Some(object), to)
    }

    fn function(
        &mut self,
        rule: &Rule,
        wanted: &Arc<FunctionType>,
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<()> {
        if object.is_none() {
            return self.convert(rule, HostValue::None, Some(object), to);
        }
        if let Some(function) = foreign_function::read(object)? {
            if foreign_function::user_data(object)?.is_some() {
                let found = format!("{} with user_data", errors::what(object)?);
                let remedy = "give its attribute `function`, and the data to the member for it";
                let remedy = Remedy::Words(remedy.into());
                let error = self.refuse(rule.to_string(), Problem::Type { found, remedy });
                return Err(errors::argument(self.py, &error));
            }
            self.convert(rule, function.value(), Some(object), to)?;
            self.kept.calls_back = true;
            self.kept.objects.push(object.clone().unbind());
            return Ok(());
        }
        let mut object = object.clone();
        if callback::function_value(&object).is_none() && object.is_callable() {
            let recipient = Recipient::Named(Arc::new(NamedRecipient {
                library: self.library.inner.clone(),
                function: self.name.to_owned(),
                parameter: without_indices(&self.path),
                keeper: "what it was given to, or a callback,".into(),
            }));
            let callback = Callback::new(&recipient, wanted, &object)?;
            object = Bound::new(self.py, callback)?.into_any();
        }
        let value = callback::function_value(&object).unwrap_or(HostValue::Other);
        self.convert(rule, value, Some(&object), to)?;
        self.kept.calls_back |= !object.is_instance_of::<Function>();
        self.kept.objects.push(object.unbind());
        Ok(())
    }

    fn pointer(&mut self, rule: &Rule, object: &Bound<'py, PyAny>, to: &mut [u8]) -> PyResult<()> {
        if object.is_none() {
            return self.convert(rule, HostValue::None, Some(object), to);
        }
        if let Ok(handle) = object.cast::<Handle>() {
            let handle = handle.get();
            let Some(in_use) = handle.in_use().map(Ending::new) else {
                let found = handle.target().to_owned();
                let error = self.refuse(rule.to_string(), Problem::Closed { found });
                return Err(errors::argument(self.py, &error));
            };
            self.convert(rule, in_use.value(), Some(object), to)?;
            self.kept.handles.push(KeptHandle {
                object: object.clone().unbind(),
                in_use: Arc::new(in_use),
            });
            return Ok(());
        }
        if let Ok(found) = object.cast::<StructObject>() {
            self.convert(rule, found.get().value(), Some(object), to)?;
            self.kept.calls_back |= found.get().calls_back(self.py);
            self.kept.objects.push(object.clone().unbind());
            return Ok(());
        }
        if object.is_instance_of::<PyString>() || object.is_instance_of::<PyBytes>() {
            return self.text(rule, object, to);
        }
        if !object.is_instance_of::<PyUntypedArray>() && self.c_value(rule, object, to)? {
            return Ok(());
        }
        let target = rule.pointer();
        let target = target.map(|pointer| self.library.completed(self.py, &pointer.ctype));
        if let Some(target) = target {
            let is_list = object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>();
            match target.resolved() {
                CType::Record(_) if object.is_instance_of::<PyDict>() => {
                    return self.allocated(rule, &target, slice::from_ref(object), to);
                }
                CType::Record(_) | CType::Pointer(_) if is_list => {
                    let elements: Vec<_> = object.try_iter()?.collect::<PyResult<_>>()?;
                    return self.allocated(rule, &target, &elements, to);
                }
                _ => {}
            }
        }
        if let Some(array) = self.exported(object)? {
            if ndarray::is_masked(object)? {
                let found = errors::what(object)?;
                let is_written = rule.pointer().is_some_and(|pointer| !pointer.is_const);
                let problem = Problem::Masked { found, is_written };
                let error = self.refuse(rule.to_string(), problem);
                return Err(errors::argument(self.py, &error));
            }
            return self.array_pointer(rule, &array, object, to);
        }
        let Some(parameter) = object.getattr_opt(intern!(self.py, "_as_parameter_"))? else {
            return self.convert(rule, HostValue::Other, Some(object), to);
        };
        if let (Some(pointer), false) = (rule.pointer(), self.is_unchecked)
            && !pointer.is_void
        {
            let found = errors::what(object)?;
            let target = pointer.ctype.to_string();
            let remedy = format!("give library.handle('{target} *', value._as_parameter_)");
            let remedy = Remedy::Words(remedy);
            let error = self.refuse(rule.to_string(), Problem::Type { found, remedy });
            return Err(errors::argument(self.py, &error));
        }
        let address = std::ptr::with_exposed_provenance(foreign::address_of(&parameter)?);
        self.convert(rule, HostValue::Pointer(address), Some(object), to)?;
        self.kept.objects.push(object.clone().unbind());
        self.kept.objects.push(parameter.unbind());
        Ok(())
    }

    /// Writes the address of an array of NumPy, which is `object` or on its memory.
    pub(super) fn array_pointer(
        &mut self,
        rule: &Rule,
        array: &Bound<'py, PyUntypedArray>,
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<()> {
        let array = Snapshot::of(array)?;
        let dtype = expected::convert(None, array.dtype(self.py));
        let value = HostValue::Array {
            memory: array.memory(self.py),
            dtype: expected::borrowed(&dtype),
        };
        self.convert(rule, value, Some(object), to)?;
        self.kept.objects.push(object.clone().unbind());
        self.kept.arrays.push(array);
        Ok(())
    }

    /// Writes the address of a text; for a `char *`, that of a copy, which C may write.
    pub(super) fn text(
        &mut self,
        rule: &Rule,
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<()> {
        let text = match object.cast::<PyString>() {
            Ok(text) => text.to_str()?.as_bytes(),
            Err(_) => object.cast::<PyBytes>()?.as_bytes(),
        };
        if matches!(rule, Rule::Text) {
            // SAFETY: a NUL stands behind the bytes of a `bytes` object (`PyBytes_AsString`) and behind the
            // UTF-8 of a `str` (`PyUnicode_AsUTF8AndSize`), both of which `object` keeps alive.
            let text = unsafe { slice::from_raw_parts(text.as_ptr(), text.len() + 1) };
            self.convert(rule, HostValue::Text(text), Some(object), to)?;
            self.kept.objects.push(object.clone().unbind());
            return Ok(());
        }
        let copy = PyByteArray::new(self.py, text);
        // SAFETY: a NUL stands behind the bytes of a `bytearray` (`PyByteArray_AsString`). No other code has a
        // reference to it.
        let text = unsafe { slice::from_raw_parts(copy.data(), text.len() + 1) };
        self.convert(rule, HostValue::Text(text), Some(object), to)?;
        self.kept.objects.push(copy.into_any().unbind());
        Ok(())
    }

    /// Writes objects to new memory, and the address of that.
    fn allocated(
        &mut self,
        rule: &Rule,
        target: &CType,
        elements: &[Bound<'py, PyAny>],
        to: &mut [u8],
    ) -> PyResult<()> {
        let outer = (mem::take(&mut self.pointers), mem::take(&mut self.offset));
        let array = self.list(target, elements);
        let pointers = mem::take(&mut self.pointers);
        (self.pointers, self.offset) = outer;
        let array = array?;
        let dtype = target.dtype();
        let memory = ndarray::memory(&array);
        let value = HostValue::Array {
            memory,
            dtype: dtype.as_ref().map_err(|error| error.reason.as_str()),
        };
        self.convert(rule, value, None, to)?;
        let size = memory.shape.iter().product::<usize>() * target.size().unwrap_or_default();
        let address = NonNull::new(memory.address.cast()).unwrap_or(NonNull::dangling());
        self.kept.calls_back |= pointers.iter().any(|(_, kept)| kept.calls_back);
        // The memory keeps alive what its own pointers lead to, until other ones are assigned.
        let owner = array.into_any().unbind();
        let memory = StructMemory::new(self.py, owner, address, size, false)?;
        memory.keep(self.py, &(0..size), pointers)?;
        let memory = Py::new(self.py, memory)?;
        self.kept.objects.push(memory.into_any());
        Ok(())
    }

    /// Returns an array with the elements of a list, and a zero behind them.
    pub(super) fn list(
        &mut self,
        ctype: &CType,
        elements: &[Bound<'py, PyAny>],
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let size = ctype.size().unwrap_or_default();
        let (array, address) = allocate(self.py, ctype, elements.len() + 1)?;
        let mut bytes = vec![0; size];
        for (index, element) in elements.iter().enumerate() {
            let path = match elements.len() {
                1 if element.is_instance_of::<PyDict>() => String::new(),
                _ => format!("[{index}]"),
            };
            self.at(&path, index * size, |writer| {
                writer.write(ctype, element, &mut bytes)
            })?;
            let to = address
                .as_ptr()
                .wrapping_byte_add(index * size)
                .cast::<u8>();
            // SAFETY: the new array has one element more than the list has, each of `size` bytes, and no other
            // code has a reference to it.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, size) };
        }
        Ok(array)
    }

    /// Returns an array of NumPy on the memory of an object; `None` for any other object.
    fn exported(&self, object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
        let class: *mut ffi::PyTypeObject = self.py.get_type::<PyUntypedArray>().as_type_ptr();
        match ndarray::as_array(object, class) {
            Some(array) => Ok(Some(array.clone())),
            None => foreign::exported(object),
        }
    }

    fn rule(&self, ctype: &CType) -> PyResult<Rule> {
        Rule::of_element(ctype).map_err(|reason| {
            let remedy = Remedy::Words("use a member of another type".into());
            let problem = Problem::Type {
                found: reason,
                remedy,
            };
            errors::argument(self.py, &self.refuse(ctype.to_string(), problem))
        })
    }

    /// Converts a value to the bytes of its type.
    pub(super) fn convert(
        &self,
        rule: &Rule,
        value: HostValue<'_>,
        object: Option<&Bound<'py, PyAny>>,
        to: &mut [u8],
    ) -> PyResult<()> {
        let mut slots = vec![0; to.len().div_ceil(size_of::<u64>())];
        let converted = rule.convert_element(value, self.is_unchecked, &mut slots);
        converted.map_err(|problem| {
            let error = self.refuse(rule.to_string(), problem);
            match object {
                Some(object) => errors::refused(error, value, object),
                None => errors::argument(self.py, &error),
            }
        })?;
        to.copy_from_slice(rule.element_bytes(&slots, to.len()));
        Ok(())
    }

    pub(super) fn refuse(&self, expected: String, problem: Problem) -> ArgumentError {
        let (name, path) = (self.name.to_owned(), self.path.clone());
        ArgumentError::new(name, path, expected, problem)
    }
}

/// Returns a path without its indices, of which a list has any number.
fn without_indices(path: &str) -> String {
    let parts = path.split(['[', ']']).step_by(2);
    parts.collect()
}
