//! One object for each library that the loader has loaded for us.

use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use mapcall_array::fork::Mutex;

use super::sys::Handle;

/// What is loaded, by the loader's handle: it has one for each library.
static LOADED: Mutex<BTreeMap<usize, Weak<Loaded>>> = Mutex::new(BTreeMap::new());

/// A library that is loaded until this is dropped.
pub(super) struct Loaded {
    handle: Handle,
    path: Option<PathBuf>,
}

impl Loaded {
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn is_process(&self) -> bool {
        self.handle.is_process()
    }
}

/// The object that others have already for this library, else a new one.
pub(super) fn share(handle: Handle, path: Option<PathBuf>) -> Arc<Loaded> {
    let key = handle.key();
    let mut known = LOADED.lock();
    if let Some(loaded) = known.get(&key).and_then(Weak::upgrade) {
        // Lets the lock go, then this handle: the loader counts one less.
        return loaded;
    }
    let loaded = Arc::new(Loaded { handle, path });
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
    /// Forgets the library; its handle is dropped after this, without the lock, because terminators
    /// may do anything.
    fn drop(&mut self) {
        let key = self.handle.key();
        let mut known = LOADED.lock();
        // Another thread may have loaded the library again, and taken the place.
        if known.get(&key).is_some_and(|weak| weak.strong_count() == 0) {
            known.remove(&key);
        }
    }
}
