//! Calls of variadic functions: the function that takes the arguments of one call is bound to a prototype
//! with a parameter for each of them.

use std::sync::Arc;

use super::{Arg, Bound, CallError, Function, trampoline};
use crate::contract::{
    ArgumentError, Contract, FunctionValue, HostValue, Problem, Remedy, argument_type,
};
use crate::ctype::CType;

/// The maximum number of combinations of types that a function keeps.
const MAX_VARIANTS: usize = 64;

impl Function {
    /// Returns the function for calls of a variadic one with variable arguments of these types, which are
    /// promoted as C does. It has a parameter for each.
    ///
    /// ```
    /// use mapcall::ctype::{CType, Float};
    /// use mapcall::{Arg, Library};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: this is the prototype of `snprintf`.
    /// let snprintf = unsafe {
    ///     process.function("int snprintf(char text[n], size_t n, const char *format, ...)")?
    /// };
    /// let snprintf = snprintf.with_extent("n", 16)?;
    /// let number = snprintf.variant(&[CType::Float(Float::Float)])?;
    /// assert_eq!(number.prototype().parameters[3].ctype, CType::Float(Float::Double));
    /// // `call` finds the variant by the arguments.
    /// let mut arguments = [Arg::Out, "%g".into(), 0.5.into()];
    /// assert_eq!(snprintf.call(&mut arguments)?.to_i128(), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The variants of the last few combinations of types are kept.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if the function is not variadic, or if a type can't be passed.
    pub fn variant(&self, types: &[CType]) -> Result<Self, Box<ArgumentError>> {
        let contract = self.contract();
        let (prototype, max) = (self.prototype(), contract.arguments().len());
        if !prototype.is_variadic {
            let found = max + types.len();
            return Err(contract.refuse_all(Problem::TooMany { max, found }));
        }
        let types: Box<[CType]> = types.iter().map(CType::promoted).collect();
        let known = self.0.variants.lock();
        let found = known.iter().find(|(other, _)| *other == types);
        if let Some((_, variant)) = found {
            return Ok(variant.clone());
        }
        drop(known);
        let fixed = prototype.parameters.len();
        let prototype = prototype.with_arguments(&types);
        let bound = Contract::new(prototype).and_then(|contract| {
            Ok(Bound {
                trampoline: trampoline(contract.prototype(), Some(fixed), self.0.engine)?,
                contract: Arc::new(contract),
                ..self.rebound()
            })
        });
        let bound = bound.map_err(|error| {
            let remedy = Remedy::Words("give it in another way, such as by a pointer".into());
            contract.refuse_all(Problem::Type {
                found: error.reason,
                remedy,
            })
        })?;
        let variant = Self(Arc::new(bound));
        let mut known = self.0.variants.lock();
        if known.len() >= MAX_VARIANTS {
            known.remove(0);
        }
        known.push((types, variant.clone()));
        Ok(variant)
    }

    /// Returns the variant for the variable arguments of a call.
    pub(super) fn variant_of(&self, added: &[Arg<'_>]) -> Result<Self, CallError> {
        let first = self.prototype().parameters.len();
        let types = (first..).zip(added).map(|(position, argument)| {
            let value = match argument {
                Arg::Scalar(number) => HostValue::Number(*number),
                Arg::Text(_) => HostValue::Text(&[0]),
                Arg::Null | Arg::Slot(_) | Arg::Allocated(_) | Arg::Handle(_) => HostValue::Null,
                Arg::Function(function) => HostValue::Function {
                    function: FunctionValue::Bound(function.prototype()),
                    address: function.address().as_ptr(),
                },
                _ => HostValue::Other,
            };
            argument_type(value)
                .map_err(|problem| self.contract().refuse_added(position, problem).into())
        });
        let types = types.collect::<Result<Vec<_>, CallError>>()?;
        Ok(self.variant(&types)?)
    }
}
