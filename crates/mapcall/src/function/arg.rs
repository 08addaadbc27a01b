//! The arguments of a call in Rust.

use std::any::type_name;
use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use half::f16;
use mapcall_array::layout::Dims;
use mapcall_array::{Array, Buffer, DType, Element, Layout, WrittenFile};
use ndarray::{ArrayBase, Data, DataMut, Dimension};
use num_complex::Complex;

use super::handle::Owner;
use super::struct_slot::StructSlot;
use super::{Function, Handle, KeepAlive};
use crate::contract::{Backing, HostValue, Memory, Role, Scalar};

/// An argument of a call.
///
/// ```
/// use mapcall::Arg;
/// use mapcall::array::{Array, DType, layout::Order};
///
/// let array = Array::zeros(DType::F64, &[3, 4], Order::C)?;
/// let mut matrix = ndarray::Array2::<f32>::zeros((3, 4));
/// let arguments = [
///     Arg::from(2.0),          // a number
///     Arg::from(&array),       // an array that is read
///     Arg::from(&mut matrix),  // an array that the function may write
///     Arg::from("text"),
///     Arg::Null,
///     Arg::Out,                // an array that the function writes, to be made
/// ];
/// # let _ = arguments;
/// # Ok::<(), mapcall::array::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Arg<'a> {
    /// An array that the function writes, which is allocated for it.
    Out,
    /// The array that was allocated for [`Arg::Out`]. Another call with this argument writes into it.
    Allocated(Array),
    /// A new `.npy` file that an output of a batch is written to: see [`Function::map`].
    File(Cow<'a, Path>),
    /// The file that was written for [`Arg::File`], which can be mapped.
    Written(WrittenFile),
    /// NULL.
    Null,
    /// A number.
    Scalar(Scalar),
    /// An array.
    Slot(Slot<'a>),
    /// A text.
    Text(Cow<'a, [u8]>),
    /// A function, for a parameter that is a function pointer.
    Function(Function),
    /// A pointer that C returned.
    Handle(Handle),
    /// The bytes of a struct or union by value: see [`Arg::record`].
    Record(DType, Cow<'a, [u8]>),
    /// The texts, arrays, handles or functions that an array of pointers has: see [`Arg::list`].
    List(Vec<Arg<'a>>),
    /// A struct or union with named members, by value or by its address: see [`Struct`](super::Struct).
    Struct(StructSlot<'a>),
}

impl<'a> Arg<'a> {
    /// Returns a struct by value.
    ///
    /// ```
    /// use bytemuck::{Pod, Zeroable};
    /// use mapcall::array::{DType, Element, dtype::DTypeError};
    /// use mapcall::{Arg, Library, Value};
    ///
    /// #[derive(Clone, Copy, Pod, Zeroable)]
    /// #[repr(C)]
    /// struct Address { s_addr: u32 }
    ///
    /// impl Element for Address {
    ///     fn dtype() -> Result<DType, DTypeError> {
    ///         DType::structured([("s_addr", DType::U32)])
    ///     }
    /// }
    ///
    /// let process = Library::process()?;
    /// // SAFETY: this is the prototype of `inet_ntoa`.
    /// let inet_ntoa = unsafe {
    ///     process.function("struct in_addr { uint32_t s_addr; }; const char *inet_ntoa(struct in_addr in)")?
    /// };
    /// let home = Address { s_addr: u32::from_be(0x7f00_0001) };
    /// let text = inet_ntoa.call(&mut [Arg::record(&home)?])?;
    /// assert_eq!(text.text(), Some(c"127.0.0.1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error`](mapcall_array::Error) if the type has no dtype.
    pub fn record<T: Element>(value: &'a T) -> mapcall_array::Result<Self> {
        let bytes = bytemuck::bytes_of(value);
        Ok(Self::Record(T::dtype()?, Cow::Borrowed(bytes)))
    }

    /// Returns a list of texts, arrays, handles, functions or NULL, for an array of pointers to them.
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: this is the prototype of `getopt`, which writes none of the texts.
    /// let getopt = unsafe {
    ///     process.function("int getopt(int n, char *const words[n], const char *options)")?
    /// };
    /// let words = Arg::list(["program", "-v"]);
    /// let option = getopt.call(&mut [words, "qv".into()])?;
    /// assert_eq!(option.to_i128(), Some(b'v'.into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The extent of the array is the number of elements; C finds NULL behind the last. The texts are copies,
    /// which are valid during the call. What C writes into the array itself is not seen: leave the argument
    /// out to get it.
    #[must_use]
    pub fn list(elements: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::List(elements.into_iter().map(Into::into).collect())
    }

    /// Returns the array that the function has written into, where this was [`Arg::Out`].
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: this is the prototype of `frexp`, which writes one int.
    /// let frexp = unsafe { process.function("double frexp(double x, int exponent[1])")? };
    /// let mut arguments = [Arg::from(12.0), Arg::Out];
    /// assert!(arguments[1].array().is_none());
    /// frexp.call(&mut arguments)?;
    /// assert_eq!(arguments[1].array().unwrap().view::<i32>()?[[0]], 4);
    ///
    /// // It is written again, not made anew.
    /// arguments[0] = 1.0.into();
    /// frexp.call(&mut arguments)?;
    /// let [_, exponent] = arguments;
    /// assert_eq!(exponent.into_array().unwrap().view::<i32>()?[[0]], 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn array(&self) -> Option<&Array> {
        match self {
            Self::Allocated(array) => Some(array),
            _ => None,
        }
    }

    /// Returns the file that a batch has written, if this was [`Arg::File`]; `None` for other
    /// arguments.
    ///
    /// ```
    /// use mapcall::array::Mode;
    /// use mapcall::{Arg, Library};
    ///
    /// # // SAFETY: the C library's own initialisers may run at any time.
    /// # let libm = unsafe { Library::open("m")? };
    /// # // SAFETY: this is the prototype of `sqrt`.
    /// # let sqrt = unsafe { libm.function("double sqrt(double x)")? };
    /// let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("roots.npy");
    /// let mut outputs = [Arg::from(&path)];
    /// sqrt.map(&[Arg::from(&[4.0, 9.0])], &mut outputs).run()?;
    /// // SAFETY: no other program changes the file.
    /// let roots = unsafe { outputs[0].written().unwrap().map(Mode::Read)? };
    /// assert_eq!(roots.view::<f64>()?.as_slice(), Some(&[2.0, 3.0][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// It is the file that the batch created, even if another one has got its name since.
    #[must_use]
    pub fn written(&self) -> Option<&WrittenFile> {
        match self {
            Self::Written(file) => Some(file),
            _ => None,
        }
    }

    /// Converts the argument to the array that [`array`](Self::array) returns.
    #[must_use]
    pub fn into_array(self) -> Option<Array> {
        match self {
            Self::Allocated(array) => Some(array),
            _ => None,
        }
    }
}

/// Borrowed memory with a dtype and a shape.
///
/// ```
/// use mapcall::Arg;
///
/// let samples = [0.5_f32, 0.25];
/// assert!(matches!(Arg::from(&samples[..]), Arg::Slot(_)));
/// ```
///
/// It is writeable if it is made from a `&mut` reference, otherwise read-only. An [`Array`] that shares
/// its buffer with other arrays is refused for parameters that the function writes, even through
/// `&mut`.
#[derive(Debug)]
pub struct Slot<'a> {
    address: *mut u8,
    /// The name of a Rust type that has no dtype of its own size.
    dtype: Result<DType, &'static str>,
    shape: Dims<usize>,
    strides: Dims<isize>,
    is_contiguous: bool,
    is_writeable: bool,
    /// Whether other code of the program can access memory that the function may write.
    is_shared: bool,
    /// The buffer of the [`Array`] that it was made from, if it was.
    buffer: Option<Buffer>,
    life: PhantomData<&'a mut [u8]>,
}

impl Slot<'_> {
    /// Returns the value for the check of an argument for a role. A mask of bytes is accepted as one of
    /// bool.
    pub(crate) fn value(&self, role: Role) -> HostValue<'_> {
        static BOOL: DType = DType::BOOL;
        let memory = Memory {
            address: self.address,
            shape: &self.shape,
            strides: &self.strides,
            is_contiguous: self.is_contiguous,
            is_writeable: self.is_writeable,
            is_shared: self.is_shared,
            // Rust memory that is borrowed for writing has no other address.
            backing: match &self.buffer {
                Some(buffer) => buffer.backing(),
                None => Backing::Private,
            },
        };
        let is_byte = |dtype: &DType| [DType::I8, DType::U8].contains(dtype);
        let dtype = match &self.dtype {
            Ok(dtype) if role == Role::Mask && is_byte(dtype) => Ok(&BOOL),
            Ok(dtype) => Ok(dtype),
            Err(name) => Err(*name),
        };
        HostValue::Array { memory, dtype }
    }

    /// Returns the buffer that it lies in if that is a map.
    pub(crate) fn map(&self) -> Option<&Buffer> {
        self.buffer.as_ref().filter(|buffer| buffer.map().is_some())
    }

    /// Adds the memory to what the result of a call keeps alive.
    pub(super) fn keep_alive(&self, alive: &mut KeepAlive) {
        let Ok(dtype) = &self.dtype else {
            return;
        };
        let start = self.address.addr();
        let nbytes = self.shape.iter().product::<usize>() * dtype.itemsize();
        let buffer = self.buffer.clone();
        let owner = buffer.map_or(Owner::Borrow, Owner::Buffer);
        alive.memory(start..start.wrapping_add(nbytes), self.is_writeable, owner);
    }

    pub(crate) fn of_array(array: &Array, is_writeable: bool) -> Self {
        Self {
            address: array.as_mut_ptr(),
            dtype: Ok(array.dtype().clone()),
            shape: array.shape().into(),
            strides: array.strides().into(),
            is_contiguous: array.layout().is_c_contiguous(),
            is_writeable: is_writeable && array.is_writeable(),
            is_shared: is_writeable && !array.buffer().is_unique(),
            buffer: Some(array.buffer().clone()),
            life: PhantomData,
        }
    }

    /// Makes an argument of borrowed Rust memory.
    fn of_elements<T: Element>(
        address: *mut T,
        shape: &[usize],
        strides: &[isize],
        is_writeable: bool,
    ) -> Arg<'static> {
        let size = size_of::<T>();
        let strides: Dims<isize> = strides
            .iter()
            .map(|stride| stride.wrapping_mul(size.cast_signed()))
            .collect();
        let layout = Layout::from_strides(0, shape, &strides, size);
        let dtype = T::dtype().ok().filter(|dtype| dtype.itemsize() == size);
        Arg::Slot(Slot {
            address: address.cast(),
            dtype: dtype.ok_or_else(type_name::<T>),
            shape: shape.into(),
            // A view with negative strides has no layout from its start, and is not in C order.
            is_contiguous: layout.is_ok_and(|layout| layout.is_c_contiguous()),
            strides,
            is_writeable,
            is_shared: false,
            buffer: None,
            life: PhantomData,
        })
    }
}

