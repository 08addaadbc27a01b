//! The conversion of one value to the slots of a parameter or result that does not depend on other
//! arguments: a number, a pointer, a function, a struct.

use std::ffi::CStr;
use std::sync::Arc;

use super::error::{Form, Problem, Range, Remedy, Replacement};
use super::foreign_function;
use super::host_value::{FunctionValue, HandleValue, HostValue, TypedPointer};
use super::number::Number;
use super::rule::{PointerRule, Rule, check_dtype, is_char, target_name};
use crate::ctype::{CType, Function, Pointer};
use crate::prototype::Ownership;

impl Rule {
    /// Converts a value to slots of a frame.
    ///
    /// ```
    /// use mapcall::contract::{HostValue, Rule, Scalar};
    /// use mapcall::ctype::{CType, Integer};
    ///
    /// let short = Rule::of_result(&CType::Integer(Integer::Short)).unwrap();
    /// let mut slots = [0];
    /// short.convert(HostValue::Number(Scalar::Int(-1)), false, &mut slots)?;
    /// assert_eq!(slots, [u64::MAX]);
    /// assert!(short.convert(HostValue::Number(Scalar::Int(1 << 15)), false, &mut slots).is_err());
    /// # Ok::<(), mapcall::contract::Problem>(())
    /// ```
    ///
    /// Arrays and inferred extents depend on other arguments, so that only a [`Check`](super::Check)
    /// converts them.
    ///
    /// # Errors
    ///
    /// The [`Problem`] with a value that the parameter does not take. If `is_unchecked`, pointers made
    /// by other libraries and borrowed handles are accepted.
    pub fn convert(
        &self,
        value: HostValue<'_>,
        is_unchecked: bool,
        slots: &mut [u64],
    ) -> Result<(), Problem> {
        match (self, value) {
            (_, HostValue::Omitted) => return Err(Problem::Missing),
            (Self::Number(number), value) => return convert_number(*number, value, slots),
            (
                Self::Text | Self::Pointer(_) | Self::Function(_),
                HostValue::Null | HostValue::None,
            ) => set(slots, 0),
            (Self::Text, HostValue::Text(text)) => set(slots, address(check_text(text)?.as_ptr())),
            (Self::Pointer(rule), HostValue::Handle(handle)) => {
                check_handle(rule, &handle, is_unchecked)?;
                set(slots, address(handle.address));
            }
            (Self::Pointer(rule), HostValue::Pointer(pointer)) => {
                check_pointer(rule, value, is_unchecked)?;
                set(slots, address(pointer));
            }
            (Self::Pointer(rule), HostValue::TypedPointer(pointer)) => {
                check_typed_pointer(rule, &pointer, is_unchecked)?;
                set(slots, address(pointer.address));
            }
            (Self::Text, HostValue::TypedPointer(pointer)) if pointer.target == "char" => {
                set(slots, address(pointer.address));
            }
            (
                Self::Pointer(rule),
                HostValue::Struct {
                    ctype,
                    address: at,
                    is_read_only,
                },
            ) => {
                check_struct(rule, ctype, is_read_only)?;
                set(slots, address(at));
            }
            (Self::Pointer(rule), HostValue::List(list)) => {
                check_list(rule, is_unchecked)?;
                set(slots, address(list));
            }
            (
                Self::Function(wanted),
                HostValue::Function {
                    function,
                    address: code,
                },
            ) => {
                check_function(wanted, function)?;
                set(slots, address(code));
            }
            (
                Self::Record { ctype, dtype, .. },
                HostValue::Record {
                    dtype: found,
                    bytes,
                },
            ) => {
                check_dtype(ctype, dtype, found)?;
                let size = dtype.itemsize();
                let to = bytemuck::cast_slice_mut::<u64, u8>(slots).get_mut(..size);
                match to {
                    Some(to) if bytes.len() == size => to.copy_from_slice(bytes),
                    _ => {
                        let found = format!("{} bytes", bytes.len());
                        let remedy = Remedy::Words(format!("give all {size} bytes"));
                        return Err(Problem::Type { found, remedy });
                    }
                }
            }
            (_, value) => return Err(self.wrong_kind(value, is_unchecked)),
        }
        Ok(())
    }

