//! Short batches: made by this thread at once, without a plan.

#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mapcall_array::fork::Section;
use mapcall_array::guard::{self, Claim, Fault};

use super::clock::Watch;
use super::loops::make_calls;
use super::plan::Plan;
use super::prepared::Simd;
use crate::call::{Accessed, CallLoop, VectorLoop, activation};
use crate::contract::{QuickBatch, QuickBatchCall, Role};
use crate::function::{CallError, Function, LoopKey};

/// The longest time that the calls of a small batch are expected to take, in nanoseconds.
const SHORT: u64 = 1_000_000;

/// The number of calls that a register may have lanes for: pieces are multiples of it.
const LANES: usize = 64;

/// The number of loops that are held. Functions with more have some arguments that are the same in each call in
/// some of their batches, or batches with and without vector variants.
const HELD: usize = 4;

/// The small batches of one function.
///
/// A batch is small if its arguments are numbers and arrays of one shape, and if its calls are expected to take
/// no more than 1 ms, by the time that calls of the function took in the last other batch with the same use of vector
/// variants. It gives the same results and errors as a [`PreparedBatch`](super::PreparedBatch) with one thread.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::time::Duration;
///
/// use mapcall::Library;
/// use mapcall::batch::{BatchOptions, Simd, SmallBatches};
/// use mapcall::contract::{Backing, Memory};
///
/// // SAFETY: the C library's own initialisers may run at any time.
/// let libm = unsafe { Library::open("m")? };
/// // SAFETY: this is the prototype of `fabs`.
/// let fabs = unsafe { libm.function("double fabs(double x)")? };
/// let small = SmallBatches::new(&fabs, |_| Some(())).unwrap();
///
/// let x = [1.0, -2.0, 3.0];
/// let memory = Memory {
///     address: x.as_ptr().cast_mut().cast(),
///     shape: &[3],
///     strides: &[8],
///     is_contiguous: true,
///     is_writeable: false,
///     is_shared: false,
///     backing: Backing::Private,
/// };
/// let mut batch = small.begin();
/// batch.fill(&[memory].into_iter(), None).unwrap();
/// let output = batch.output().unwrap();
/// let mut result = [0.0; 3];
/// batch.place(&output, result.as_mut_ptr().cast()).unwrap();
/// // No batch has been made, so that the time of a call is not known.
/// assert!(small.time(&fabs, batch.calls(), Simd::Off).is_none());
/// let loops = small.loops(&fabs, &batch, Simd::Off).unwrap();
/// // SAFETY: the arrays have a number for each call, and no other code uses them.
/// let (errno, outcome) = unsafe {
///     loops.run(&fabs, &mut batch, Duration::ZERO, || ControlFlow::Continue(()))
/// };
/// outcome?;
/// assert_eq!((errno, result), (0, [1.0, 2.0, 3.0]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SmallBatches<D> {
    quick: QuickBatch<D>,
    held: [OnceLock<Held>; HELD],
}

/// The loops that make the calls of a small batch: see [`SmallBatches`] for an example.
#[derive(Debug)]
pub struct SmallLoops<'s>(Cow<'s, Held>);

/// The loops for the batches with one use of vector variants in which the same operands have an item for each call:
/// those of the bits `moving`.
#[derive(Clone, Debug)]
struct Held {
    moving: u32,
    simd: Simd,
    calls: Arc<CallLoop>,
    vector_calls: Option<Arc<VectorLoop>>,
}

impl<D> SmallBatches<D> {
    /// Makes the small batches of a function, with the dtypes of the arrays for its parameters and its result;
    /// `None` if its arguments need the full check in all batches.
    pub fn new(function: &Function, dtype: impl Fn(Role) -> Option<D>) -> Option<Self> {
        Some(Self {
            quick: QuickBatch::new(function.contract(), dtype)?,
            held: Default::default(),
        })
    }

    /// Starts a batch.
    #[must_use]
    #[inline]
    pub fn begin(&self) -> QuickBatchCall<'_, D> {
        QuickBatchCall::new(&self.quick)
    }

    /// Returns the time that calls are expected to take; `None` if it is too long for a small batch.
    #[must_use]
    #[inline]
    pub fn time(&self, function: &Function, calls: usize, simd: Simd) -> Option<Duration> {
        let time = function.call_time(simd != Simd::Off).of_calls(calls);
        (time <= SHORT).then(|| Duration::from_nanos(time))
    }

    /// Returns the loops for the calls of a batch whose outputs are placed; `None` if no vector variant can make them
    /// though one is required.
    #[must_use]
    #[inline]
    pub fn loops(
        &self,
        function: &Function,
        batch: &QuickBatchCall<'_, D>,
        simd: Simd,
    ) -> Option<SmallLoops<'_>> {
        let moving = batch.moving();
        let mut held = self.held.iter().map_while(OnceLock::get);
        match held.find(|held| held.moving == moving && held.simd == simd) {
            Some(held) => Some(SmallLoops(Cow::Borrowed(held))),
            None => self.find(function, batch, simd),
        }
    }

    /// Finds the loops of a batch, and holds them if there is room.
    #[cold]
    fn find(
        &self,
        function: &Function,
        batch: &QuickBatchCall<'_, D>,
        simd: Simd,
    ) -> Option<SmallLoops<'_>> {
        let (kinds, stores) = batch.kinds();
        let key: LoopKey = (kinds.collect(), stores);
        let vector_calls = match simd {
            Simd::Off => None,
            Simd::Auto => function.vector_loop(&key).ok(),
            Simd::Required => Some(function.vector_loop(&key).ok()?),
        };
        let held = Held {
            moving: batch.moving(),
            simd,
            calls: function.call_loop(&key),
            vector_calls,
        };
        // A fork by another thread would leave the cell locked in the child.
        let _section = Section::enter();
        for cell in &self.held {
            let known = cell.get_or_init(|| held.clone());
            if (known.moving, known.simd) == (held.moving, held.simd) {
                break;
            }
        }
        Some(SmallLoops(Cow::Owned(held)))
    }
}