/// A read-only argument.
impl<'a> From<&'a Array> for Arg<'a> {
    fn from(array: &'a Array) -> Self {
        Self::Slot(Slot::of_array(array, false))
    }
}

/// An argument that the function may write, unless other arrays share the memory.
impl<'a> From<&'a mut Array> for Arg<'a> {
    fn from(array: &'a mut Array) -> Self {
        Self::Slot(Slot::of_array(array, true))
    }
}

macro_rules! elements {
    ($($type:ty $(, const $length:ident)?;)+) => {$(
        impl<'a, T: Element $(, const $length: usize)?> From<&'a $type> for Arg<'a> {
            fn from(elements: &'a $type) -> Self {
                let address = elements.as_ptr().cast_mut();
                Slot::of_elements(address, &[elements.len()], &[1], false)
            }
        }

        impl<'a, T: Element $(, const $length: usize)?> From<&'a mut $type> for Arg<'a> {
            fn from(elements: &'a mut $type) -> Self {
                Slot::of_elements(elements.as_mut_ptr(), &[elements.len()], &[1], true)
            }
        }
    )+};
}

elements! {
    [T];
    [T; N], const N;
    Vec<T>;
}

impl<'a, T: Element, S: Data<Elem = T>, D: Dimension> From<&'a ArrayBase<S, D>> for Arg<'a> {
    fn from(array: &'a ArrayBase<S, D>) -> Self {
        let address = array.as_ptr().cast_mut();
        Slot::of_elements(address, array.shape(), array.strides(), false)
    }
}

