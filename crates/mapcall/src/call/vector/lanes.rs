//! Copies of values that do not lie in memory as registers hold them.

use std::mem::MaybeUninit;
use std::ptr;

use super::blocks::VECTORS;
use super::registers::ADDRESS;

/// The size of the copies of the lanes of one register, in bytes.
const COPIED: usize = 1024;

/// Memory for copies of the parameters and results of consecutive blocks.
#[repr(C, align(64))]
pub(super) struct Copies(MaybeUninit<[[u8; COPIED]; VECTORS + 1]>);

impl Copies {
    pub(super) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Returns the number of blocks with registers of a width that are copied at once.
    pub(super) fn blocks(width: usize) -> usize {
        COPIED / width
    }

    /// Returns the memory of the parameter whose first register has that number, with the first `bytes` bytes zeroed.
    /// Results are behind the last register.
    pub(super) fn zeroed(&mut self, register: usize, bytes: usize) -> *mut u8 {
        let offset = register.min(VECTORS) * COPIED;
        let address = self.0.as_mut_ptr().cast::<u8>().wrapping_add(offset);
        // SAFETY: the bytes are inside the memory.
        unsafe { address.write_bytes(0, bytes.min((VECTORS + 1) * COPIED - offset)) };
        address
    }
}

/// Values in memory at regular distances, one for each lane of consecutive blocks.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    /// The address of the value of the first lane of the next block.
    pub(super) address: *mut u8,
    /// The distance between two lanes, in bytes.
    pub(super) stride: isize,
    /// The size of a value: 1, 2, 4 or 8 bytes. If it is 0, the lanes are the addresses themselves.
    pub(super) size: usize,
    /// The distance between two lanes in a register, in bytes: no less than the size.
    pub(super) spacing: usize,
    /// The number of lanes of a block.
    pub(super) count: usize,
    /// The number of lanes in use: the others are copies of the first one.
    pub(super) used: usize,
    /// The first register of a parameter; for results, the one behind the last.
    pub(super) register: usize,
    /// The size of a block's registers, in bytes.
    pub(super) block: usize,
}

impl Lanes {
    /// Returns whether the values fill registers of this width as they lie in memory.
    pub(super) fn is_direct(&self, width: usize) -> bool {
        let bytes = self.count * self.size;
        let spacing = self.spacing.cast_signed();
        bytes >= width
            && self.stride == spacing
            && self.size == self.spacing
            && self.used == self.count
    }

    /// Copies the values of `blocks` blocks.
    ///
    /// # Safety
    ///
    /// The addresses of all lanes are valid for reads of their values, and the copies for writes of all blocks.
    pub(super) unsafe fn gather(&self, copies: *mut u8, blocks: usize) {
        if self.size == 0 {
            self.each(copies, blocks, |from, to| {
                let address = from.expose_provenance() as u64;
                // SAFETY: the caller guarantees that the copies have all lanes.
                unsafe { copy((&raw const address).cast(), to, ADDRESS) };
            });
        } else {
            self.each(copies, blocks, |from, to| {
                // SAFETY: the caller guarantees that the lanes can be read, and that the copies have all of them.
                unsafe { copy(from, to, self.size) };
            });
        }
        for lane in self.used..self.count {
            // SAFETY: the caller guarantees that the copies have all lanes, of which this is not the first. If there
            // are unused lanes, there is one block.
            unsafe {
                copy(
                    copies,
                    copies.wrapping_add(lane * self.spacing),
                    self.spacing,
                );
            };
        }
    }

    /// Copies the results of `blocks` blocks to memory.
    ///
    /// # Safety
    ///
    /// The addresses of all lanes are valid for writes of their values, and the copies for reads of all blocks.
    pub(super) unsafe fn scatter(&self, copies: *mut u8, blocks: usize) {
        self.each(copies, blocks, |to, from| {
            // SAFETY: the caller guarantees that the lanes can be written, and that the copies have all of them.
            unsafe { copy(from, to, self.size) };
        });
    }

    /// Calls a function with the address of each lane in use, and with that of its copy.
    #[inline]
    fn each(&self, copies: *mut u8, blocks: usize, visit: impl Fn(*mut u8, *mut u8)) {
        let mut address = self.address;
        for block in 0..blocks {
            let copies = copies.wrapping_add(block * self.block);
            for lane in 0..self.used {
                visit(address, copies.wrapping_add(lane * self.spacing));
                address = address.wrapping_offset(self.stride);
            }
        }
    }

    /// Moves on by a number of blocks.
    pub(super) fn advance(&mut self, blocks: usize) {
        let lanes = (self.count * blocks).cast_signed();
        self.address = self
            .address
            .wrapping_offset(self.stride.wrapping_mul(lanes));
    }
}

/// Copies a value of 1, 2, 4 or 8 bytes.
///
/// # Safety
///
/// `from` is valid for reads of `size` bytes, and `to` for writes. They don't overlap.
#[inline]
unsafe fn copy(from: *const u8, to: *mut u8, size: usize) {
    match size {
        // SAFETY: the caller guarantees that 8 bytes can be read and written.
        8 => unsafe { ptr::copy_nonoverlapping(from, to, 8) },
        // SAFETY: the caller guarantees that 4 bytes can be read and written.
        4 => unsafe { ptr::copy_nonoverlapping(from, to, 4) },
        // SAFETY: the caller guarantees that `size` bytes can be read and written.
        _ => unsafe { ptr::copy_nonoverlapping(from, to, size) },
    }
}
