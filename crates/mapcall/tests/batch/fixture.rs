//! The compiled fixture, and arrays that lie in memory as a test wants them.

use std::fs;
use std::ptr::NonNull;
use std::sync::OnceLock;

use mapcall::array::layout::Layout;
use mapcall::array::{Array, Buffer, DType};
use mapcall::{Arg, CallError, Function, Library};
use tempfile::TempDir;

use crate::c_calls::{self, compile, open};

/// A copy of the library, whose counter is a test's own.
pub(crate) struct Fixture {
    library: Library,
    _folder: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        static COMPILED: OnceLock<Vec<u8>> = OnceLock::new();
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("batch.so");
        let compiled = COMPILED.get_or_init(|| {
            let first = folder.path().join("first.so");
            compile(&first, include_str!("batch.c"), "-O1");
            fs::read(&first).unwrap()
        });
        fs::write(&path, compiled).unwrap();
        Self {
            library: open(&path),
            _folder: folder,
        }
    }

    pub(crate) fn bind(&self, prototype: &str) -> Function {
        // SAFETY: the tests write the prototypes of the functions in `batch.c`.
        unsafe { self.library.function(prototype) }.unwrap()
    }

    /// The same function by each engine that can call it.
    pub(crate) fn engines(&self, prototype: &str) -> Vec<Function> {
        c_calls::engines(self.bind(prototype))
    }

    /// How many calls have been made.
    pub(crate) fn calls(&self) -> usize {
        let called = self.bind("long called(void)");
        let value = called.call(&mut []).unwrap().to_i128().unwrap();
        usize::try_from(value).unwrap()
    }

    /// Asserts that every engine refuses the batch with that message, and calls nothing.
    #[track_caller]
    pub(crate) fn refuse<'b>(
        &self,
        prototype: &str,
        inputs: &[Arg<'b>],
        outputs: &mut [Arg<'b>],
        message: &str,
    ) {
        self.refuse_masked(prototype, inputs, outputs, None, message);
    }

    #[track_caller]
    pub(crate) fn refuse_masked<'b>(
        &self,
        prototype: &str,
        inputs: &[Arg<'b>],
        outputs: &mut [Arg<'b>],
        mask: Option<&Arg<'b>>,
        message: &str,
    ) {
        let before = self.calls();
        for function in self.engines(prototype) {
            for threads in [1, 2] {
                let mut batch = function.map(inputs, outputs).threads(threads);
                if let Some(mask) = mask {
                    batch = batch.only(mask);
                }
                let error = batch.run().unwrap_err();
                assert!(matches!(error, CallError::Argument(_)), "{error:?}");
                let error = error.to_string();
                // `tests/python/call/test_remedies.py` follows the remedies.
                let before_remedy = error
                    .rsplit_once("; ")
                    .map_or(&*error, |(before, _)| before);
                assert_eq!(before_remedy, message);
                assert_eq!(self.calls(), before, "{function:?} ran");
            }
        }
    }
}

/// Memory that several arrays may lie in.
///
/// Nothing here is borrowed: a test drops its arrays before the memory, and looks at it only between
/// the calls.
#[derive(Clone)]
pub(crate) struct Bytes(Vec<u128>);

impl Bytes {
    pub(crate) fn zeroed(length: usize) -> Self {
        Self(vec![0; length.div_ceil(16)])
    }

    pub(crate) fn of<T: bytemuck::Pod>(values: &[T]) -> Self {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let mut memory = Self::zeroed(bytes.len());
        memory.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        memory
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }

    pub(crate) fn get<T: bytemuck::Pod>(&self) -> &[T] {
        bytemuck::cast_slice(&self.0)
    }

    /// An array whose first element is at byte `offset`; its buffer is its own as far as it knows.
    pub(crate) fn array(
        &mut self,
        dtype: DType,
        offset: usize,
        shape: &[usize],
        strides: &[isize],
    ) -> Array {
        self.array_or_view(dtype, offset, (shape, strides), true)
    }

    pub(crate) fn array_or_view(
        &mut self,
        dtype: DType,
        offset: usize,
        (shape, strides): (&[usize], &[isize]),
        is_writeable: bool,
    ) -> Array {
        let bytes = self.bytes_mut();
        let start = NonNull::from(&mut *bytes).cast();
        // SAFETY: the tests drop arrays before the memory, and look at it only between calls.
        let buffer = unsafe { Buffer::foreign(start, bytes.len(), is_writeable, ()) };
        let layout = Layout::from_strides(offset, shape, strides, dtype.itemsize()).unwrap();
        Array::new(buffer, dtype, layout).unwrap()
    }
}
