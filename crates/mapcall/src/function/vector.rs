//! The vector variants of a bound function, and the choice of one for a batch.

use std::sync::Arc;

use mapcall_array::fork::Section;

use super::error::{SimdError, SimdRefusal, Success};
use super::{Function, LoopKey};
use crate::call::VectorLoop;
use crate::ctype::CType;
use crate::library::VectorVariant;

impl Function {
    /// Returns the loop that makes the calls of a batch by a vector variant, that of the widest registers. One
    /// that takes only integers with a constant step is the last choice.
    ///
    /// # Errors
    ///
    /// [`SimdError`] if no variant can make the calls.
    pub(crate) fn vector_loop(&self, key: &LoopKey) -> Result<Arc<VectorLoop>, SimdError> {
        if self.success() != Success::Any {
            return Err(self.no_vector_loop(SimdRefusal::Checked));
        }
        if let Some((_, calls)) = self
            .0
            .vector_loops
            .lock()
            .iter()
            .find(|(other, _)| other == key)
        {
            return Ok(Arc::clone(calls));
        }
        let variants = self.variants();
        let (kinds, stores) = key;
        let types = self.prototype().passed_types();
        let targets: Vec<usize> = types.iter().map(target).collect();
        let fitting = variants.iter().filter_map(|variant| {
            // SAFETY: the address is that of the variant, which stays loaded as long as the function keeps it. The
            // caller of `Library::bind` guaranteed that the function has the trampoline's type.
            unsafe {
                VectorLoop::new(
                    &variant.name,
                    variant.address,
                    self.trampoline(),
                    kinds,
                    &targets,
                    *stores,
                )
            }
        });
        // The integers of an array may be any, unlike its addresses.
        let calls = fitting.min_by_key(VectorLoop::has_sequences);
        let Some(calls) = calls.map(Arc::new) else {
            let is_missing = variants.is_empty();
            return Err(self.no_vector_loop(if is_missing {
                SimdRefusal::Missing
            } else {
                SimdRefusal::Unfit
            }));
        };
        self.0
            .vector_loops
            .lock()
            .push((key.clone(), Arc::clone(&calls)));
        Ok(calls)
    }

    /// Makes the error of a batch that no variant can make.
    pub(crate) fn no_vector_loop(&self, reason: SimdRefusal) -> SimdError {
        let symbols = match reason {
            SimdRefusal::Missing => VectorLoop::usual_symbols(self.trampoline(), self.symbol()),
            SimdRefusal::Unfit => {
                let variants = self.variants().iter();
                variants.map(|variant| variant.name.to_string()).collect()
            }
            SimdRefusal::Checked => Vec::new(),
        };
        SimdError {
            function: self.name().to_owned(),
            reason,
            symbols,
        }
    }

    /// Returns the variants of the function, the best ones first. They are found when they are first needed.
    fn variants(&self) -> &[VectorVariant] {
        if let Some(variants) = self.0.vector_variants.get() {
            return variants;
        }
        // SAFETY: the caller of `Library::bind` guaranteed that resolvers of the library may run.
        let mut variants = unsafe { self.0.library.variants_of(self.symbol(), self.address()) };
        variants.sort_by_key(|variant| variant.name.preference());
        // A fork by another thread would leave the cell locked in the child.
        let _section = Section::enter();
        self.0.vector_variants.get_or_init(|| variants.into())
    }

    fn symbol(&self) -> &str {
        let prototype = self.prototype();
        prototype.symbol.as_ref().unwrap_or(&prototype.name)
    }
}

/// Returns the size of what a pointer points to, in bytes; 0 for other types, and if it is not known.
fn target(ctype: &CType) -> usize {
    match ctype.resolved() {
        CType::Pointer(pointer) => pointer.target.size().unwrap_or(0),
        _ => 0,
    }
}
