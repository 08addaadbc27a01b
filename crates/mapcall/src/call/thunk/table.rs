//! Thunks in this library's own code, which need no page that is first written and then made executable.
//!
//! A thunk does the same as the code that libffi writes into a closure: it loads the closure's address into
//! the register in which libffi's entry expects it (r10 on x86-64, x17 on `AArch64`: registers that no
//! argument is passed in, System V x86-64 psABI 3.2.3 and AAPCS64 6.1.1), and jumps to that entry. The
//! closure is at a fixed distance from the thunk. So the same code at another address serves other
//! closures: further tables are the pages of the first one, mapped once more.
#![allow(unsafe_code)]

use std::arch::naked_asm;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use libffi_sys::ffi_closure;

use super::Thunk;

/// The number of thunks in a table.
const COUNT: usize = 4096;

/// The maximum number of tables, enough for four million closures.
const MAX_TABLES: usize = 1024;

/// The distance from one closure to the next, in bytes.
const STRIDE: usize = 64;

/// The size of the architecture's largest base pages, in bytes. The code starts at a page, as only whole
/// pages can be mapped again.
const PAGE: usize = if cfg!(target_arch = "x86_64") {
    4 << 10
} else {
    64 << 10
};

/// The distance from one thunk to the next, in bytes.
const THUNK: usize = if cfg!(target_arch = "x86_64") { 16 } else { 32 };

/// The offset in a closure of the address of libffi's entry; and the offset and bytes of the instruction in
/// libffi's own code that loads this address (`ffi_prep_closure_loc`, src/x86/ffi64.c and
/// src/aarch64/ffi.c).
pub(super) const ENTRY: usize = if cfg!(target_arch = "x86_64") { 24 } else { 16 };
const LOAD: (usize, &[u8]) = if cfg!(target_arch = "x86_64") {
    (11, &[0xff, 0x25, 0x07, 0, 0, 0])
} else {
    (0, &[0x90, 0x00, 0x00, 0x58])
};

const CODE_BYTES: usize = COUNT * THUNK;
const DATA_BYTES: usize = COUNT * STRIDE;

const _: () = assert!(size_of::<ffi_closure>() <= STRIDE);
const _: () = assert!(CODE_BYTES.is_multiple_of(PAGE) && DATA_BYTES.is_multiple_of(PAGE));

/// The closures of the first table.
#[repr(C, align(65536))]
struct Closures(UnsafeCell<[u8; DATA_BYTES]>);

// SAFETY: each closure is allocated to one thunk, which writes it in `prepare` before C can enter it.
unsafe impl Sync for Closures {}

static CLOSURES: Closures = Closures(UnsafeCell::new([0; DATA_BYTES]));

/// The code of the first table; it begins at the first page boundary in here.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn thunks() {
    naked_asm!(
        ".balign {page}",
        ".set .Lmapcall_closure, 0",
        ".rept {count}",
        "endbr64",
        "lea r10, [rip + {closures} + .Lmapcall_closure]",
        "jmp [r10 + {entry}]",
        ".balign {thunk}",
        ".set .Lmapcall_closure, .Lmapcall_closure + {stride}",
        ".endr",
        ".balign {page}",
        page = const PAGE,
        count = const COUNT,
        closures = sym CLOSURES,
        entry = const ENTRY,
        thunk = const THUNK,
        stride = const STRIDE,
    )
}

/// The code of the first table; it begins at the first page boundary in here.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn thunks() {
    naked_asm!(
        ".balign {page}",
        ".set .Lmapcall_closure, 0",
        ".rept {count}",
        // `bti c`, which older processors execute as a `nop`.
        "hint #34",
        "adrp x17, {closures} + .Lmapcall_closure",
        "add x17, x17, :lo12:{closures} + .Lmapcall_closure",
        "ldr x16, [x17, #{entry}]",
        "br x16",
        ".balign {thunk}",
        ".set .Lmapcall_closure, .Lmapcall_closure + {stride}",
        ".endr",
        ".balign {page}",
        page = const PAGE,
        count = const COUNT,
        closures = sym CLOSURES,
        entry = const ENTRY,
        thunk = const THUNK,
        stride = const STRIDE,
    )
}

/// The addresses of a table's code and closures.
#[derive(Clone, Copy)]
struct Table {
    code: *mut u8,
    closures: *mut u8,
}

/// The code of the tables after the first one; null for those that don't exist yet.
static FURTHER: [AtomicPtr<u8>; MAX_TABLES - 1] = [const { AtomicPtr::new(ptr::null_mut()) }; _];

pub(super) fn allocate() -> Option<Thunk> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut next = NEXT.load(Ordering::Relaxed);
    loop {
        let table = table(next / COUNT)?;
        let taken = next + 1;
        match NEXT.compare_exchange_weak(next, taken, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return table.thunk(next % COUNT),
            Err(other) => next = other,
        }
    }
}

