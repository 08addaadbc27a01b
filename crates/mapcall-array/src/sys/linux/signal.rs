//! Handlers for the signals of failed memory accesses: SIGBUS and SIGSEGV.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use libc::{sigaction, siginfo_t, sigset_t, ucontext_t};

use crate::fork::Mutex;
use crate::sys::{Access, Repair};

static REPAIR: OnceLock<Repair> = OnceLock::new();

/// The signals, each with its handlers.
static SIGNALS: [Signal; 2] = [Signal::new(libc::SIGBUS), Signal::new(libc::SIGSEGV)];

/// Held while handlers are installed or removed.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A signal, and the actions that others have set for it.
struct Signal {
    number: c_int,
    /// The action that our handler was laid over; null before.
    previous: AtomicPtr<sigaction>,
    /// The first of these actions, which was not set by a library that knows our handler.
    first: AtomicPtr<sigaction>,
}

/// Installs the handlers, or lays them over handlers that were installed since. A library that has replaced
/// them may pass signals on to them; such a circle is broken by [`first`](Signal::first).
pub(crate) fn install_handlers(repair: Repair) -> io::Result<()> {
    let repair = *REPAIR.get_or_init(|| repair);
    debug_assert!(REPAIR.get() == Some(&repair), "there is one");
    let _alone = INSTALLING.lock();
    SIGNALS.iter().try_for_each(Signal::install)
}

/// Removes the handlers where they are the current ones, and sets the actions that they were laid over.
pub(crate) fn remove_handlers() -> io::Result<()> {
    let _alone = INSTALLING.lock();
    SIGNALS.iter().try_for_each(Signal::remove)
}

/// Returns whether the handlers are the current ones of both signals.
pub(crate) fn has_handlers() -> bool {
    let is_ours = |signal: &Signal| signal.current().is_ok_and(|action| is_ours(&action));
    SIGNALS.iter().all(is_ours)
}