impl SmallLoops<'_> {
    /// The time that consecutive calls are expected to take: the clock is looked at only between them.
    pub const UNINTERRUPTED: Duration = Duration::from_micros(50);

    /// Makes the calls of the batch. Returns the thread's `errno` after the last one, and the outcome.
    ///
    /// `time` is what they are expected to take. If they take much longer, `report` is called every now and then, and
    /// may end the batch; but not if `time` is no more than [`UNINTERRUPTED`](Self::UNINTERRUPTED).
    ///
    /// # Safety
    ///
    /// - The loops are those of the function and the batch, whose arguments are filled in and whose outputs are placed.
    /// - The function has the type of its prototype.
    /// - The memory of the operands lives until this returns. Until then no other code writes it, nor reads memory
    ///   that the calls write.
    ///
    /// # Errors
    ///
    /// Those of [`PreparedBatch::run`](super::PreparedBatch::run): [`CallError::Status`] if the result of a call
    /// is a failure; [`CallError::Fault`] if a page of a map is gone; [`CallError::Interrupted`] if `report` ends the
    /// batch.
    pub unsafe fn run<D>(
        &self,
        function: &Function,
        batch: &mut QuickBatchCall<'_, D>,
        time: Duration,
        mut report: impl FnMut() -> ControlFlow<()>,
    ) -> (i32, Result<(), CallError>) {
        let loops = (&*self.0.calls, self.0.vector_calls.as_deref());
        let calls = batch.calls();
        let (claim, epoch) = (Claim::new(), guard::epoch());
        let watch = Watch::new();
        let (slots, mut pointers, count) = batch.parts();
        let pointers = pointers.get_mut(..count).unwrap_or_default();
        let pieces = time.as_nanos().div_ceil(Self::UNINTERRUPTED.as_nanos());
        let pieces = usize::try_from(pieces).unwrap_or(usize::MAX).max(1);
        let piece = calls.div_ceil(pieces).next_multiple_of(LANES);
        let (mut made, mut errno) = (0, 0);
        let (mut is_stopped, mut is_interrupted) = (false, false);
        while made < calls && !is_stopped {
            if made > 0 && watch.is_late() && report().is_break() {
                is_interrupted = true;
                break;
            }
            let count = piece.min(calls - made);
            let mut done = 0;
            errno = activation::run(|| {
                // SAFETY: the check has filled the frame and the pointers, whose memory the caller guarantees to live
                // and to be used by no other code. The caller guarantees that the loops are those of the function.
                done = unsafe { make_calls(function, loops, pointers, count, slots) };
            });
            made += done;
            is_stopped = done < count;
            for pointer in &mut *pointers {
                *pointer = pointer.after(done);
            }
        }
        drop(claim);
        if watch.is_late() {
            function.call_time(self.0.simd != Simd::Off).forget();
        }
        if !guard::is_quiet()
            && let Some((index, fault)) = fault(batch, epoch)
        {
            let function = function.name().to_owned();
            let index = Some(index);
            return (
                errno,
                Err(CallError::Fault {
                    function,
                    index,
                    fault,
                }),
            );
        }
        if is_interrupted {
            let function = function.name().to_owned();
            let index = None;
            return (errno, Err(CallError::Interrupted { function, index }));
        }
        if made < calls {
            let checked = function.check_result(batch.result(), errno);
            let failed = checked.map_err(|error| error.at(plan(batch).index_of(made)));
            return (errno, failed);
        }
        (errno, Ok(()))
    }
}

/// Returns the plan of a batch, by which the index of a call is found.
#[cold]
fn plan<D>(batch: &mut QuickBatchCall<'_, D>) -> Plan {
    let (_, pointers, count) = batch.parts();
    let pointers = pointers.get(..count).unwrap_or_default();
    Plan::of_run(pointers, batch.calls(), batch.shape())
}

/// Returns the fault of a batch, if it has one, and the index of the call that caused it.
#[cold]
fn fault<D>(batch: &mut QuickBatchCall<'_, D>, epoch: usize) -> Option<(Vec<usize>, Box<Fault>)> {
    let mapped: Vec<_> = batch.addresses().collect();
    let accessed = Accessed {
        mapped: &mapped,
        slots: batch.parts().0,
    };
    let own = activation::take_fault(accessed);
    let fault = own.or_else(|| activation::zeros_read(epoch, mapped.clone()).map(Box::new))?;
    let plan = plan(batch);
    let call = plan.call_at(&(0..batch.calls()), fault.address);
    Some((plan.index_of(call.unwrap_or_default()), fault))
}
