//! Handlers for SIGINT and SIGTERM, which store the signal in a flag that running work polls.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// A guard: while it lives, the first signal is stored in a flag, and a second signal ends the process.
/// Without a guard, every signal ends the process.
pub(crate) struct Interrupts {
    flags: Arc<Flags>,
    /// The lock that makes this the only guard, since the flag is global.
    _only: MutexGuard<'static, ()>,
}

struct Flags {
    /// Whether the next signal has its default effect: `true` after the first signal, and without a guard.
    is_default: Arc<AtomicBool>,
    /// The number of the last signal; 0 if there was none.
    signal: Arc<AtomicUsize>,
}

impl Interrupts {
    /// Starts to store signals in the flag.
    pub(crate) fn watch() -> io::Result<Self> {
        static ONLY: Mutex<()> = Mutex::new(());
        static FLAGS: LazyLock<io::Result<Arc<Flags>>> = LazyLock::new(Flags::register);
        let only = ONLY.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = match &*FLAGS {
            Ok(flags) => Arc::clone(flags),
            Err(error) => return Err(error.kind().into()),
        };
        flags.signal.store(0, Ordering::SeqCst);
        flags.is_default.store(false, Ordering::SeqCst);
        Ok(Self { flags, _only: only })
    }

    /// Returns the signal that the process has received since [`watch`](Self::watch).
    pub(crate) fn signal(&self) -> Option<u8> {
        self.flags.signal()
    }

    /// Returns a function that returns whether the process has received a signal.
    pub(crate) fn poll(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let flags = Arc::clone(&self.flags);
        move || flags.signal().is_some()
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.flags.is_default.store(true, Ordering::SeqCst);
    }
}

impl Flags {
    fn signal(&self) -> Option<u8> {
        match u8::try_from(self.signal.load(Ordering::SeqCst)) {
            Ok(0) | Err(_) => None,
            Ok(signal) => Some(signal),
        }
    }

    fn register() -> io::Result<Arc<Self>> {
        let is_default = Arc::new(AtomicBool::new(true));
        let last = Arc::new(AtomicUsize::new(0));
        for (signal, number) in [(SIGINT, 2), (SIGTERM, 15)] {
            // The handlers run in the order of registration: the first one tests `is_default` before the last
            // one sets it.
            flag::register_conditional_default(signal, Arc::clone(&is_default))?;
            flag::register_usize(signal, Arc::clone(&last), number)?;
            flag::register(signal, Arc::clone(&is_default))?;
        }
        // With a handler for SIGXFSZ, a write beyond the file size limit is an error (`EFBIG`), and does not
        // end the process.
        #[cfg(unix)]
        flag::register(
            signal_hook::consts::SIGXFSZ,
            Arc::new(AtomicBool::default()),
        )?;
        Ok(Arc::new(Self {
            is_default,
            signal: last,
        }))
    }
}
