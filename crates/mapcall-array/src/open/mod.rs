//! Opens raw files, `.npy` files and members of `.npz` files as arrays, creates `.npy` files, and appends to them.

mod append;
mod new_file;
mod npy;
mod partial;
mod raw;
mod resize;
mod rows;
mod target;
mod unnamed;

use crate::dtype::DType;
use crate::layout::Order;
use crate::map::Mode;

pub use append::{AppendOptions, Appender, append};
pub use new_file::{CreateOptions, NewFile, WrittenFile, create};
#[doc(hidden)]
pub use partial::PartialFile;
#[doc(hidden)]
pub use resize::Change;
#[doc(hidden)]
pub use target::is_npy_name;

/// The options to open a file as an array: the arguments of `numpy.memmap`, as chained setters.
///
/// ```
/// use mapcall_array::{DType, MapOptions, Mode};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("squares.f64");
/// let options = MapOptions::new().dtype(DType::F64).shape([3, 4]);
///
/// // SAFETY: no other code writes or shortens the temporary file.
/// let mut array = unsafe { options.clone().mode(Mode::Write).map(&path)? };
/// array.view_mut::<f64>()?[[1, 2]] = 36.0;
/// array.flush()?;
///
/// // SAFETY: no other code writes or shortens the temporary file.
/// let again = unsafe { options.mode(Mode::Read).map(&path)? };
/// assert_eq!(again.view::<f64>()?[[1, 2]], 36.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`map`](Self::map) takes the dtype, shape, order and offset of a raw file from the setters;
/// [`open`](Self::open) reads them from the header of a `.npy` file or of a `.npz` member instead.
#[derive(Clone, Debug)]
pub struct MapOptions {
    mode: Mode,
    member: Option<String>,
    verify: bool,
    offset: u64,
    dtype: DType,
    shape: Option<Vec<usize>>,
    /// The axis whose length is inferred from that of the file.
    inferred_axis: Option<usize>,
    grow: bool,
    order: Order,
    allocate: bool,
    reserve: usize,
}

