//! Systems whose failed accesses the guard does not handle: there is nothing to watch.

use mapcall_array::guard::ThreadId;

pub(super) fn prepare() {}

pub(super) fn wake() -> bool {
    false
}

pub(super) fn wait_for_mark(_: ThreadId) {}
