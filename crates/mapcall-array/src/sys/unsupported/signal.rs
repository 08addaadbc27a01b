//! The signals of failed memory accesses, for which this system has no handlers here.

use std::io;

use super::unsupported;
use crate::sys::Repair;

pub(crate) fn install_handlers(_: Repair) -> io::Result<()> {
    Err(unsupported())
}

pub(crate) fn remove_handlers() -> io::Result<()> {
    Ok(())
}

pub(crate) fn has_handlers() -> bool {
    false
}
