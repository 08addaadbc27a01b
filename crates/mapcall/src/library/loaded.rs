//! The loaded libraries: one shared object for each.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use mapcall_array::fork::Mutex;

use super::sys::Handle;

/// The loaded libraries by the loader's handle, of which there is one for each library.
static LOADED: Mutex<BTreeMap<usize, Weak<Loaded>>> = Mutex::new(BTreeMap::new());

/// A library that stays loaded until this is dropped.
pub(super) struct Loaded {
    handle: Handle,
    path: Option<PathBuf>,
    /// The exported functions of a library whose file has been removed.
    exports: Option<BTreeSet<String>>,
}

impl Loaded {
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn exports(&self) -> Option<&BTreeSet<String>> {
        self.exports.as_ref()
    }

    pub(super) fn is_process(&self) -> bool {
        self.handle.is_process()
    }
}

/// Returns the object of a library: the one that is in use already, or a new one.
pub(super) fn share(
    handle: Handle,
    path: Option<PathBuf>,
    exports: Option<BTreeSet<String>>,
) -> Arc<Loaded> {
    let key = handle.key();
    let mut known = LOADED.lock();
    if let Some(loaded) = known.get(&key).and_then(Weak::upgrade) {
        // Releases the lock, then drops `handle`, which decrements the loader's count.
        return loaded;
    }
    let loaded = Arc::new(Loaded {
        handle,
        path,
        exports,
    });
    known.insert(key, Arc::downgrade(&loaded));
    loaded
}

/// Keeps all libraries that are loaded now until the process ends.
pub(super) fn keep_all() {
    for loaded in LOADED.lock().values().filter_map(Weak::upgrade) {
        mem::forget(loaded);
    }
}

impl Drop for Loaded {
    /// Removes the library from the list. Its handle is dropped after this, without the lock, because the
    /// library's terminators may run any code.
    fn drop(&mut self) {
        let key = self.handle.key();
        let mut known = LOADED.lock();
        // Another thread may have loaded the library again and replaced the entry.
        if known.get(&key).is_some_and(|weak| weak.strong_count() == 0) {
            known.remove(&key);
        }
    }
}
