//! One prototype, any number of calls: over the axes that arrays have beyond their parameters'
//! brackets, on one core or all.
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
//! The rules are those of NumPy's generalised ufuncs. `map.rs` is what Rust asks for, `output.rs` where
//! outputs go, and `request.rs` a batch in which nothing is left to be found out. `plan.rs` knows the way
//! through memory, `chunk.rs` how much of it is gone at a chunk, `run.rs` who goes, `output.rs` how new
//! files are written on the way, and `eviction.rs` what is let go behind.

mod chunk;
mod eviction;
mod map;
mod output;
mod plan;
mod request;
mod run;
mod write_buffer;

pub use eviction::Stream;
pub use map::{Batch, Shape};
pub use output::finish;
pub use request::BatchRequest;
pub use run::BatchObserver;
