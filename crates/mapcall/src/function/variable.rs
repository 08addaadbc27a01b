//! Variables that a library exports.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::slice;

use super::arguments::Lent;
use super::{Address, Arg, BindError, CallError, Handle, KeepAlive, Value, arguments};
use crate::contract::{ArgumentError, Problem, Remedy, Rule, target_name};
use crate::ctype::CType;
use crate::declarations::{Declarations, Definitions};
use crate::library::Library;
use crate::prototype::Variable as Declared;

/// A variable that a library exports.
///
/// ```
/// use mapcall::{Library, Value};
///
/// let process = Library::process()?;
/// // SAFETY: this is the declaration of `opterr`.
/// let opterr = unsafe { process.variable("int opterr")? };
/// // SAFETY: no other thread uses `getopt`.
/// unsafe {
///     assert_eq!(opterr.get()?.to_i128(), Some(1));
///     opterr.set(&0.into())?;
///     assert_eq!(opterr.get()?.to_i128(), Some(0));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The library stays loaded while the variable lives.
#[derive(Clone)]
pub struct Variable {
    library: Library,
    declared: Declared,
    address: Address,
}

impl Library {
    /// Returns a variable that the library exports, by its declaration.
    ///
    /// See [`Variable`] for an example. The text may define types before the declaration.
    ///
    /// # Safety
    ///
    /// The symbol is a variable of the declared type.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the text is no declaration of a variable, or if the library has no such symbol.
    pub unsafe fn variable(&self, declaration: &str) -> Result<Variable, BindError> {
        let header = Declarations::default();
        let (declared, _) = header.variable_after(declaration, &Definitions::default())?;
        // SAFETY: the caller guarantees that the symbol is a variable of the type.
        unsafe { self.bind_variable(declared) }
    }

    /// Returns a variable that the library exports, by a declaration that has been parsed, such as one of a
    /// header.
    ///
    /// # Safety
    ///
    /// The condition of [`variable`](Self::variable).
    ///
    /// # Errors
    ///
    /// [`BindError::Library`] if the library has no such symbol.
    pub unsafe fn bind_variable(&self, declared: Declared) -> Result<Variable, BindError> {
        let symbol = declared.symbol.as_ref().unwrap_or(&declared.name);
        // SAFETY: the caller guarantees that the symbol is a variable, and so no indirect function.
        let address = unsafe { self.symbol(symbol)? };
        Ok(Variable {
            library: self.clone(),
            address: Address(address),
            declared,
        })
    }
}

impl Variable {
    /// Returns the declaration: the name, the type, and whether the variable is `const`.
    #[must_use]
    pub fn declaration(&self) -> &Declared {
        &self.declared
    }

    /// Returns the library that it is in.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Returns the address, which is valid as long as a clone of the variable or of its library lives.
    #[must_use]
    pub fn address(&self) -> NonNull<c_void> {
        self.address.0
    }

    /// Reads the value: a number, a text, a handle or the bytes of a struct. An array has none: read it at its
    /// [`address`](Self::address).
    ///
    /// # Safety
    ///
    /// No other thread writes the variable meanwhile.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if the type has no such value.
    pub unsafe fn get(&self) -> Result<Value, CallError> {
        let ctype = &self.declared.ctype;
        let size = self.size()?;
        let address = self.address.0.as_ptr().cast::<u8>();
        // SAFETY: the variable has `size` bytes. The caller guarantees that no other thread writes it.
        let bytes = unsafe { slice::from_raw_parts(address, size) };
        Ok(Value::of_bytes(ctype, bytes, |pointer, address| {
            let (target, alive) = (target_name(&pointer.target), KeepAlive::default());
            let library = &self.library;
            // SAFETY: the caller of `Library::variable` guaranteed the type, so that the address is that of an
            // object of the pointer's target.
            unsafe { Handle::from_address(library, &target, address, pointer.is_const, alive) }
        }))
    }

    /// Writes a value.
    ///
    /// # Safety
    ///
    /// - No other thread uses the variable meanwhile.
    /// - Memory that it is given the address of is valid as long as the library uses it. Texts and lists are
    ///   refused, since they are copies that end with this call.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if the variable is `const`, or if its type does not take the value.
    pub unsafe fn set(&self, value: &Arg<'_>) -> Result<(), CallError> {
        let (ctype, size) = (&self.declared.ctype, self.size()?);
        let refuse = |problem| self.refuse(problem);
        let words = |found: &str, remedy: &str| Problem::Type {
            found: found.to_owned(),
            remedy: Remedy::Words(remedy.into()),
        };
        if self.declared.is_const {
            return Err(refuse(words("a value", "read it only, as it is const")));
        }
        if matches!(value, Arg::Text(_) | Arg::List(_)) {
            let found = "a text or list, which ends with this call";
            return Err(refuse(words(found, "give an array or a handle that stays")));
        }
        let rule = Rule::of_element(ctype);
        let rule = rule.map_err(|reason| refuse(words(&reason, "write it at its address")))?;
        let mut slots = vec![0_u64; size.div_ceil(size_of::<u64>())];
        let mut lent = Lent::default();
        arguments::with_element(value, &mut lent, |value| {
            rule.convert_element(value, false, &mut slots)
        })
        .map_err(refuse)?;
        let from = rule.element_bytes(&slots, size);
        let to = self.address.0.as_ptr().cast::<u8>();
        // SAFETY: the variable has `size` bytes, and so has `from`. The caller guarantees that no other thread
        // uses the variable.
        let to = unsafe { slice::from_raw_parts_mut(to, from.len()) };
        to.copy_from_slice(from);
        Ok(())
    }

    fn size(&self) -> Result<usize, CallError> {
        match self.declared.ctype.resolved() {
            CType::Array(_) => None,
            ctype => ctype.size(),
        }
        .ok_or_else(|| {
            self.refuse(Problem::Type {
                found: "an array".into(),
                remedy: Remedy::Words("access it at its address".into()),
            })
        })
    }

    fn refuse(&self, problem: Problem) -> CallError {
        let (name, expected) = (self.declared.name.clone(), self.declared.ctype.to_string());
        Box::new(ArgumentError::new(name, String::new(), expected, problem)).into()
    }
}
