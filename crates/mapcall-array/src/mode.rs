//! The modes in which a file is opened.

use std::fmt;

/// The mode in which a file is opened, with the names of `numpy.memmap`.
///
/// ```
/// use mapcall_array::Mode;
///
/// assert_eq!("readwrite".parse::<Mode>()?, Mode::ReadWrite);
/// assert_eq!(Mode::CopyOnWrite.to_string(), "c");
/// # Ok::<(), mapcall_array::map::MapError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// `r`: an existing file, for reading.
    Read,
    /// `r+`: an existing file, for reading and writing; it grows to hold the array.
    #[default]
    ReadWrite,
    /// `w+`: a new file, or an existing one emptied first.
    Write,
    /// `c`: an existing file; changes of the array stay in memory and don't reach the file.
    CopyOnWrite,
}

impl Mode {
    /// Returns NumPy's short name: `r`, `r+`, `w+` or `c`.
    ///
    /// ```
    /// # use mapcall_array::Mode;
    /// assert_eq!(Mode::ReadWrite.as_str(), "r+");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::ReadWrite => "r+",
            Self::Write => "w+",
            Self::CopyOnWrite => "c",
        }
    }

    /// Returns whether the array may be written to.
    ///
    /// ```
    /// # use mapcall_array::Mode;
    /// assert!(Mode::CopyOnWrite.is_writeable());
    /// assert!(!Mode::Read.is_writeable());
    /// ```
    #[must_use]
    pub const fn is_writeable(self) -> bool {
        !matches!(self, Self::Read)
    }

    /// Returns whether writes to the array change the file.
    ///
    /// ```
    /// # use mapcall_array::Mode;
    /// assert!(Mode::ReadWrite.writes_file());
    /// assert!(!Mode::CopyOnWrite.writes_file());
    /// ```
    #[must_use]
    pub const fn writes_file(self) -> bool {
        matches!(self, Self::ReadWrite | Self::Write)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
