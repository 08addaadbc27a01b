use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Returns the time since the first call, as no call for the processor time of a thread is used on this
/// system.
pub(crate) fn thread_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}
