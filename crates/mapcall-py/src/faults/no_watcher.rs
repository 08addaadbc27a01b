//! Systems whose failed accesses the guard does not handle: there is nothing to watch.

pub(super) fn prepare() {}

pub(super) fn wake() {}
