//! The type of a C value's elements.

use std::ptr;

use mapcall::Prototype;
use mapcall::array::DType;
use mapcall::array::dtype::Field;
use mapcall::contract::TypedPointer;
use numpy::PyUntypedArray;
use pyo3::Bound;

use super::ndarray;

/// The maximum depth of structs in structs.
pub(super) const MAX_DEPTH: usize = 32;

/// The maximum number of members of a struct, with those of the structs in it.
pub(super) const MAX_MEMBERS: usize = 1 << 12;

/// The type of a C value's elements, or of what a pointer points to.
#[derive(Clone)]
pub(in super::super) struct Target {
    /// The tag of a struct, or the C type.
    pub(in super::super) name: String,
    /// Its dtype; an error says why it has none. `None` if the type is only a name: `void`, an incomplete struct.
    pub(in super::super) dtype: Option<Result<DType, String>>,
    /// Whether it is a pointer, whose own target has no part in the dtype.
    pub(in super::super) is_pointer: bool,
}

impl Target {
    /// Returns a type that C has by that name.
    pub(super) fn named(name: &str) -> Self {
        let parsed = Prototype::parse(&format!("{name} f(void)"));
        let dtype = match &parsed {
            Ok(prototype) if prototype.returns.size().is_none() => None,
            Ok(prototype) => {
                let dtype = prototype.returns.dtype();
                Some(dtype.map_err(|error| error.to_string()))
            }
            Err(_) => Some(Err(format!("{name} is no type that mapcall knows"))),
        };
        let name = match &parsed {
            Ok(prototype) => mapcall::contract::target_name(&prototype.returns),
            Err(_) => name.to_owned(),
        };
        Self {
            name,
            dtype,
            is_pointer: false,
        }
    }

    /// Returns the type of a pointer to a type.
    pub(super) fn pointer_to(target: &Self) -> Self {
        let star = if target.is_pointer { "*" } else { " *" };
        Self {
            name: format!("{}{star}", target.name),
            is_pointer: true,
            ..Self::named("void *")
        }
    }

    /// Returns a pointer to the type, for a parameter or member that points to what is called `wanted`.
    pub(in super::super) fn typed<'a>(
        &'a self,
        wanted: Option<&'a str>,
        address: usize,
        is_read_only: bool,
    ) -> TypedPointer<'a> {
        let dtype = self.dtype.as_ref().filter(|_| !self.is_pointer);
        TypedPointer {
            address: ptr::with_exposed_provenance(address),
            // The pointers of ctypes and cffi have no `const`.
            target: match wanted {
                Some(wanted) if self.is_named(wanted) => wanted,
                _ => &self.name,
            },
            dtype: dtype.map(|dtype| dtype.as_ref().map_err(String::as_str)),
            is_read_only,
        }
    }

    /// Returns the type of an array's elements.
    pub(in super::super) fn of_array(array: &Bound<'_, PyUntypedArray>) -> Self {
        let dtype = ndarray::core_dtype(&ndarray::dtype_of(array));
        Self {
            name: dtype.as_ref().map_or_else(Clone::clone, DType::name),
            dtype: Some(dtype),
            is_pointer: false,
        }
    }

    /// Returns a type that can't be an element.
    pub(super) fn without_dtype(name: &str, reason: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            dtype: Some(Err(reason.into())),
            is_pointer: false,
        }
    }

    /// Returns the type of an incomplete struct, or of `void`.
    pub(super) fn incomplete(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dtype: None,
            is_pointer: false,
        }
    }

    /// Returns the type of a struct with these members.
    pub(super) fn structure(name: &str, members: Result<Vec<Field>, String>, size: usize) -> Self {
        let dtype = members.and_then(|members| {
            let dtype = DType::structured_with_offsets(members, Some(size), false);
            dtype.map_err(|error| error.to_string())
        });
        Self {
            name: name.to_owned(),
            dtype: Some(dtype),
            is_pointer: false,
        }
    }

    /// Returns the type as a member of a struct: an array of those lengths, or one element.
    pub(super) fn member(
        self,
        name: &str,
        offset: usize,
        shape: &[usize],
    ) -> Result<Field, String> {
        let dtype = match self.dtype {
            Some(dtype) => dtype?,
            None => return Err(format!("its member {name} is incomplete")),
        };
        let dtype = DType::subarray(dtype, shape).map_err(|error| error.to_string())?;
        Ok(Field::new(name, dtype).at(offset))
    }

    pub(super) fn swapped(mut self) -> Self {
        use mapcall::array::dtype::ByteOrder;
        let other = match ByteOrder::NATIVE {
            ByteOrder::Little => ByteOrder::Big,
            _ => ByteOrder::Little,
        };
        if let Some(Ok(dtype)) = &mut self.dtype {
            *dtype = dtype.newbyteorder(other);
        }
        self
    }

    pub(super) fn itemsize(&self) -> Option<usize> {
        match &self.dtype {
            Some(Ok(dtype)) => Some(dtype.itemsize()),
            _ => None,
        }
    }

    pub(super) fn is_char(&self) -> bool {
        self.name == "char"
    }

    /// Returns whether the type has that name in C. A pointer has it without regard to `const`, which neither
    /// ctypes nor cffi has.
    pub(in super::super) fn is_named(&self, name: &str) -> bool {
        let plain = name
            .replace("const ", "")
            .replace(" const", "")
            .replace("*const", "*");
        self.name == plain
    }
}
