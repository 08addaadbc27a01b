use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The time since the first call, as the system's own count of a thread's time is not asked for.
pub(crate) fn thread_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}
