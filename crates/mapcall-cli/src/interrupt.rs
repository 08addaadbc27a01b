//! Ctrl-C, as a flag that work looks at from time to time.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Signals are taken note of while one of these lives: the first one; a second one ends the process,
/// as one does at all other times.
pub(crate) struct Interrupts {
    flags: Arc<Flags>,
    /// There is one flag for the process.
    _only: MutexGuard<'static, ()>,
}

struct Flags {
    /// Whether the next signal does what it does by default: one has come, or none is waited for.
    is_default: Arc<AtomicBool>,
    /// The last signal that came.
    signal: Arc<AtomicUsize>,
}

impl Interrupts {
    /// Takes note of signals from now on.
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

    /// The signal that has come.
    pub(crate) fn signal(&self) -> Option<u8> {
        match u8::try_from(self.flags.signal.load(Ordering::SeqCst)) {
            Ok(0) | Err(_) => None,
            Ok(signal) => Some(signal),
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.flags.is_default.store(true, Ordering::SeqCst);
    }
}

impl Flags {
    fn register() -> io::Result<Arc<Self>> {
        let is_default = Arc::new(AtomicBool::new(true));
        let last = Arc::new(AtomicUsize::new(0));
        for (signal, number) in [(SIGINT, 2), (SIGTERM, 15)] {
            // In this order: the first signal finds the flag as it was.
            flag::register_conditional_default(signal, Arc::clone(&is_default))?;
            flag::register_usize(signal, Arc::clone(&last), number)?;
            flag::register(signal, Arc::clone(&is_default))?;
        }
        // A file that may not grow further is an error, and no end of the process.
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
