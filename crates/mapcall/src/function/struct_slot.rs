//! A borrowed struct, as an argument of a call.

#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;

use mapcall_array::{Buffer, DType};

use super::KeepAlive;
use super::handle::Owner;
use crate::contract::{HostValue, Problem, Remedy, target_name};
use crate::ctype::CType;

/// What the pointers of a struct were given.
pub(super) trait Retaining {
    /// Adds the memory that the pointers lead to, to what a handle keeps alive.
    fn keep_alive(&self, alive: &mut KeepAlive);
}

/// A borrowed [`Struct`](super::Struct), as an argument.
///
/// ```
/// use mapcall::declarations::Declarations;
/// use mapcall::{Arg, Library, Struct};
///
/// let header = Declarations::parse("struct pair { int a, b; };");
/// let pair = Struct::new(&Library::process()?, &header.structure("pair").unwrap())?;
/// assert!(matches!(Arg::from(&pair), Arg::Struct(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StructSlot<'a> {
    ctype: &'a CType,
    memory: &'a Buffer,
    size: usize,
    kept: &'a dyn Retaining,
    is_writeable: bool,
    life: PhantomData<&'a mut [u8]>,
}

impl<'a> StructSlot<'a> {
    /// Returns the argument for `size` bytes of memory, which have the type and were initialised.
    pub(super) fn new(
        ctype: &'a CType,
        (memory, size): (&'a Buffer, usize),
        kept: &'a dyn Retaining,
        is_writeable: bool,
    ) -> Self {
        Self {
            ctype,
            memory,
            size: size.min(memory.len()),
            kept,
            is_writeable,
            life: PhantomData,
        }
    }

    /// Returns the value for a pointer to the struct.
    pub(super) fn value(&self) -> HostValue<'_> {
        HostValue::Struct {
            ctype: self.ctype,
            address: self.memory.as_mut_ptr().cast_const().cast(),
            is_read_only: !self.is_writeable,
        }
    }

    /// Returns the value for a struct of a type and its dtype.
    ///
    /// # Errors
    ///
    /// [`Problem::Type`] if this is a struct of another type.
    pub(super) fn by_value<'s>(
        &'s self,
        ctype: &CType,
        dtype: &'s DType,
    ) -> Result<HostValue<'s>, Problem> {
        if !ctype.is_same(self.ctype) {
            return Err(Problem::Type {
                found: format!("a struct {}", target_name(self.ctype)),
                remedy: Remedy::Words(format!("give a struct {}", target_name(ctype))),
            });
        }
        // SAFETY: the memory has `size` bytes, which were zeroed when it was made, and which nothing writes while the
        // struct is borrowed, except for C during the call that this value is for.
        let bytes = unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.size) };
        Ok(HostValue::Record {
            dtype: Ok(dtype),
            bytes,
        })
    }

    /// Adds the memory, and what its pointers lead to, to what a handle keeps alive.
    pub(super) fn keep_alive(&self, alive: &mut KeepAlive) {
        let start = self.memory.as_ptr().addr();
        let owner = Owner::Buffer(self.memory.clone());
        alive.memory(start..start + self.size, self.is_writeable, owner);
        self.kept.keep_alive(alive);
    }
}

impl fmt::Debug for StructSlot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StructSlot")
            .field("ctype", &self.ctype)
            .field("is_writeable", &self.is_writeable)
            .finish_non_exhaustive()
    }
}
