//! The C types of variable arguments, by the values that are given.

use super::error::{ArgumentError, Problem, Remedy};
use super::host_value::{FunctionValue, HostValue};
use super::{Contract, Scalar};
use crate::ctype::{CType, Float, Integer};

/// Returns the C type that a value without a type of its own has as a variable argument.
///
/// ```
/// use mapcall::contract::{HostValue, Scalar, argument_type};
///
/// let typed = |value| argument_type(value).map(|ctype| ctype.to_string());
/// assert_eq!(typed(HostValue::Number(Scalar::Float(0.5)))?, "double");
/// assert_eq!(typed(HostValue::Number(Scalar::Int(1)))?, "long long");
/// assert_eq!(typed(HostValue::Text(b"text\0"))?, "const char *");
/// assert_eq!(typed(HostValue::Null)?, "const void *");
/// # Ok::<(), mapcall::contract::Problem>(())
/// ```
///
/// An integer is passed with 64 bits, which C reads as an `int` of the same value, too, where each argument
/// takes a 64-bit slot: on x86-64 (System V psABI 3.2.3) and `AArch64` (AAPCS64 6.8.2). Arrays and handles
/// are passed by their addresses, also if they are read-only: the function's own documentation says what it
/// writes.
///
/// # Errors
///
/// [`Problem`] for an integer of more than 64 bits, and for values that no C type holds.
pub fn argument_type(value: HostValue<'_>) -> Result<CType, Problem> {
    let refuse = |remedy: &str| Problem::Type {
        found: value.kind().into(),
        remedy: Remedy::Words(remedy.into()),
    };
    Ok(match value {
        HostValue::Number(Scalar::Bool(_)) => CType::Integer(Integer::Int),
        HostValue::Number(Scalar::Int(number)) => {
            let types = [Integer::LongLong, Integer::ULongLong];
            let integer = types.into_iter().find(|integer| integer.contains(number));
            let is_read_alike = cfg!(all(target_pointer_width = "64", target_endian = "little"));
            match integer {
                Some(integer) if is_read_alike => CType::Integer(integer),
                Some(_) => return Err(refuse("give a number with a C type")),
                None => {
                    return Err(Problem::Range {
                        value: Scalar::Int(number),
                    });
                }
            }
        }
        HostValue::Number(Scalar::Float(_)) => CType::Float(Float::Double),
        HostValue::Number(Scalar::Complex(_)) => CType::Complex(Float::Double),
        HostValue::LongDouble(_) => CType::Float(Float::LongDouble),
        HostValue::Text(_) => CType::pointer_to(CType::Integer(Integer::Char), true),
        HostValue::Null
        | HostValue::None
        | HostValue::Array { .. }
        | HostValue::Handle(_)
        | HostValue::Struct { .. } => CType::pointer_to(CType::Void, true),
        HostValue::Function { function, .. } => {
            let ctype = match function {
                FunctionValue::Bound(prototype) | FunctionValue::Foreign(prototype) => {
                    prototype.function_type()
                }
                FunctionValue::Closure(function) => CType::Function(function.clone()),
                FunctionValue::Unreadable(_) | FunctionValue::Unknown => CType::Void,
            };
            CType::pointer_to(ctype, false)
        }
        HostValue::HugeNumber(found) => {
            return Err(Problem::Type {
                found: found.to_owned(),
                remedy: Remedy::Words("give one of at most 64 bits".into()),
            });
        }
        _ => {
            return Err(refuse(
                "give a number, a text, an array, a handle, a function or NULL",
            ));
        }
    })
}

impl Contract {
    /// Makes the error for a variable argument, whose position is that behind the parameters.
    #[cold]
    #[must_use]
    pub fn refuse_added(&self, position: usize, problem: Problem) -> Box<ArgumentError> {
        let mut error = self.refuse_all(problem);
        error.parameter = format!("arg{position}");
        error.expected = "a variable argument".into();
        if let Problem::Range { .. } = error.problem {
            error.expected = "an integer of at most 64 bits".into();
        }
        error
    }
}
