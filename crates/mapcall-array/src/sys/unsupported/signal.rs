//! The signals of failed memory accesses, for which this system has no handlers here.

use std::io;

use super::unsupported;

/// A memory access that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) address: usize,
    pub(crate) is_missing: bool,
    pub(crate) is_write: Option<bool>,
}

/// A function that repairs the page of a failed access.
pub(crate) type Repair = fn(Access) -> bool;

pub(crate) fn install_handlers(_: Repair) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn remove_handlers() -> io::Result<()> {
    Ok(())
}

pub(crate) fn has_handlers() -> bool {
    false
}
