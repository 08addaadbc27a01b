//! Closing a map, and the faults of a map.

use super::{Map, MapError};
use crate::error::Result;
use crate::guard::{self, Fault};

impl Map {
    /// Gives the file back: what was written is in the file, and the file can be deleted, replaced and
    /// unmounted. Arrays on the map stay, and each access to them is a fault.
    ///
    /// ```
    /// use mapcall_array::{MapOptions, guard};
    ///
    /// # #[cfg(target_os = "linux")] {
    /// guard::install()?;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// // SAFETY: no typed view of the array exists.
    /// unsafe { map.close()? };
    /// assert!(map.is_closed() && map.flush(0..6000).is_err());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The system writes the bytes to the disk later; call [`flush`](Self::flush) first to wait for that. To
    /// close a closed map does nothing.
    ///
    /// # Errors
    ///
    /// [`MapError::NoGuard`] if [`guard::install`] was not called, since an access would kill the process;
    /// [`Error::Io`](crate::Error::Io) if the system can't replace the pages.
    ///
    /// # Safety
    ///
    /// No typed view of the bytes exists, on any thread: their values change. Addresses that were passed to C
    /// may be in use.
    pub unsafe fn close(&self) -> Result<()> {
        if self.is_closed() {
            return Ok(());
        }
        if !guard::is_installed() {
            return Err(self.error(MapError::NoGuard));
        }
        // Set first, so that a handler knows the pages without access.
        self.registration.close();
        self.region
            .close()
            .map_err(|source| self.io("close", source))
    }

    /// Returns whether the map was closed.
    ///
    /// See [`close`](Self::close) for an example.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.registration.is_closed()
    }

    /// Returns whether the file ends where the first `len` bytes of the map do, and all of them can be accessed
    /// so far: an array of them needs no refresh.
    #[doc(hidden)]
    #[must_use]
    pub fn ends_at(&self, len: usize) -> bool {
        let end = self.file_offset().checked_add(len as u64);
        !self.is_closed() && !self.has_lost_pages() && end.is_some() && self.named_file_len() == end
    }

    /// Returns whether pages have no access, since a fault was reported.
    pub(crate) fn has_lost_pages(&self) -> bool {
        self.registration.lost().is_some()
    }

    /// Takes the faults of the map that were not reported yet, those of all threads. Their pages have no
    /// access from then on.
    ///
    /// See [`guard`] for an example.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        if guard::is_pending() {
            self.registration.take_faults()
        } else {
            Vec::new()
        }
    }

    /// Checks that no page of the map was gone when it was accessed, on any thread, so far.
    ///
    /// ```
    /// use mapcall_array::{MapOptions, guard};
    ///
    /// # #[cfg(target_os = "linux")] {
    /// guard::install()?;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no typed view of the array exists while the file becomes shorter.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// map.check()?;
    /// file.as_file().set_len(0)?;
    /// // SAFETY: the first byte belongs to the map.
    /// let _ = unsafe { array.as_ptr().read_volatile() };
    /// assert!(map.check().is_err());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Fault`](crate::Error::Fault) with the first fault that was not reported yet, or else
    /// [`MapError::Lost`] if an earlier fault was.
    pub fn check(&self) -> Result<()> {
        if let Some(fault) = self.faults().into_iter().next() {
            return Err(Box::new(fault).into());
        }
        match self.registration.lost() {
            Some(reason) => Err(self.error(MapError::Lost { reason })),
            None => Ok(()),
        }
    }
}
