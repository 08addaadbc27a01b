//! The instruction sets that vector variants are made for.

use std::fmt;

/// An instruction set of vector variants.
///
/// ```
/// use mapcall::call::Isa;
///
/// assert_eq!(Isa::Avx2.to_string(), "AVX2");
/// assert_eq!(Isa::Avx2.register(), 32);
/// # if cfg!(target_arch = "x86_64") {
/// assert!(!Isa::Neon.is_available());
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// SSE on x86-64.
    Sse,
    /// AVX on x86-64.
    Avx,
    /// AVX2 on x86-64.
    Avx2,
    /// AVX-512 on x86-64.
    Avx512,
    /// The Scalable Vector Extension on `AArch64`, whose registers have another size on each processor.
    Sve,
    /// Advanced SIMD on `AArch64`.
    Neon,
}

impl Isa {
    pub(super) const ALL: [Self; 6] = [
        Self::Sse,
        Self::Avx,
        Self::Avx2,
        Self::Avx512,
        Self::Sve,
        Self::Neon,
    ];

    /// Returns the instruction set of a letter in the names of variants.
    pub(super) fn of_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.letter() == letter)
    }

    /// Returns its letter in the names of variants.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Sse => 'b',
            Self::Avx => 'c',
            Self::Avx2 => 'd',
            Self::Avx512 => 'e',
            Self::Sve => 's',
            Self::Neon => 'n',
        }
    }

    /// Returns the size of its vector registers, in bytes: for SVE that of this thread, 16 if the processor has none.
    #[must_use]
    pub fn register(self) -> usize {
        match self {
            Self::Sse | Self::Neon => 16,
            Self::Avx | Self::Avx2 => 32,
            Self::Avx512 => 64,
            Self::Sve => scalable_register().unwrap_or(16),
        }
    }

    /// Returns whether its variants may have as many lanes as the processor's registers hold.
    pub(super) fn is_scalable(self) -> bool {
        self == Self::Sve
    }

    /// Returns the size of the registers that hold integers, in bytes: AVX has no instructions for integers of
    /// 256 bits.
    pub(super) fn integer_register(self) -> usize {
        match self {
            Self::Avx => 16,
            _ => self.register(),
        }
    }

    /// Returns whether this process can run code for it.
    #[must_use]
    pub fn is_available(self) -> bool {
        // On x86-64, variants are called by the System V ABI alone.
        #[cfg(abi_system_v)]
        {
            match self {
                Self::Sse => std::arch::is_x86_feature_detected!("sse4.2"),
                Self::Avx => std::arch::is_x86_feature_detected!("avx"),
                Self::Avx2 => std::arch::is_x86_feature_detected!("avx2"),
                Self::Avx512 => std::arch::is_x86_feature_detected!("avx512f"),
                Self::Sve | Self::Neon => false,
            }
        }
        #[cfg(all(abi_aapcs64, target_endian = "little"))]
        {
            match self {
                Self::Sve => scalable_register().is_some(),
                Self::Neon => true,
                _ => false,
            }
        }
        #[cfg(not(any(abi_system_v, all(abi_aapcs64, target_endian = "little"))))]
        {
            false
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sse => "SSE",
            Self::Avx => "AVX",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
            Self::Sve => "SVE",
            Self::Neon => "Advanced SIMD",
        })
    }
}

/// Returns the size of this thread's registers of SVE, in bytes; `None` if the processor has none.
#[cfg(all(abi_aapcs64, target_endian = "little"))]
fn scalable_register() -> Option<usize> {
    if !std::arch::is_aarch64_feature_detected!("sve") {
        return None;
    }
    let size: usize;
    // SAFETY: the processor has the instruction, which reads no memory.
    unsafe {
        std::arch::asm!(
            ".arch_extension sve",
            "rdvl {size}, #1",
            size = out(reg) size,
            options(nomem, nostack, preserves_flags),
        );
    }
    Some(size)
}

/// Returns nothing: the processor has no such registers.
#[cfg(not(all(abi_aapcs64, target_endian = "little")))]
fn scalable_register() -> Option<usize> {
    None
}
