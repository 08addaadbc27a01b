//! Batches: calls of a function for each element or sub-array of its arguments, on one thread or
//! several.
//!
//! ```
//! use mapcall::{Arg, Library};
//!
//! // SAFETY: the C library's own initialisers may run at any time.
//! let libm = unsafe { Library::open("m")? };
//! // SAFETY: this is the prototype of `atan2`.
//! let atan2 = unsafe { libm.function("double atan2(double y, double x)")? };
//!
//! let y = ndarray::arr2(&[[0.0], [1.0]]);
//! let x = [1.0, 0.0, -1.0];
//! let mut angles = ndarray::Array2::<f64>::zeros((2, 3));
//! atan2.map(&[Arg::from(&y), Arg::from(&x)], &mut [Arg::from(&mut angles)]).run()?;
//! assert_eq!(angles[[1, 2]], 1_f64.atan2(-1.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The rules are those of NumPy's generalized ufuncs. From the ground up: `chunk` chooses how many calls a
//! thread makes at once, `plan` iterates over the calls, `conversion` converts the items of arrays that do not fit,
//! `write_buffer` buffers outputs that go to files, `eviction` drops the pages of maps that have been processed, `loops` makes
//! consecutive calls, `run` makes all of them on one thread or several, `prepared` has the stages of a batch behind the
//! check of its arguments, `small` makes short batches without a plan, and `map` is the interface for Rust.
//! `clock` is the clock of small batches.

mod chunk;
mod clock;
mod conversion;
mod eviction;
mod loops;
mod map;
mod plan;
mod prepared;
mod run;
mod small;
mod write_buffer;

pub use eviction::Stream;
pub use map::{Batch, Shape};
pub use prepared::Simd;
#[doc(hidden)]
pub use prepared::{BatchOptions, PreparedBatch};
#[doc(hidden)]
pub use run::BatchObserver;
#[doc(hidden)]
pub use small::{SmallBatches, SmallLoops};
