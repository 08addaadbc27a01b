//! Locks that stay consistent in a forked child process.
//!
//! A child process has only the thread that forked. A lock that another thread held at that moment stays
//! locked in the child for ever, and the data that it protects may be half changed. A fork therefore waits
//! until no other thread is inside a [`Section`], and a section waits until no fork is under way
//! (`pthread_atfork`). The forking thread may hold Python's global lock, so code inside a section must not
//! wait for that lock. It must not run code of other libraries either, which belongs in a [`Foreign`]
//! section.

mod handlers;
mod thread;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{self, PoisonError};
use std::time::{Duration, Instant};

use handlers::at_fork;
pub use thread::{JoinHandle, run_with_stack, spawn, spawn_unchecked};

/// The number of threads in sections, of threads in foreign sections, and of forks under way: 24, 24
/// and 16 bits.
static STATE: AtomicU64 = AtomicU64::new(0);

const SECTION: u64 = 1;
const FOREIGN: u64 = 1 << 24;
const FORK: u64 = 1 << 48;
const THREADS: u64 = FOREIGN - 1;

/// The number of forks between the first process and this one.
static GENERATION: AtomicUsize = AtomicUsize::new(0);

/// The time that a thread sleeps before it reads the state again.
const PAUSE: Duration = Duration::from_micros(50);

/// The time that a fork waits for foreign sections. Their code may wait for a lock that the forking thread
/// holds, such as Python's, and so never end.
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    /// The numbers of sections and of foreign sections that this thread is in.
    static DEPTH: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// A section of code, until this is dropped, during which no other thread forks. Sections nest.
#[derive(Debug)]
pub struct Section(PhantomData<*const ()>);

impl Section {
    /// Begins a section; waits while another thread forks.
    #[must_use]
    pub fn enter() -> Self {
        register();
        let (own, foreign) = DEPTH.get();
        if own == 0 {
            enter(SECTION);
        }
        DEPTH.set((own + 1, foreign));
        Self(PhantomData)
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        let (own, foreign) = DEPTH.get();
        DEPTH.set((own - 1, foreign));
        if own == 1 {
            STATE.fetch_sub(SECTION, Ordering::AcqRel);
        }
    }
}

/// A section for code of other libraries, such as their initialisers. A fork waits for it for at most one
/// second, and the code may fork.
#[derive(Debug)]
pub struct Foreign(PhantomData<*const ()>);

impl Foreign {
    /// Begins a foreign section; waits while another thread forks.
    #[must_use]
    pub fn enter() -> Self {
        register();
        let (own, foreign) = DEPTH.get();
        if (own, foreign) == (0, 0) {
            enter(FOREIGN);
        } else if foreign == 0 {
            STATE.fetch_add(FOREIGN, Ordering::AcqRel);
        }
        DEPTH.set((own, foreign + 1));
        Self(PhantomData)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let (own, foreign) = DEPTH.get();
        DEPTH.set((own, foreign - 1));
        if foreign == 1 {
            STATE.fetch_sub(FOREIGN, Ordering::AcqRel);
        }
    }
}

fn enter(kind: u64) {
    let enter = |state| (state < FORK).then_some(state + kind);
    while STATE
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, enter)
        .is_err()
    {
        std::thread::sleep(PAUSE);
    }
}

/// Returns the number of forks between the first process and this one. If it has changed, this process is a
/// child, in which the other threads of the parent do not exist.
///
/// ```
/// use mapcall_array::fork;
///
/// let before = fork::generation();
/// assert_eq!(fork::generation(), before);
/// ```
#[must_use]
pub fn generation() -> usize {
    register();
    GENERATION.load(Ordering::Acquire)
}

/// Returns the address of the number that [`generation`] returns, for compiled code.
#[doc(hidden)]
#[must_use]
pub fn generation_address() -> usize {
    register();
    (&raw const GENERATION).expose_provenance()
}

/// Registers the handlers below. Each thread calls this before its first section. If two threads register at
/// once, the handlers run twice for each fork, and the counts are still correct. A lock is not used here, as
/// a fork could interrupt it.
fn register() {
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
    if !IS_REGISTERED.load(Ordering::Acquire) && at_fork(prepare, parent, child) {
        IS_REGISTERED.store(true, Ordering::Release);
    }
}

/// The handler before a fork: it prevents new sections, and waits until the sections of other threads have
/// ended.
extern "C" fn prepare() {
    let (own, foreign) = DEPTH.get();
    let (own, foreign) = (u64::from(own.min(1)), u64::from(foreign.min(1)));
    STATE.fetch_add(FORK, Ordering::AcqRel);
    let start = Instant::now();
    loop {
        let state = STATE.load(Ordering::Acquire);
        let sections = state & THREADS;
        let foreigners = (state / FOREIGN) & THREADS;
        if sections <= own && (foreigners <= foreign || start.elapsed() > PATIENCE) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The handler after a fork in the parent: it allows new sections.
extern "C" fn parent() {
    STATE.fetch_sub(FORK, Ordering::AcqRel);
}

/// The handler after a fork in the child: it counts only the sections of this thread, the only one.
extern "C" fn child() {
    let (own, foreign) = DEPTH.get();
    let state = u64::from(own.min(1)) * SECTION + u64::from(foreign.min(1)) * FOREIGN;
    STATE.store(state, Ordering::Release);
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

/// A lock that no other thread holds when a process forks.
///
/// ```
/// use mapcall_array::fork::Mutex;
///
/// static NAMES: Mutex<Vec<&str>> = Mutex::new(Vec::new());
/// NAMES.lock().push("saxpy");
/// assert_eq!(*NAMES.lock(), ["saxpy"]);
/// ```
///
/// The thread that holds the lock is in a [`Section`], so it must not wait for Python's global lock.
#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Returns an unlocked lock.
    pub const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// Waits until no thread holds the lock, and holds it until the guard is dropped.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let section = Section::enter();
        MutexGuard {
            guard: self.0.lock().unwrap_or_else(PoisonError::into_inner),
            _section: section,
        }
    }
}

/// The guard of a locked [`Mutex`].
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    // Fields are dropped in this order: the lock is released before the section ends.
    guard: sync::MutexGuard<'a, T>,
    _section: Section,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