    /// Returns the problem with a value of another kind than the rule takes.
    #[cold]
    pub(super) fn wrong_kind(&self, value: HostValue<'_>, is_unchecked: bool) -> Problem {
        let remedy = match self {
            Self::Inferred(_) | Self::Derived(_) | Self::Number(_) | Self::Reference(_) => {
                Remedy::GiveNumber {
                    or_omit: matches!(self, Self::Inferred(_) | Self::Derived(_)),
                }
            }
            Self::InOut(_) => Remedy::GiveNumber { or_omit: true },
            Self::Pointer(rule)
                if rule.number().is_some() && matches!(value, HostValue::Number(_)) =>
            {
                let found = value.kind().into();
                return Problem::Unbounded {
                    found,
                    shape: Vec::new(),
                    is_number: true,
                };
            }
            Self::Array(rule) if rule.takes_text() => Remedy::GiveText { or_array: true },
            Self::Array(rule) if rule.dtype().fields().is_some() => {
                Remedy::GiveRecords(rule.dtype().clone())
            }
            Self::Array(rule) => {
                let dtype = rule.dtype().clone();
                make_array(match value {
                    HostValue::Number(_) | HostValue::LongDouble(_) => Form::OfNumber {
                        dtype,
                        rank: rule.rank(),
                    },
                    _ => Form::MakeArray(dtype),
                })
            }
            Self::Text => Remedy::GiveText {
                or_array: is_unchecked,
            },
            Self::Pointer(rule) if rule.is_text() => Remedy::GiveText { or_array: true },
            Self::Pointer(rule) => Remedy::GiveHandle {
                or_array: rule.is_void || is_unchecked,
            },
            Self::Function(_) => Remedy::GiveFunction,
            Self::Record { dtype, .. } => Remedy::GiveStruct(dtype.clone()),
        };
        Problem::Type {
            found: value.kind().into(),
            remedy,
        }
    }
}

/// Returns the remedy to make an array of an object.
pub(super) fn make_array(form: Form) -> Remedy {
    Remedy::Replace(Replacement::new(form))
}

pub(super) fn convert_number(
    number: Number,
    value: HostValue<'_>,
    slots: &mut [u64],
) -> Result<(), Problem> {
    let number_slots;
    let converted = match value {
        HostValue::Number(value) => {
            number_slots = number.slots(value)?;
            number_slots.get(..number.count()).unwrap_or_default()
        }
        HostValue::LongDouble(value) if number.is_extended() => value,
        HostValue::HugeNumber(found) => {
            return Err(Problem::Type {
                found: found.to_owned(),
                remedy: Range::of(number, false).remedy(false),
            });
        }
        other => return Err(Rule::Number(number).wrong_kind(other, false)),
    };
    for (slot, &value) in slots.iter_mut().zip(converted) {
        *slot = value;
    }
    Ok(())
}

pub(super) fn set(slots: &mut [u64], value: u64) {
    if let Some(slot) = slots.first_mut() {
        *slot = value;
    }
}

pub(super) fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// Checks that a text has no NUL before its end, where C would cut it off.
pub(super) fn check_text(text: &[u8]) -> Result<&CStr, Problem> {
    CStr::from_bytes_with_nul(text).map_err(|_| {
        let at = text.iter().position(|byte| *byte == 0);
        let at = at.unwrap_or(text.len());
        Problem::NulInText { at, length: at }
    })
}

fn check_handle(
    rule: &PointerRule,
    handle: &HandleValue<'_>,
    is_unchecked: bool,
) -> Result<(), Problem> {
    let found = || handle.target.to_owned();
    if handle.is_borrowed && !is_unchecked {
        return Err(Problem::Borrowed { found: found() });
    }
    if !rule.takes(handle.target) {
        return Err(Problem::Handle { found: found() });
    }
    if handle.ownership == Ownership::Kept && handle.is_read_only && rule.writes_data() {
        return Err(Problem::ReadOnlyHandle { found: found() });
    }
    Ok(())
}

