//! Files that several processes write before they get their names.

use std::ffi::OsStr;
use std::path::PathBuf;

use mapcall_array::map::Fingerprint;
use mapcall_array::{Mode, PartialFile as Core};
use pyo3::prelude::*;

use crate::convert;
use crate::errors::to_py;
use crate::open;
use crate::source::Named;

/// A ``.npy`` file with a temporary name, which several processes write before it gets its name.
///
/// >>> import mapcall, os, pickle
/// >>> file = mapcall._mapcall.PartialFile.begin('x.npy', (3,), 'u1', 'C', 42)
/// >>> descriptor = pickle.loads(pickle.dumps(file)).open()
/// >>> os.pwrite(descriptor, b'abc', file.data_offset)
/// 3
/// >>> os.close(descriptor)
/// >>> os.path.exists('x.npy')
/// False
/// >>> file.finish(False)
/// memmap([97, 98, 99], dtype=uint8)
///
/// A pickle of it is a few hundred bytes. Each method can be called again, also in another process.
#[pyclass(frozen, module = "mapcall._mapcall")]
pub(crate) struct PartialFile(Core);

/// The arguments from which a pickle makes the object: paths, `is_copied`, `replaces`, offset of the data,
/// inode, creation time and size.
type State<'a> = (
    &'a OsStr,
    &'a OsStr,
    bool,
    bool,
    u64,
    u64,
    Option<i128>,
    u64,
);

#[pymethods]
impl PartialFile {
    #[new]
    #[pyo3(signature = (path, partial, is_copied, replaces, data_offset, inode, created, size, /))]
    #[expect(clippy::too_many_arguments, reason = "the tuple in a pickle is flat")]
    fn new(
        path: PathBuf,
        partial: PathBuf,
        is_copied: bool,
        replaces: bool,
        data_offset: u64,
        inode: u64,
        created: Option<i128>,
        size: u64,
    ) -> Self {
        Self(Core {
            path,
            partial,
            is_copied,
            replaces,
            data_offset,
            fingerprint: Fingerprint {
                inode,
                created,
                len: size,
                modified: 0,
            },
        })
    }

    /// Create a file of zeros with a temporary name, and allocate its disk space.
    ///
    /// The file that was made with the same token, a number of 128 bits, is found again, with the bytes that
    /// have been written to it.
    #[staticmethod]
    #[pyo3(signature = (path, shape, dtype, order, token, /))]
    fn begin(
        path: &Bound<'_, PyAny>,
        shape: Vec<usize>,
        dtype: &Bound<'_, PyAny>,
        order: &Bound<'_, PyAny>,
        token: u128,
    ) -> PyResult<Self> {
        let py = path.py();
        let dtype = convert::dtype(dtype)?;
        convert::check_axes(Some(&shape), &dtype)?;
        let dtype = convert::from_numpy(&dtype)?;
        let order = convert::order(order)?;
        let path = Named::new(path)?.path;
        let begun = py.detach(|| Core::begin(path, dtype, &shape, order, token));
        begun.map(Self).map_err(to_py)
    }

    /// The absolute path that the file will have.
    #[getter]
    fn path(&self) -> &OsStr {
        self.0.path.as_os_str()
    }

    /// The absolute path that the file has until `finish`.
    #[getter]
    fn partial(&self) -> &OsStr {
        self.0.partial.as_os_str()
    }

    /// What tells the file from others: inode and creation time.
    #[getter]
    fn identity(&self) -> (u64, Option<i128>) {
        (self.0.fingerprint.inode, self.0.fingerprint.created)
    }

    /// Whether the file will replace an old one, so that its bytes must be on the disk before `finish`.
    #[getter]
    fn replaces(&self) -> bool {
        self.0.replaces
    }

    /// The offset of the data in the file, in bytes.
    #[getter]
    fn data_offset(&self) -> u64 {
        self.0.data_offset
    }

    /// Open the file for reading and writing; return its descriptor, or None if it has got its name.
    #[cfg(unix)]
    fn open(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        use std::os::fd::IntoRawFd;

        let file = py.detach(|| self.0.open()).map_err(to_py)?;
        Ok(file.map(IntoRawFd::into_raw_fd))
    }

    /// Give the file its name, and map it for reading.
    ///
    /// An old file of the name is replaced after the new one is on the disk, or gets its bytes if it can't
    /// be replaced. With `sync`, wait until the data and the name are on the disk.
    #[pyo3(signature = (sync, /))]
    fn finish<'py>(&self, py: Python<'py>, sync: bool) -> PyResult<Bound<'py, PyAny>> {
        let file = py.detach(|| self.0.finish(sync)).map_err(to_py)?;
        open::written(py, &file, &self.0.path, Mode::Read)
    }

    /// Remove the temporary name, if the file has it still.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.abandon()).map_err(to_py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, pyo3::types::PyType>, State<'_>) {
        let (file, found) = (&self.0, &self.0.fingerprint);
        let state = (
            file.path.as_os_str(),
            file.partial.as_os_str(),
            file.is_copied,
            file.replaces,
            file.data_offset,
            found.inode,
            found.created,
            found.len,
        );
        (py.get_type::<Self>(), state)
    }
}
