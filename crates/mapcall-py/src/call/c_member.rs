//! The values of ctypes and cffi that are written to C's memory: to members of structs, elements and variables.

use mapcall::contract::{HostValue, PointerRule, Problem, Remedy, Rule};
use numpy::PyUntypedArray;
use pyo3::prelude::*;

use super::c_value::{CMemory, CPointer, CValue, Target};
use super::errors;
use super::store::Writer;

impl<'py> Writer<'_, 'py> {
    /// Writes a value of ctypes or cffi as one that the rule takes. Returns false for any other object.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if the type does not take the value.
    #[cold]
    pub(super) fn c_value(
        &mut self,
        rule: &Rule,
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<bool> {
        let Some(value) = CValue::read(object)? else {
            return Ok(false);
        };
        match (rule, value) {
            (_, CValue::Unusable(reason)) => return Err(self.unusable(rule, object, reason)),
            (Rule::Number(number), CValue::Number(value, _)) => {
                self.number(rule, *number, &value, to)?;
            }
            (Rule::Record { ctype, .. }, CValue::Memory(memory)) if memory.shape.is_empty() => {
                let record = memory.record(ctype.size().unwrap_or_default());
                self.convert(rule, record.value(), Some(object), to)?;
            }
            (Rule::Pointer(_) | Rule::Text, CValue::Null) => {
                self.convert(rule, HostValue::Null, Some(object), to)?;
            }
            (Rule::Pointer(_) | Rule::Text, CValue::Text(text)) => self.text(rule, &text, to)?,
            (Rule::Text, CValue::Memory(memory)) => match memory.text() {
                Some(text) => {
                    self.convert(rule, HostValue::Text(text), Some(object), to)?;
                    self.kept.objects.push(object.clone().unbind());
                }
                None => return Ok(false),
            },
            (Rule::Text, CValue::Pointer(pointer)) => {
                let found = (&pointer.target, pointer.address, false);
                self.c_address(rule, None, found, object, to)?;
                self.kept.objects.push(pointer.owner.unbind());
            }
            (Rule::Pointer(pointer), value) => {
                return self.c_pointer(rule, pointer, value, object, to);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Writes the address of memory, or a pointer. Returns false for a value that is neither.
    fn c_pointer(
        &mut self,
        rule: &Rule,
        pointer: &PointerRule,
        value: CValue<'py>,
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<bool> {
        let wanted = Some(&*pointer.target);
        match value {
            CValue::Number(_, Some(memory)) | CValue::Memory(memory) => {
                if pointer.is_void || !memory.shape.is_empty() {
                    let array = self.on_memory(rule, &memory, 1, object)?;
                    self.array_pointer(rule, &array, object, to)?;
                } else {
                    // C gets the address of a struct or number, as by `byref`.
                    let found = (&memory.target, memory.address(), false);
                    self.c_address(rule, wanted, found, object, to)?;
                    self.kept.objects.push(object.clone().unbind());
                }
            }
            // The array itself is a pointer to its elements.
            CValue::Attribute(CPointer {
                array: Some(array), ..
            }) => self.array_pointer(rule, &array, object, to)?,
            CValue::Pointer(found) | CValue::Attribute(found) => {
                if let Some(array) = found.array.as_ref().filter(|_| pointer.is_void) {
                    self.array_pointer(rule, array, object, to)?;
                    return Ok(true);
                }
                let elements = found.array.as_ref().map(Target::of_array);
                let target = match &elements {
                    Some(target) if found.target.name == "void" => target,
                    _ => &found.target,
                };
                let typed = (target, found.address, found.is_read_only());
                self.c_address(rule, wanted, typed, object, to)?;
                self.kept.objects.push(found.owner.unbind());
            }
            CValue::Number(_, None) | CValue::Text(_) | CValue::Null | CValue::Unusable(_) => {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn c_address(
        &self,
        rule: &Rule,
        wanted: Option<&str>,
        (target, address, is_read_only): (&Target, usize, bool),
        object: &Bound<'py, PyAny>,
        to: &mut [u8],
    ) -> PyResult<()> {
        let pointer = target.typed(wanted, address, is_read_only);
        self.convert(rule, HostValue::TypedPointer(pointer), Some(object), to)
    }

    /// Returns an array on the memory of a value of ctypes or cffi.
    pub(super) fn on_memory(
        &self,
        rule: &Rule,
        memory: &CMemory<'py>,
        rank: usize,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        match memory.unusable() {
            None => memory.array(rank),
            Some(reason) => Err(self.unusable(rule, object, reason)),
        }
    }

    fn unusable(&self, rule: &Rule, object: &Bound<'py, PyAny>, reason: &str) -> PyErr {
        let found = match errors::what(object) {
            Ok(found) => found,
            Err(error) => return error,
        };
        let problem = Problem::Type {
            found: format!("{found} ({reason})"),
            remedy: Remedy::Words(format!("give {rule}")),
        };
        errors::argument(object.py(), &self.refuse(rule.to_string(), problem))
    }
}