/// Checks that a pointer without an extent takes memory of the caller.
pub(super) fn check_pointer(
    rule: &PointerRule,
    value: HostValue<'_>,
    is_unchecked: bool,
) -> Result<(), Problem> {
    let found = || value.kind().to_owned();
    if rule.ownership != Ownership::Kept {
        return Err(Problem::NotOwned { found: found() });
    }
    if !(rule.is_void || is_unchecked) {
        return Err(Problem::Unbounded {
            found: found(),
            shape: match value {
                HostValue::Array { memory, .. } => memory.shape.to_vec(),
                _ => Vec::new(),
            },
            is_number: false,
        });
    }
    Ok(())
}

/// Checks that a pointer takes one of another library: by the dtype of what it points to, or by the name of its
/// type where there is none. As in C, the caller guarantees that the memory is as large as the function takes it
/// to be.
fn check_typed_pointer(
    rule: &PointerRule,
    pointer: &TypedPointer<'_>,
    is_unchecked: bool,
) -> Result<(), Problem> {
    let found = || format!("a pointer to {}", pointer.target);
    if rule.ownership != Ownership::Kept {
        return Err(Problem::NotOwned { found: found() });
    }
    if pointer.is_read_only && rule.writes_data() {
        return Err(Problem::ReadOnly);
    }
    if rule.is_void || is_unchecked && pointer.target == "void" {
        return Ok(());
    }
    let is_pointer = matches!(rule.ctype.resolved(), CType::Pointer(_));
    let target = rule.ctype.to_string();
    match (&rule.dtype, pointer.dtype) {
        (Some(expected), Some(dtype)) if !is_pointer => check_dtype(&rule.ctype, expected, dtype)
            .map_err(|problem| match problem {
                Problem::Field { .. } => problem,
                _ => Problem::Type {
                    found: found(),
                    remedy: Remedy::Words(format!("give a pointer to {target}")),
                },
            }),
        _ if rule.takes(pointer.target) => Ok(()),
        _ => Err(Problem::Type {
            found: found(),
            remedy: Remedy::GivePointer { target },
        }),
    }
}

/// Checks that a pointer takes the address of a struct that the caller owns.
fn check_struct(rule: &PointerRule, ctype: &CType, is_read_only: bool) -> Result<(), Problem> {
    let found = target_name(ctype);
    if rule.ownership != Ownership::Kept {
        let found = format!("a struct {found} of the caller");
        return Err(Problem::NotOwned { found });
    }
    if !rule.takes(&found) {
        return Err(Problem::Handle { found });
    }
    if is_read_only && rule.writes_data() {
        return Err(Problem::ReadOnlyHandle { found });
    }
    match (&rule.dtype, ctype.dtype()) {
        (Some(expected), Ok(dtype)) if !rule.is_void => {
            check_dtype(&rule.ctype, expected, Ok(&dtype))
        }
        _ => Ok(()),
    }
}

/// Checks that a pointer to pointers takes a list of unknown extent, which ends with NULL: one of texts, as
/// `argv` is.
fn check_list(rule: &PointerRule, is_unchecked: bool) -> Result<(), Problem> {
    let found = || "a list".to_owned();
    let is_text = |pointer: &Pointer| is_char(&pointer.target);
    match rule.ctype.resolved() {
        _ if rule.ownership != Ownership::Kept => Err(Problem::NotOwned { found: found() }),
        CType::Pointer(pointer) if is_unchecked || is_text(pointer) => Ok(()),
        _ => Err(Problem::Unbounded {
            found: found(),
            shape: Vec::new(),
            is_number: false,
        }),
    }
}

fn check_function(wanted: &Arc<Function>, found: FunctionValue<'_>) -> Result<(), Problem> {
    let ctype = |function: &Arc<Function>| CType::Function(Arc::clone(function));
    let (is_same, found): (bool, &dyn Fn() -> String) = match found {
        FunctionValue::Bound(prototype) => (prototype.is_of(wanted), &|| prototype.to_string()),
        FunctionValue::Closure(closure) => (ctype(closure).is_same(&ctype(wanted)), &|| {
            ctype(closure).to_string()
        }),
        FunctionValue::Foreign(prototype) => (foreign_function::fits(wanted, prototype), &|| {
            prototype.function_type().to_string()
        }),
        FunctionValue::Unreadable(text) => (false, &|| text.to_owned()),
        FunctionValue::Unknown => (true, &String::new),
    };
    if is_same {
        Ok(())
    } else {
        Err(Problem::Function { found: found() })
    }
}