impl<'a, T: Element, S: DataMut<Elem = T>, D: Dimension> From<&'a mut ArrayBase<S, D>> for Arg<'a> {
    fn from(array: &'a mut ArrayBase<S, D>) -> Self {
        let address = array.as_mut_ptr();
        Slot::of_elements(address, array.shape(), array.strides(), true)
    }
}

/// A new file for an output of a batch.
impl<'a> From<&'a PathBuf> for Arg<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(Cow::Borrowed(path))
    }
}

/// A new file for an output of a batch.
impl<'a> From<&'a Path> for Arg<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(Cow::Borrowed(path))
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text.as_bytes()))
    }
}

impl<'a> From<&'a CStr> for Arg<'a> {
    fn from(text: &'a CStr) -> Self {
        Self::Text(Cow::Borrowed(text.to_bytes()))
    }
}

impl From<&Function> for Arg<'_> {
    fn from(function: &Function) -> Self {
        Self::Function(function.clone())
    }
}

impl From<&Handle> for Arg<'_> {
    fn from(handle: &Handle) -> Self {
        Self::Handle(handle.clone())
    }
}

impl From<Scalar> for Arg<'_> {
    fn from(value: Scalar) -> Self {
        Self::Scalar(value)
    }
}

macro_rules! numbers {
    ($($type:ty),* $(,)?) => {$(
        impl From<$type> for Arg<'_> {
            fn from(value: $type) -> Self {
                Self::Scalar(value.into())
            }
        }
    )*};
}

numbers! {
    bool, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f16, f32, f64,
    Complex<f32>, Complex<f64>,
}