/// Returns whether this version of libffi stores the address of its entry where the thunks load it from.
///
/// # Safety
///
/// `closure` is valid for reads of a closure that libffi has prepared.
pub(super) unsafe fn fits(closure: NonNull<ffi_closure>) -> bool {
    let (offset, load) = LOAD;
    let code: NonNull<[u8; ENTRY]> = closure.cast();
    // SAFETY: the caller guarantees that the closure can be read. It starts with its code, which has more than
    // `ENTRY` bytes.
    let code = unsafe { code.as_ref() };
    code.get(offset..)
        .is_some_and(|code| code.starts_with(load))
}

impl Table {
    fn first() -> Self {
        let code = thunks as *mut u8;
        Self {
            code: code.wrapping_add(code.addr().next_multiple_of(PAGE) - code.addr()),
            closures: CLOSURES.0.get().cast(),
        }
    }

    fn thunk(self, index: usize) -> Option<Thunk> {
        let closure = self.closures.wrapping_add(index * STRIDE).cast();
        let code = self.code.wrapping_add(index * THUNK).cast();
        Some(Thunk {
            closure: NonNull::new(closure)?,
            code: NonNull::new(code)?,
        })
    }

    /// Returns the table whose code is at an address.
    fn at(code: *mut u8) -> Self {
        let first = Self::first();
        let distance = first.closures.addr().wrapping_sub(first.code.addr());
        Self {
            code,
            closures: code.wrapping_add(distance),
        }
    }

    /// Maps the code of the first table at another address, with closures of its own.
    fn further() -> Option<Self> {
        Self::map(|first, code| {
            // Maps the same pages a second time, which needs no file and no permission to write code. Linux
            // does this for pages of files since version 5.13.
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
            let (first, to) = (first.cast(), code.cast::<c_void>());
            // SAFETY: the target range was reserved above, so nothing else is mapped there. The source
            // range stays mapped (`MREMAP_DONTUNMAP`): a thread that executes it faults its pages in
            // again from the file.
            let mapped = unsafe { libc::mremap(first, CODE_BYTES, CODE_BYTES, flags, to) };
            mapped == to
        })
        .or_else(|| {
            Self::map(|first, code| {
                if !protect(code, CODE_BYTES, libc::PROT_READ | libc::PROT_WRITE) {
                    return false;
                }
                // SAFETY: the first table has `CODE_BYTES` bytes of code, and `code` is a mapping of as many,
                // which was just made writable and nothing uses yet. They don't overlap.
                unsafe { ptr::copy_nonoverlapping(first, code, CODE_BYTES) };
                protect(code, CODE_BYTES, libc::PROT_READ | libc::PROT_EXEC)
            })
        })
    }

    /// Reserves addresses for a table. `copy` maps the first table's code there, and returns whether it
    /// could.
    fn map(copy: impl Fn(*mut u8, *mut u8) -> bool) -> Option<Self> {
        let first = Self::first();
        let start = first.code.min(first.closures);
        let end = first.code.wrapping_add(CODE_BYTES);
        let end = end.max(first.closures.wrapping_add(DATA_BYTES));
        let length = end.addr() - start.addr();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address that the system chooses changes no other mapping.
        let reserved =
            unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if reserved == libc::MAP_FAILED {
            return None;
        }
        let reserved = reserved.cast::<u8>();
        let table = Self::at(reserved.wrapping_add(first.code.addr() - start.addr()));
        let (code, closures) = (table.code, table.closures);
        let between = if code < closures {
            code.wrapping_add(CODE_BYTES)..closures
        } else {
            closures.wrapping_add(DATA_BYTES)..code
        };
        unmap(between.start, between.end.addr() - between.start.addr());
        if protect(closures, DATA_BYTES, libc::PROT_READ | libc::PROT_WRITE)
            && copy(first.code, code)
        {
            return Some(table);
        }
        // A kernel that refuses the second mapping may have unmapped the target range already, and another
        // thread may have mapped something there. So the range of the code is not unmapped.
        unmap(closures, DATA_BYTES);
        None
    }
}

/// Returns the table of a number, which is made at the first use; `None` if that fails or it is beyond
/// [`MAX_TABLES`].
fn table(number: usize) -> Option<Table> {
    let Some(number) = number.checked_sub(1) else {
        return Some(Table::first());
    };
    let known = FURTHER.get(number)?;
    let code = known.load(Ordering::Acquire);
    if !code.is_null() {
        return Some(Table::at(code));
    }
    let table = Table::further()?;
    let (none, order) = (ptr::null_mut(), Ordering::AcqRel);
    match known.compare_exchange(none, table.code, order, Ordering::Acquire) {
        Ok(_) => Some(table),
        // Another thread has made the table meanwhile.
        Err(code) => {
            unmap(table.code, CODE_BYTES);
            unmap(table.closures, DATA_BYTES);
            Some(Table::at(code))
        }
    }
}

fn protect(address: *mut u8, length: usize, protection: i32) -> bool {
    // SAFETY: the range belongs to a table that is being made, so that no code or data in it is in use.
    unsafe { libc::mprotect(address.cast(), length, protection) == 0 }
}

fn unmap(address: *mut u8, length: usize) {
    // SAFETY: the range belongs to a reservation or a table that was not published, so that nothing in it is
    // in use.
    unsafe { libc::munmap(address.cast(), length) };
}