impl Signal {
    const fn new(number: c_int) -> Self {
        Self {
            number,
            previous: AtomicPtr::new(ptr::null_mut()),
            first: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn current(&self) -> io::Result<sigaction> {
        let mut action = MaybeUninit::uninit();
        // SAFETY: a null action changes nothing, and `action` is valid for writes.
        let failed = unsafe { libc::sigaction(self.number, ptr::null(), action.as_mut_ptr()) };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has succeeded, so it has written the action.
        Ok(unsafe { action.assume_init() })
    }

    fn set(&self, action: &sigaction) -> io::Result<()> {
        // SAFETY: the action is one that `sigaction` returned, or has our handler, which may be called at any
        // time. The address of the old action may be null.
        match unsafe { libc::sigaction(self.number, action, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn install(&self) -> io::Result<()> {
        let current = self.current()?;
        if is_ours(&current) {
            return Ok(());
        }
        // A handler may read the former ones at any time, so they are never freed.
        let previous = Box::into_raw(Box::new(current));
        self.previous.store(previous, Ordering::Release);
        let null = ptr::null_mut();
        let _ = self
            .first
            .compare_exchange(null, previous, Ordering::AcqRel, Ordering::Acquire);
        let mut action = current;
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_signal;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: `sa_mask` is valid for writes.
        unsafe { libc::sigemptyset(&raw mut action.sa_mask) };
        self.set(&action)
    }

    fn remove(&self) -> io::Result<()> {
        let previous = self.previous.load(Ordering::Acquire);
        if previous.is_null() || !is_ours(&self.current()?) {
            return Ok(());
        }
        // SAFETY: `previous` points to an action that is never freed.
        self.set(unsafe { &*previous })
    }
}

fn is_ours(action: &sigaction) -> bool {
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_signal;
    action.sa_sigaction == handler as usize
}

/// The handler of both signals: repairs an access, or hands the signal on.
extern "C" fn on_signal(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the function takes no arguments, and the address is valid as long as the thread lives.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the address is that of the thread's `errno`.
    let saved = unsafe { errno.read() };
    // SAFETY: the system calls a handler with SA_SIGINFO with the address of a `siginfo_t`.
    let cause = unsafe { &*info };
    // SAFETY: `context` is the third argument of this handler.
    let access = unsafe { access(number, cause, context.cast()) };
    let is_repaired = match (access, REPAIR.get()) {
        (Some(access), Some(repair)) => repair(access),
        _ => false,
    };
    if !is_repaired {
        // SAFETY: the arguments are those of this handler.
        unsafe { hand_on(number, info, context) };
    }
    // SAFETY: the address is that of the thread's `errno`.
    unsafe { errno.write(saved) };
}

/// Returns the access that caused a signal; `None` if it was sent, or has another cause than a page.
///
/// # Safety
///
/// `context` is the third argument of a handler.
unsafe fn access(number: c_int, info: &siginfo_t, context: *const ucontext_t) -> Option<Access> {
    // Of `<asm-generic/siginfo.h>`; the crate `libc` has them for some systems only.
    const BUS_ADRERR: c_int = 2;
    const SEGV_ACCERR: c_int = 2;
    let is_missing = match (number, info.si_code) {
        (libc::SIGBUS, BUS_ADRERR) => true,
        (libc::SIGSEGV, SEGV_ACCERR) => false,
        _ => return None,
    };
    // SAFETY: both signals have an address if the system itself has raised them.
    let address = unsafe { info.si_addr() }.addr();
    // SAFETY: the caller guarantees that `context` is the third argument of a handler.
    let is_write = unsafe { is_write(context) };
    Some(Access {
        address,
        is_missing,
        is_write,
    })
}

/// Returns whether the access was a write: bit 1 of the page fault's error code (Intel 64 and IA-32
/// Architectures Software Developer's Manual, volume 3, 4.7).
///
/// # Safety
///
/// `context` is the third argument of a handler.
#[cfg(target_arch = "x86_64")]
unsafe fn is_write(context: *const ucontext_t) -> Option<bool> {
    // SAFETY: the caller guarantees that `context` points to a context.
    let context = unsafe { &*context };
    let error = context
        .uc_mcontext
        .gregs
        .get(usize::try_from(libc::REG_ERR).ok()?)?;
    Some(error & 2 != 0)
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn is_write(_: *const ucontext_t) -> Option<bool> {
    None
}

/// Passes a signal to the action that our handler was laid over, as the system would.
///
/// # Safety
///
/// The arguments are those of a handler.
unsafe fn hand_on(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(signal) = SIGNALS.iter().find(|signal| signal.number == number) else {
        return;
    };
    let mark = Running::mark();
    let chosen = match mark {
        Some(_) => &signal.previous,
        // The action has passed the signal to our handler, which has passed it there.
        None => &signal.first,
    };
    let action = chosen.load(Ordering::Acquire);
    // SAFETY: `action` was stored before our handler was installed, and is never freed.
    let action = unsafe { *action };
    // SAFETY: the caller guarantees that `info` is an argument of a handler.
    let is_sent = unsafe { (*info).si_code } <= 0;
    match action.sa_sigaction {
        libc::SIG_IGN if is_sent => {}
        // The system does not ignore a failed access: it acts as for SIG_DFL.
        libc::SIG_DFL | libc::SIG_IGN => default(signal, is_sent),
        handler => {
            if action.sa_flags & libc::SA_RESETHAND != 0 {
                let mut reset = action;
                reset.sa_sigaction = libc::SIG_DFL;
                reset.sa_flags &= !(libc::SA_RESETHAND | libc::SA_SIGINFO);
                chosen.store(Box::into_raw(Box::new(reset)), Ordering::Release);
            }
            let context: *mut ucontext_t = context.cast();
            // SAFETY: the caller guarantees that `context` is an argument of a handler.
            let before = unsafe { (*context).uc_sigmask };
            let during = mask_during(before, &action, number);
            // The mask of our own handler, which is set again for the rest of it.
            let mut own = before;
            // SAFETY: both masks are valid.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const during, &raw mut own) };
            // SAFETY: `handler` was set for this signal by another library, with the flags of `action`.
            unsafe { call(handler, action.sa_flags, number, info, context.cast()) };
            // SAFETY: the mask is the one that was set before; a null address is allowed.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const own, ptr::null_mut()) };
        }
    }
}

/// Returns the mask with which the system would call an action's handler.
fn mask_during(before: sigset_t, action: &sigaction, number: c_int) -> sigset_t {
    /// The number of signals.
    const SIGNALS: c_int = 64;
    let mut mask = before;
    for each in 1..=SIGNALS {
        // SAFETY: the mask is valid, and `each` is the number of a signal.
        if unsafe { libc::sigismember(&raw const action.sa_mask, each) } == 1 {
            // SAFETY: the mask is valid, and `each` is the number of a signal.
            unsafe { libc::sigaddset(&raw mut mask, each) };
        }
    }
    if action.sa_flags & libc::SA_NODEFER == 0 {
        // SAFETY: the mask is valid, and `number` is that of a signal.
        unsafe { libc::sigaddset(&raw mut mask, number) };
    }
    mask
}

/// Calls the handler of an action.
///
/// # Safety
///
/// `handler` and `flags` are those of an action for the signal, and the arguments are those of a handler.
unsafe fn call(
    handler: usize,
    flags: c_int,
    number: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) {
    let handler: *const () = ptr::with_exposed_provenance(handler);
    if flags & libc::SA_SIGINFO == 0 {
        // SAFETY: without SA_SIGINFO the handler has one parameter.
        let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
        handler(number);
    } else {
        // SAFETY: with SA_SIGINFO the handler has three parameters.
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
            unsafe { std::mem::transmute(handler) };
        handler(number, info, context);
    }
}

/// Ends the process by the signal, as the system does by default.
fn default(signal: &Signal, is_sent: bool) {
    // SAFETY: all bytes zero are a valid action: SIG_DFL, without flags.
    let action: sigaction = unsafe { std::mem::zeroed() };
    // It can't fail: the number is valid, and so is the action.
    let _ = signal.set(&action);
    // The access is repeated when our handler returns. A signal that was sent is sent again, and arrives
    // then, as it is blocked until our handler returns.
    if is_sent {
        // SAFETY: the number is that of a signal.
        unsafe { libc::raise(signal.number) };
    }
}

/// The number of threads that can hand on a signal at a time with their circles detected.
const THREADS: usize = 16;

/// The threads that are handing on a signal, and the address of a variable of the handler that does.
static HANDING_ON: [(AtomicI32, AtomicUsize); THREADS] =
    [const { (AtomicI32::new(0), AtomicUsize::new(0)) }; THREADS];

/// Marks the thread as one that hands on a signal.
struct Running(Option<&'static AtomicI32>);

impl Running {
    /// Returns `None` if a handler further up the stack hands on a signal on this thread.
    fn mark() -> Option<Self> {
        let here = 0_u8;
        let here = (&raw const here).addr();
        // SAFETY: `gettid` has no arguments and always succeeds.
        let thread = unsafe { libc::gettid() };
        let is_own = |entry: &&(AtomicI32, AtomicUsize)| entry.0.load(Ordering::Relaxed) == thread;
        if let Some((_, stack)) = HANDING_ON.iter().find(is_own) {
            // A handler that left by `longjmp` has not removed its mark. The stack grows downwards, so it is
            // no caller of this one.
            if here < stack.load(Ordering::Relaxed) {
                return None;
            }
            stack.store(here, Ordering::Relaxed);
            return Some(Self(None));
        }
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let free = HANDING_ON.iter().find(|(owner, _)| {
            let claimed = owner.compare_exchange(0, thread, order.0, order.1);
            claimed.is_ok()
        });
        if let Some((_, stack)) = free {
            stack.store(here, Ordering::Relaxed);
        }
        Some(Self(free.map(|(owner, _)| owner)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(owner) = self.0 {
            owner.store(0, Ordering::Release);
        }
    }
}
