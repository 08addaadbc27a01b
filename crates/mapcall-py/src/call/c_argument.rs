//! The arguments that are values of ctypes and cffi.

use std::ptr;

use mapcall::contract::{
    ArrayRule, ExtentRule, HostValue, Number, PointerRule, Problem, Remedy, Role, Rule, target_name,
};
use mapcall::ctype::CType;
use numpy::PyUntypedArray;
use pyo3::prelude::*;

use super::argument::Reader;
use super::c_value::{CMemory, CPointer, CValue, Target};
use super::{errors, number};

impl<'py> Reader<'_, '_, 'py> {
    /// Reads a value of ctypes or cffi for a parameter. Returns false for any other object.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if the parameter does not take the value.
    #[cold]
    pub(super) fn c_value(
        &mut self,
        position: usize,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<bool> {
        let Some(value) = CValue::read(object)? else {
            return Ok(false);
        };
        let contract = self.function.inner.contract();
        let Some(rule) = contract.rules().get(position) else {
            return Ok(false);
        };
        match (rule, value) {
            (_, CValue::Null) => self.push(Role::Parameter(position), HostValue::Null, object)?,
            (_, CValue::Unusable(reason)) => {
                return Err(self.unusable(position, object, reason));
            }
            (Rule::Function(_), _) => return Ok(false),
            (Rule::Number(number) | Rule::Reference(number), CValue::Number(value, _)) => {
                self.c_number(position, Some(*number), &value)?;
            }
            (Rule::Inferred(_) | Rule::InOut(_) | Rule::Derived(_), CValue::Number(value, _)) => {
                self.c_number(position, None, &value)?;
            }
            (Rule::Array(rule), CValue::Number(value, memory)) => match (memory, rule.number()) {
                (_, Some(number)) => self.c_number(position, Some(number), &value)?,
                (Some(memory), None) => self.c_memory(position, rule, &memory, object)?,
                (None, None) => self.other(position, object)?,
            },
            (Rule::Array(rule), CValue::Memory(memory)) => {
                self.c_memory(position, rule, &memory, object)?;
            }
            (Rule::Array(rule), CValue::Pointer(pointer) | CValue::Attribute(pointer)) => {
                self.c_elements(position, rule, &pointer, object)?;
            }
            (
                Rule::Pointer(rule),
                value @ (CValue::Number(_, Some(_))
                | CValue::Memory(_)
                | CValue::Pointer(_)
                | CValue::Attribute(_)),
            ) => self.c_pointer(position, rule, value, object)?,
            (Rule::Text, CValue::Pointer(pointer)) => {
                let found = (&pointer.target, pointer.address, false);
                self.c_address(position, found, object)?;
                self.resources.add_object(pointer.owner);
            }
            (Rule::Text, CValue::Memory(memory)) if memory.target.name == "char" => {
                let Some(text) = memory.text() else {
                    let found = format!("{} without a NUL", errors::what(object)?);
                    let remedy = Remedy::Words("end the text in it with a NUL".into());
                    return Err(self.refuse(position, Problem::Type { found, remedy }));
                };
                self.push(Role::Parameter(position), HostValue::Text(text), object)?;
            }
            (_, CValue::Text(text)) => {
                self.argument(position, rule, None, &text)?;
                self.resources.add_object(text);
            }
            (Rule::Record { ctype, .. }, CValue::Memory(memory)) if memory.shape.is_empty() => {
                let record = memory.record(ctype.size().unwrap_or_default());
                self.push(Role::Parameter(position), record.value(), object)?;
            }
            (
                Rule::Number(_) | Rule::Reference(_) | Rule::Inferred(_) | Rule::Record { .. },
                CValue::Memory(memory),
            ) if !memory.shape.is_empty() => {
                let array = self.on_memory(position, &memory, 1, object)?;
                self.scalars(position, &array, object)?;
            }
            _ => self.other(position, object)?,
        }
        Ok(true)
    }

    /// Reads memory or a pointer for a pointer without an extent.
    fn c_pointer(
        &mut self,
        position: usize,
        rule: &PointerRule,
        value: CValue<'py>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let role = Role::Parameter(position);
        match value {
            CValue::Number(_, Some(memory)) | CValue::Memory(memory) => {
                if rule.is_void || !memory.shape.is_empty() {
                    let array = self.on_memory(position, &memory, 1, object)?;
                    return self.ndarray(role, None, &array, object);
                }
                // C gets the address of a struct or number, as by `byref`.
                let pointer = (&memory.target, memory.address(), false);
                self.c_address(position, pointer, object)?;
                self.resources.add_object(object.clone());
            }
            CValue::Attribute(found) if !rule.is_void => {
                let address = ptr::with_exposed_provenance(found.address);
                self.push(role, HostValue::Pointer(address), object)?;
                self.resources.add_object(found.owner);
            }
            CValue::Pointer(found) | CValue::Attribute(found) => {
                if let Some(array) = found.array.as_ref().filter(|_| rule.is_void) {
                    return self.ndarray(role, None, array, object);
                }
                let elements = found.array.as_ref().map(Target::of_array);
                let target = match &elements {
                    Some(target) if found.target.name == "void" => target,
                    _ => &found.target,
                };
                let pointer = (target, found.address, found.is_read_only());
                self.c_address(position, pointer, object)?;
                self.resources.add_object(found.owner);
            }
            CValue::Number(_, None) | CValue::Text(_) | CValue::Null | CValue::Unusable(_) => {
                self.other(position, object)?;
            }
        }
        Ok(())
    }

    /// Gives the check an object of a kind that the parameter does not take.
    fn other(&mut self, position: usize, object: &Bound<'py, PyAny>) -> PyResult<()> {
        self.push(Role::Parameter(position), HostValue::Other, object)
    }

    fn c_number(
        &mut self,
        position: usize,
        number: Option<Number>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let read = number::read(value)?;
        self.push_number(position, number, value, read)
    }

    /// Reads the memory of an array, a struct or a number for a parameter that is an array.
    fn c_memory(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        memory: &CMemory<'py>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        self.check_pointers(position, rule, &memory.target)?;
        let array = self.on_memory(position, memory, rule.rank(), object)?;
        self.ndarray(Role::Parameter(position), None, &array, object)
    }

    /// Checks that pointers in memory point to the type that the elements of a parameter do: both have the same
    /// dtype.
    fn check_pointers(&self, position: usize, rule: &ArrayRule, found: &Target) -> PyResult<()> {
        let is_pointer = matches!(rule.ctype().resolved(), CType::Pointer(_));
        if !found.is_pointer || is_pointer && found.is_named(&target_name(rule.ctype())) {
            return Ok(());
        }
        let problem = Problem::Type {
            found: format!("pointers `{}`", found.name),
            remedy: Remedy::Words(format!("give elements of `{}`", rule.ctype())),
        };
        Err(self.refuse(position, problem))
    }

    fn on_memory(
        &self,
        position: usize,
        memory: &CMemory<'py>,
        rank: usize,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        match memory.unusable() {
            None => memory.array(rank),
            Some(reason) => Err(self.unusable(position, object, reason)),
        }
    }

    /// Reads what a pointer points to for a parameter that is an array.
    fn c_elements(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        pointer: &CPointer<'py>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        self.check_pointers(position, rule, &pointer.target)?;
        let is_typed = pointer.target.name != "void";
        if !rule.is_measured() && is_typed {
            let found = (&pointer.target, pointer.address, pointer.is_read_only());
            self.c_address(position, found, object)?;
            self.resources.add_object(pointer.owner.clone());
            return Ok(());
        }
        let name = self.function.inner.contract().name(position);
        if pointer.array.is_none() && !matches!(pointer.target.dtype, Some(Ok(_))) {
            if let Some(Err(reason)) = &pointer.target.dtype {
                return Err(self.unusable(position, object, reason));
            }
            let constant = if rule.is_const() { "const " } else { "" };
            let handle = format!("library.handle('{constant}{} *', {name})", rule.ctype());
            let problem = Problem::Type {
                found: format!("{} to {}", errors::what(object)?, pointer.target.name),
                remedy: Remedy::Words(format!("give {handle}.array((n,))")),
            };
            return Err(self.refuse(position, problem));
        }
        let extents = rule.extents().iter();
        let is_one = extents
            .clone()
            .all(|extent| *extent == ExtentRule::Constant(1));
        let Some(array) = pointer.elements(rule.rank(), is_one)? else {
            let found = format!(
                "{}, which does not say how many elements it points to",
                errors::what(object)?
            );
            let remedy = format!("give {}", pointer.as_array.replace("{}", name));
            let remedy = Remedy::Words(remedy);
            return Err(self.refuse(position, Problem::Type { found, remedy }));
        };
        self.ndarray(Role::Parameter(position), None, &array, object)
    }

    /// Gives the check a pointer with the type of what it points to, the address, and whether C may only read
    /// the memory.
    fn c_address(
        &mut self,
        position: usize,
        (target, address, is_read_only): (&Target, usize, bool),
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let rule = self.function.inner.contract().rules().get(position);
        let wanted = rule.and_then(Rule::pointer).map(|rule| &*rule.target);
        let pointer = target.typed(wanted, address, is_read_only);
        self.push(
            Role::Parameter(position),
            HostValue::TypedPointer(pointer),
            object,
        )
    }

    fn unusable(&self, position: usize, object: &Bound<'py, PyAny>, reason: &str) -> PyErr {
        let found = match errors::what(object) {
            Ok(found) => found,
            Err(error) => return error,
        };
        let contract = self.function.inner.contract();
        let expected = contract.rules().get(position).map(Rule::to_string);
        let problem = Problem::Type {
            found: format!("{found} ({reason})"),
            remedy: Remedy::Words(format!("give {}", expected.unwrap_or_default())),
        };
        self.refuse(position, problem)
    }

    fn refuse(&self, position: usize, problem: Problem) -> PyErr {
        let contract = self.function.inner.contract();
        errors::argument(self.py, &contract.refuse(position, problem))
    }
}
