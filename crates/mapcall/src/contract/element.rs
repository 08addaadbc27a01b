//! The conversion of values in memory: the elements of a list of pointers, and the members of a struct.

use super::convert::{address, check_text, set};
use super::error::Problem;
use super::host_value::HostValue;
use super::memory::Memory;
use super::rule::{PointerRule, Rule, is_char};
use crate::call::scalar_bytes;
use crate::ctype::CType;
use mapcall_array::DType;

impl Rule {
    /// Returns the rule of a value in memory: a number, a pointer, a function or a struct.
    ///
    /// # Errors
    ///
    /// The reason why a type has no rule.
    pub fn of_element(ctype: &CType) -> Result<Self, String> {
        Self::of_value(ctype)
    }

    /// Returns the type of the pointers that a list has for this parameter, an array of pointers or a
    /// pointer to pointers; `None` for other parameters.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::contract::Contract;
    ///
    /// let contract = Contract::new(Prototype::parse("double sum(int n, double *const rows[n])")?)?;
    /// let [n, rows] = contract.rules() else { panic!() };
    /// assert_eq!(rows.pointers().unwrap().to_string(), "double *");
    /// assert!(n.pointers().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pointers(&self) -> Option<&CType> {
        let ctype = match self {
            Self::Array(array) if array.rank() == 1 => array.ctype(),
            Self::Pointer(pointer) => &pointer.ctype,
            _ => return None,
        };
        matches!(ctype.resolved(), CType::Pointer(_)).then_some(ctype)
    }

    /// Converts a value as [`convert`](Self::convert) does; arrays are accepted for pointers, too, by
    /// their address. C gets no extent of such an array, so that how much of it C accesses is not checked.
    ///
    /// ```
    /// use mapcall::array::DType;
    /// use mapcall::contract::{Backing, HostValue, Memory, Rule};
    /// use mapcall::Prototype;
    ///
    /// let f = Prototype::parse("void f(double *const rows[2])")?;
    /// let rule = Rule::of_element(&f.parameters[0].ctype)?;
    /// let mut row = [0.0, 1.0];
    /// let memory = Memory {
    ///     address: row.as_mut_ptr().cast(),
    ///     shape: &[2],
    ///     strides: &[8],
    ///     is_contiguous: true,
    ///     is_writeable: true,
    ///     is_shared: false,
    ///     backing: Backing::Private,
    /// };
    /// let mut slot = [0];
    /// rule.convert_element(HostValue::Array { memory, dtype: Ok(&DType::F64) }, false, &mut slot)?;
    /// assert_eq!(slot[0], row.as_ptr().addr() as u64);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A text is accepted for a `char *`, too, if the caller passes a copy of it, which C may write.
    ///
    /// # Errors
    ///
    /// The [`Problem`] with a value that is not accepted.
    pub fn convert_element(
        &self,
        value: HostValue<'_>,
        is_unchecked: bool,
        slots: &mut [u64],
    ) -> Result<(), Problem> {
        match (self, value) {
            (Self::Text | Self::Pointer(_), HostValue::Array { memory, dtype }) => {
                let Some(pointer) = self.pointer() else {
                    return Ok(());
                };
                pointer.check_memory(&memory, dtype)?;
                set(slots, address(memory.address.cast_const()));
                Ok(())
            }
            (Self::Pointer(pointer), HostValue::Text(text)) if is_char(&pointer.ctype) => {
                set(slots, address(check_text(text)?.as_ptr()));
                Ok(())
            }
            (rule, value) => rule.convert(value, is_unchecked, slots),
        }
    }

    /// Returns the bytes, as they are in memory, of a value of `size` bytes that
    /// [`convert_element`](Self::convert_element) has written to slots.
    ///
    /// ```
    /// use mapcall::contract::{HostValue, Rule, Scalar};
    /// use mapcall::ctype::{CType, Integer};
    ///
    /// let rule = Rule::of_element(&CType::Integer(Integer::Short))?;
    /// let mut slots = [0];
    /// rule.convert_element(HostValue::Number(Scalar::Int(7)), false, &mut slots)?;
    /// assert_eq!(rule.element_bytes(&slots, 2), 7_i16.to_ne_bytes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn element_bytes<'a>(&self, slots: &'a [u64], size: usize) -> &'a [u8] {
        match self {
            Self::Record { .. } => bytemuck::cast_slice(slots).get(..size).unwrap_or_default(),
            _ => scalar_bytes(slots, size),
        }
    }
}

impl PointerRule {
    /// Checks an array that C gets by its address alone.
    fn check_memory(
        &self,
        memory: &Memory<'_>,
        dtype: Result<&DType, &str>,
    ) -> Result<(), Problem> {
        if memory.backing.is_closed() {
            return Err(Problem::ClosedMap);
        }
        self.check_dtype(dtype)?;
        if !memory.is_contiguous {
            return Err(Problem::NotContiguous {
                shape: memory.shape.to_vec(),
                strides: memory.strides.to_vec(),
            });
        }
        let (address, alignment) = (memory.address.expose_provenance(), self.alignment);
        if !(address.is_multiple_of(alignment) || memory.is_empty()) {
            return Err(Problem::Unaligned { address, alignment });
        }
        match (self.is_const, memory.is_writeable, memory.is_shared) {
            (false, false, _) => Err(Problem::ReadOnly),
            (false, _, true) => Err(Problem::Shared),
            _ => Ok(()),
        }
    }
}