impl Default for MapOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl MapOptions {
    /// Returns the default options: mode `r+`, dtype `uint8`, offset 0, C order, and one axis that covers the
    /// whole file.
    ///
    /// ```
    /// # use mapcall_array::{DType, MapOptions};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// assert_eq!((array.dtype(), array.shape()), (&DType::U8, &[6000][..]));
    /// assert!(array.is_writeable());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self {
            mode: Mode::default(),
            member: None,
            verify: false,
            offset: 0,
            dtype: DType::U8,
            shape: None,
            inferred_axis: None,
            grow: true,
            order: Order::C,
            allocate: false,
            reserve: 0,
        }
    }

    /// Sets the mode in which the file is opened.
    ///
    /// ```
    /// # use mapcall_array::{MapOptions, Mode};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let mut array = unsafe { MapOptions::new().mode(Mode::CopyOnWrite).map(&file)? };
    /// array.view_mut::<u8>()?.fill(0);
    /// assert_eq!(std::fs::read(&file)?, [7; 6000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the offset of the array in the file in bytes, which need not be a multiple of the page size.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, b"HEADER\x01\x02\x03")?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().offset(6).map(&file)? };
    /// assert_eq!(array.view::<u8>()?.as_slice(), Some(&[1, 2, 3][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// Sets the dtype of the elements.
    ///
    /// ```
    /// # use mapcall_array::{DType, MapOptions};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, 1.5_f64.to_ne_bytes())?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().dtype(DType::F64).map(&file)? };
    /// assert_eq!(array.view::<f64>()?[[0]], 1.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Sets the number of elements along each axis. By default, one axis reaches to the end of the file.
    ///
    /// ```
    /// # use mapcall_array::{DType, MapOptions};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// let options = MapOptions::new().dtype(DType::F32);
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let all = unsafe { options.map(&file)? };
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let part = unsafe { options.shape([2, 3]).map(&file)? };
    /// assert_eq!((all.shape(), part.shape()), (&[1500][..], &[2, 3][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn shape(mut self, shape: impl Into<Vec<usize>>) -> Self {
        self.shape = Some(shape.into());
        self
    }

    /// Has the length of one axis of the [`shape`](Self::shape) inferred: the array reaches to the end of the file.
    ///
    /// ```
    /// # use mapcall_array::{DType, MapOptions, Mode};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// let options = MapOptions::new().mode(Mode::Read).dtype(DType::F32);
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let rows = unsafe { options.shape([0, 30]).infer_axis(0).map(&file)? };
    /// assert_eq!(rows.shape(), [50, 30]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The length that `shape` has for this axis is ignored.
    #[must_use]
    pub fn infer_axis(mut self, axis: usize) -> Self {
        self.inferred_axis = Some(axis);
        self
    }

    /// Sets whether [`map`](Self::map) makes a file longer that ends before the array, in modes `r+` and `w+`. By
    /// default it does, as NumPy does.
    ///
    /// ```
    /// # use mapcall_array::{DType, Error, MapOptions, map::MapError};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// let options = MapOptions::new().dtype(DType::F32).shape([2000]).grow(false);
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let error = unsafe { options.map(&file) }.unwrap_err();
    /// let expected = MapError::NotGrown { needed: 8000, file_len: 6000 };
    /// assert!(matches!(error, Error::Map { source, .. } if source == expected));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn grow(mut self, grow: bool) -> Self {
        self.grow = grow;
        self
    }

    /// Sets which axis varies fastest: the last ([`Order::C`]) or the first ([`Order::F`]).
    ///
    /// ```
    /// # use mapcall_array::{MapOptions, layout::Order};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [1, 2, 3, 4, 5, 6])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().shape([2, 3]).order(Order::F).map(&file)? };
    /// assert_eq!(array.view::<u8>()?[[1, 0]], 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sets whether [`map`](Self::map) allocates the disk space of the array in modes `r+` and `w+`, so that
    /// a full disk is an error of `map`. Otherwise the file has holes, as in NumPy, and a write to a hole
    /// when the disk is full is a fault: see [`guard`](crate::guard). Without the guard it kills the process
    /// (SIGBUS).
    ///
    /// ```
    /// # use mapcall_array::{MapOptions, Mode};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("x.u8");
    /// let options = MapOptions::new().mode(Mode::Write).shape([1 << 50]);
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let error = unsafe { options.allocate(true).map(&path) }.unwrap_err();
    /// assert!(matches!(error, mapcall_array::Error::Io { action: "allocate" | "resize", .. }));
    /// assert!(!path.exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// `map` returns an error if the file system can't allocate space.
    #[must_use]
    pub fn allocate(mut self, allocate: bool) -> Self {
        self.allocate = allocate;
        self
    }

    /// Sets the number of rows for which addresses are reserved: up to it, the array grows in place
    /// ([`Array::grow`](crate::Array::grow)). A row is what one index along the first axis selects, or along the
    /// last in Fortran order.
    ///
    /// ```
    /// # use mapcall_array::{MapOptions, create, layout::Order, DType};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("x.npy");
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// unsafe { create(&path, DType::F64, &[10, 3], Order::C)? };
    /// # #[cfg(target_os = "linux")] {
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let x = unsafe { MapOptions::new().reserve(1_000_000).open(&path)? };
    /// let longer = x.grow(20)?;
    /// assert_eq!((longer.shape(), longer.as_ptr()), (&[20, 3][..], x.as_ptr()));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Reserved addresses take no memory.
    #[must_use]
    pub fn reserve(mut self, rows: usize) -> Self {
        self.reserve = rows;
        self
    }

    /// Sets the member of a `.npz` file that [`open`](Self::open) maps, with or without the suffix `.npy`.
    ///
    /// ```
    /// # use std::{fs::File, io::Write};
    /// # use mapcall_array::{DType, MapOptions, Mode, format::Header, layout::Order};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # let mut npz = rawzip::ZipArchiveWriter::new(File::create(&file)?);
    /// # for (name, len) in [("x.npy", 3), ("y.npy", 5)] {
    /// #     let (mut entry, config) = npz.new_file(name).start()?;
    /// #     let mut member = config.wrap(&mut entry);
    /// #     member.write_all(&Header::new(DType::U8, &[len], Order::C)?.to_bytes()?)?;
    /// #     member.write_all(&vec![0; len])?;
    /// #     let (_, descriptor) = member.finish()?;
    /// #     entry.finish(descriptor)?;
    /// # }
    /// # npz.finish()?;
    /// // The file holds the arrays `x` and `y`.
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let y = unsafe { MapOptions::new().mode(Mode::Read).member("y").open(&file)? };
    /// assert_eq!(y.shape(), [5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn member(mut self, member: impl Into<String>) -> Self {
        self.member = Some(member.into());
        self
    }

    /// Sets whether [`open`](Self::open) reads a whole member of a `.npz` and compares its checksum. A `.npy`
    /// file has no checksum.
    ///
    /// ```
    /// use mapcall_array::{DType, MapOptions, Mode, create, layout::Order};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("a.npy");
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// unsafe { create(&path, DType::F32, &[100], Order::C)? };
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().mode(Mode::Read).verify(true).open(&path)? };
    /// assert_eq!(array.shape(), [100]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }
}
