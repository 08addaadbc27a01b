//! Calls of variants for the Scalable Vector Extension of `AArch64`.
//!
//! Rust has no types of its registers, so assembly loads and stores them. A variant takes its vectors in the first
//! vector registers and its mask in the first predicate register, and preserves what any function preserves
//! (AAPCS64 6.1.3 and 6.8.2).

#[cfg(all(abi_aapcs64, target_endian = "little"))]
mod aarch64 {
    use std::arch::asm;

    use crate::call::vector::blocks::{Blocks, Caller, VECTORS, WIDEST};

    /// Defines a function that calls a variant for consecutive blocks, with that many vector registers.
    macro_rules! caller {
        ($name:ident, $($load:literal)*) => {
            /// Calls a variant for `count` blocks.
            ///
            /// # Safety
            ///
            /// The conditions of [`Caller`], for a variant with these registers.
            unsafe fn $name(blocks: &Blocks, count: usize) {
                let mut vectors = blocks.vectors;
                let mut integers = blocks.integers;
                let mut result = blocks.result;
                // What a variant without a result leaves in the register.
                let mut dropped = [0_u8; WIDEST];
                for _ in 0..count {
                    let values = integers.map(|(value, _)| value);
                    let addresses = vectors.map(|register| register.address);
                    let returned = result.map_or(dropped.as_mut_ptr(), |result| result.address);
                    // SAFETY: the caller guarantees that the registers' bytes can be read, that the variant may be
                    // called with these values, and that the result's bytes can be written. The operands are in
                    // registers that functions preserve.
                    unsafe {
                        asm!(
                            ".arch_extension sve",
                            "ldr p0, [x24]",
                            $($load,)*
                            "ldp x0, x1, [x22]",
                            "ldp x2, x3, [x22, #16]",
                            "ldp x4, x5, [x22, #32]",
                            "ldp x6, x7, [x22, #48]",
                            "blr x20",
                            "str z0, [x23]",
                            in("x20") blocks.function,
                            in("x21") addresses.as_ptr(),
                            in("x22") values.as_ptr(),
                            in("x23") returned,
                            in("x24") blocks.predicate.as_ptr(),
                            clobber_abi("C"),
                        );
                    }
                    for register in vectors.iter_mut().chain(&mut result) {
                        register.advance(1);
                    }
                    for (value, step) in &mut integers {
                        *value = value.wrapping_add(*step);
                    }
                }
            }
        };
    }

    caller!(one, "ldr x9, [x21]" "ldr z0, [x9]");
    caller!(two, "ldp x9, x10, [x21]" "ldr z0, [x9]" "ldr z1, [x10]");
    caller!(
        four,
        "ldp x9, x10, [x21]" "ldr z0, [x9]" "ldr z1, [x10]"
        "ldp x9, x10, [x21, #16]" "ldr z2, [x9]" "ldr z3, [x10]"
    );
    caller!(
        eight,
        "ldp x9, x10, [x21]" "ldr z0, [x9]" "ldr z1, [x10]"
        "ldp x9, x10, [x21, #16]" "ldr z2, [x9]" "ldr z3, [x10]"
        "ldp x9, x10, [x21, #32]" "ldr z4, [x9]" "ldr z5, [x10]"
        "ldp x9, x10, [x21, #48]" "ldr z6, [x9]" "ldr z7, [x10]"
    );

    /// Returns the function that passes at least that number of vector registers.
    pub(in crate::call::vector) fn caller(vectors: usize) -> Option<Caller> {
        Some(match vectors {
            0 | 1 => one,
            2 => two,
            3 | 4 => four,
            5..=VECTORS => eight,
            _ => return None,
        })
    }
}

#[cfg(all(abi_aapcs64, target_endian = "little"))]
pub(super) use aarch64::caller;

/// Returns nothing: no such variants are called on this system.
#[cfg(not(all(abi_aapcs64, target_endian = "little")))]
pub(super) fn caller(_: usize) -> Option<super::blocks::Caller> {
    None
}
