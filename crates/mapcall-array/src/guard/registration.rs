//! The registration of a map, which lasts as long as its addresses are mapped.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::ops::Range;
use std::path::PathBuf;
use std::ptr;

use super::fault::{Fault, Reason};
use super::registry::{Locked, MappedFile, Slot};
use super::{log, report};
use crate::mode::Mode;
use crate::sys;

/// A range of addresses that is registered until this value is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    slot: &'static Slot,
    file: Box<MappedFile>,
}

impl Registration {
    /// Registers a range of addresses of a region at which a file is mapped from byte `start` on.
    pub(crate) fn new(
        addresses: Range<usize>,
        path: Option<PathBuf>,
        identity: sys::Identity,
        mode: Mode,
        page: usize,
        start: u64,
    ) -> Self {
        let name = path.as_ref().and_then(|path| {
            let name = path.as_os_str().as_encoded_bytes();
            CString::new(name).ok()
        });
        let file = Box::new(MappedFile {
            path,
            name,
            identity,
            mode,
            page,
            start,
        });
        // SAFETY: the facts are on the heap, and are freed after `drop` has given the slot back.
        let slot = unsafe { Locked::new().take(addresses, ptr::from_ref(&*file)) };
        Self { slot, file }
    }

    pub(crate) fn file(&self) -> &MappedFile {
        &self.file
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.slot.is_closed()
    }

    /// Records that the map is closed, before its pages are replaced.
    pub(crate) fn close(&self) {
        self.slot.close();
    }

    /// Sets the end of the range, which has grown.
    pub(crate) fn set_end(&self, end: usize) {
        self.slot.set_end(end);
    }

    /// Takes the faults of the map that were not reported yet.
    pub(crate) fn take_faults(&self) -> Vec<Fault> {
        let map = self.slot.addresses();
        report::take(|pending| pending.map == map)
    }

    /// Returns the reason for which pages of the map are sealed; `None` if none are.
    pub(crate) fn lost(&self) -> Option<Reason> {
        match self.slot.lost() {
            0 => None,
            reason => Some(Reason::from_number(reason)),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut locked = Locked::new();
        if log::is_pending() {
            report::keep(|record| {
                ptr::eq(record.slot, self.slot) && record.version == self.slot.version()
            });
        }
        locked.give_back(self.slot);
    }
}
