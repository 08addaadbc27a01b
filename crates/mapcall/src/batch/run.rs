//! The calls of a batch, on one thread or several.

#![allow(unsafe_code)]

use std::any::Any;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::mem;
use std::ops::{ControlFlow, Range};
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mapcall_array::fork::{self, JoinHandle, Mutex};
use mapcall_array::guard::{self, Claim, Fault};
use smallvec::SmallVec;

use super::chunk::{self, ChunkSizer};
use super::conversion::{ConversionBuffers, Conversions};
use super::eviction::Eviction;
use super::loops::make_calls;
use super::plan::{Plan, Run};
use super::write_buffer::{FileOutput, FileWriter, WriteBuffer, WriterThread};
use crate::call::{Accessed, CallLoop, Frame, StridedPointer, VectorLoop, activation, errno};
use crate::function::{CallTime, Function};

/// The maximum number of threads: more threads gain nothing, and each needs a stack.
const MAX_THREADS: usize = 256;

/// The time between two reports of the progress of a batch.
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_millis(40);

/// The time that a thread sleeps before it checks the progress of the others again.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// An observer of a running batch: it receives progress and results, and can end the batch.
pub trait BatchObserver: Sync {
    /// Runs the calls of one chunk on this thread. `calls` makes them, and returns the `errno` of the last
    /// one.
    ///
    /// # Errors
    ///
    /// `Break` ends the batch.
    fn surround(&self, calls: &mut dyn FnMut() -> i32) -> ControlFlow<()> {
        calls();
        ControlFlow::Continue(())
    }

    /// Returns whether each result is given to [`inspect`](Self::inspect), so that calls are made one
    /// at a time.
    fn inspects(&self) -> bool {
        false
    }

    /// Receives the number of a call in their order, the slots of its result, and its `errno`.
    ///
    /// # Errors
    ///
    /// `Break` ends the batch.
    fn inspect(&self, _call: usize, _result: &[u64], _errno: i32) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Receives the number of calls made and the number of all calls, a few times a second, on the
    /// thread that started the batch.
    ///
    /// # Errors
    ///
    /// `Break` ends the batch.
    fn progress(&self, _done: usize, _calls: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// An observer that ignores all events.
impl BatchObserver for () {}

/// The outcome of a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    /// The observer ended the batch. The number is that of the call whose result it refused, if any.
    Broken(Option<usize>),
    /// The result of a call ended the batch.
    Stopped(Stopped),
    /// The call with that number accessed a page that is gone.
    Faulted(usize, Box<Fault>),
    /// A file could not be written.
    Failed(mapcall_array::Error),
}

/// The call whose result ended a batch.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) call: usize,
    pub(super) result: Vec<u64>,
    pub(super) errno: i32,
}

/// The reason why a chunk ended before its last call.
enum End {
    /// The result of the call with that number is a failure.
    Stopped(usize),
    /// The observer refused the result of the call with that number.
    Refused(usize),
}

/// The data of a running batch that all its threads share and do not change.
pub(super) struct BatchRun<'a, 'm> {
    pub(super) function: &'a Function,
    pub(super) calls: &'a CallLoop,
    /// The loop that makes as many of the calls as it can by a vector variant of the function.
    pub(super) vector_calls: Option<&'a VectorLoop>,
    pub(super) plan: &'a Plan,
    /// The slots of the frame, with the values that are the same in each call.
    pub(super) frame: &'a [u64],
    /// The addresses of the arrays that lie in maps, or in memory of unknown origin.
    pub(super) mapped: &'a [Range<usize>],
    /// The number of bytes that one call reads and writes.
    pub(super) bytes: usize,
    pub(super) outputs: &'a [FileOutput<'a>],
    /// The operands that are converted, if there are any.
    pub(super) conversions: Option<&'a Conversions>,
    pub(super) eviction: Eviction<'m>,
    pub(super) call_time: &'a CallTime,
    pub(super) observer: &'a dyn BatchObserver,
}

/// The state of a running batch, which its threads change.
#[derive(Default)]
struct Progress {
    next: AtomicUsize,
    done: AtomicUsize,
    is_over: AtomicBool,
    is_broken: AtomicBool,
    refused: Mutex<Option<usize>>,
    stopped: Mutex<Option<Stopped>>,
    faulted: Mutex<Option<(usize, Box<Fault>)>>,
    failed: Mutex<Option<mapcall_array::Error>>,
}

/// A guard that ends the batch on all threads if its thread panics, as the methods of the observer may.
struct EndOnPanic<'a>(&'a Progress);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.is_over.store(true, Ordering::Relaxed);
        }
    }
}

impl Progress {
    fn fail(&self, error: mapcall_array::Error) {
        self.failed.lock().get_or_insert(error);
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl BatchRun<'_, '_> {
    /// Makes all calls, on `threads` threads including this one, or one for each core if `threads` is 0.
    ///
    /// # Safety
    ///
    /// - The frame and the plan are filled by the check of the function's contract: in each call, the
    ///   pointers are valid for the reads and writes of the function, and no other code uses that memory.
    /// - With several threads, the function may be called by several at once.
    pub(super) unsafe fn run(mut self, threads: usize) -> Outcome {
        let progress = Progress::default();
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let threads = threads.min(self.plan.calls()).clamp(1, MAX_THREADS);
        let others = threads - 1;
        // The outputs need several buffers: one is written while calls fill another.
        let writes_beside = others == 0 && self.max_calls() < self.plan.calls();
        self.eviction.expect(threads, self.bytes, chunk::BYTES);
        let mut helpers = Helpers::new();
        let (this, progress) = (&self, &progress);
        for thread in 1..=others {
            // SAFETY: the caller guarantees that the memory of all calls is valid, and that the function may
            // be called by several threads.
            let work = move || unsafe { this.work(progress, threads, thread, None, &|| false) };
            // SAFETY: the helpers are joined below, before the borrowed values are dropped.
            if !unsafe { helpers.spawn(work) } {
                // No other thread waits for this one.
                this.eviction.begin(thread, usize::MAX);
            }
        }
        let writer_thread = writes_beside.then(|| FileWriter::new(this.outputs));
        let writer_thread = writer_thread.and_then(|(writer, writer_thread)| {
            let write = move || {
                let _guard = EndOnPanic(progress);
                let written = writer.run(&progress.is_over);
                written.unwrap_or_else(|error| progress.fail(error));
            };
            // SAFETY: the helpers are joined below, before the borrowed values are dropped.
            unsafe { helpers.spawn(write) }.then_some(writer_thread)
        });
        // SAFETY: the caller guarantees that the memory of all calls is valid.
        unsafe { this.work(progress, threads, 0, writer_thread, &|| helpers.are_lost()) };
        helpers.join();
        if let Some(error) = progress.failed.lock().take() {
            return Outcome::Failed(error);
        }
        if let Some((call, fault)) = progress.faulted.lock().take() {
            return Outcome::Faulted(call, fault);
        }
        match progress.stopped.lock().take() {
            Some(stopped) => Outcome::Stopped(stopped),
            None if progress.is_broken.load(Ordering::Relaxed) => {
                Outcome::Broken(progress.refused.lock().take())
            }
            None => Outcome::Done,
        }
    }

    /// Returns the largest number of calls whose outputs and converted items fit in the buffers.
    fn max_calls(&self) -> usize {
        let outputs = self.outputs.iter().map(FileOutput::max_calls);
        let converted = self.conversions.map(Conversions::max_calls);
        outputs.chain(converted).min().unwrap_or(usize::MAX)
    }

    /// Makes the calls of one thread: takes chunks until none is left. Ends early if `is_alone` returns
    /// true, because the other threads do not exist in the child of a fork.
    ///
    /// # Safety
    ///
    /// The memory of all calls is valid, as for [`run`](Self::run).
    unsafe fn work(
        &self,
        progress: &Progress,
        threads: usize,
        thread: usize,
        writer: Option<WriterThread>,
        is_alone: &dyn Fn() -> bool,
    ) {
        let _guard = EndOnPanic(progress);
        let _claim = Claim::new();
        let total = self.plan.calls();
        let fair = if threads == 1 {
            total
        } else {
            total.div_ceil(2 * threads)
        };
        let mut chunk_sizer = ChunkSizer::new(self.bytes, fair.min(self.max_calls()));
        let mut frame = Frame::of(self.frame);
        let max = chunk_sizer.max();
        let conversions = self.conversions;
        let converted = conversions.map(|conversions| ConversionBuffers::new(conversions, max));
        let (mut buffer, mut converted) = match (
            WriteBuffer::new(self.outputs, max, writer),
            converted.transpose(),
        ) {
            (Ok(buffer), Ok(converted)) => (buffer, converted),
            (Err(error), _) | (_, Err(error)) => return progress.fail(error),
        };
        // The plan of this thread, with the addresses of its buffers.
        let mut plan = Cow::Borrowed(conversions.map_or(self.plan, Conversions::plan));
        let mut last_report = Instant::now();
        let mut now = last_report;
        let mut last = (Duration::MAX, 1);
        let mut passed = 0;
        while !progress.is_over.load(Ordering::Relaxed) {
            let count = chunk_sizer.next();
            let start = progress.next.fetch_add(count, Ordering::Relaxed);
            if start >= total {
                break;
            }
            let calls = start..total.min(start.saturating_add(count));
            let count = calls.len();
            self.eviction.begin(thread, start);
            while self.eviction.is_ahead(start, &mut passed)
                && !progress.is_over.load(Ordering::Relaxed)
            {
                thread::sleep(POLL_INTERVAL);
                now = Instant::now();
                if thread == 0 {
                    now = self.report(progress, &mut last_report, now);
                    if is_alone() {
                        progress.is_over.store(true, Ordering::Relaxed);
                    }
                }
            }
            buffer.begin(&calls, &mut plan);
            // SAFETY: the caller guarantees that the memory of all calls is valid. Outputs that go to files
            // lie in `buffer` and converted items in `converted`, which have room for these calls.
            let made = unsafe {
                self.chunk(
                    progress,
                    (&mut plan, converted.as_mut()),
                    calls.clone(),
                    frame.slots(),
                )
            };
            if is_alone() {
                break;
            }
            if made.is_break() {
                progress.is_over.store(true, Ordering::Relaxed);
                break;
            }
            // The time of the calls alone: if several threads wait for each other to write to a file, shorter chunks
            // would only make them wait more often.
            let then = mem::replace(&mut now, Instant::now());
            last = (now - then, count);
            chunk_sizer.took(count, now - then);
            let end = calls.end;
            if let Err(error) = buffer.end(calls) {
                return progress.fail(error);
            }
            progress.done.fetch_add(count, Ordering::Relaxed);
            self.eviction.begin(thread, end);
            self.eviction.end(self.plan);
            if !self.outputs.is_empty() {
                now = Instant::now();
            }
            if thread == 0 {
                now = self.report(progress, &mut last_report, now);
            }
        }
        self.eviction.begin(thread, usize::MAX);
        if thread == 0 {
            self.call_time.set(last.0, last.1);
        }
        if is_alone() {
            // The state of the lost threads is unknown, also that of the queue to the writer thread.
            progress.is_broken.store(true, Ordering::Relaxed);
            mem::forget(buffer);
        }
    }

    /// Reports the progress to the observer if the last report is older than [`PROGRESS_INTERVAL`].
    /// Returns the time afterwards.
    fn report(&self, progress: &Progress, last_report: &mut Instant, now: Instant) -> Instant {
        if now - *last_report < PROGRESS_INTERVAL {
            return now;
        }
        *last_report = now;
        let done = progress.done.load(Ordering::Relaxed);
        if self.observer.progress(done, self.plan.calls()).is_break() {
            progress.is_broken.store(true, Ordering::Relaxed);
            progress.is_over.store(true, Ordering::Relaxed);
        }
        Instant::now()
    }

    /// Makes the calls of one chunk in order.
    ///
    /// # Safety
    ///
    /// The memory of these calls is valid, as for [`run`](Self::run).
    unsafe fn chunk(
        &self,
        progress: &Progress,
        (plan, mut converted): (&mut Cow<'_, Plan>, Option<&mut ConversionBuffers<'_>>),
        calls: Range<usize>,
        frame: &mut [u64],
    ) -> ControlFlow<()> {
        let (mut found, mut left) = (None, 0);
        let epoch = guard::epoch();
        if let Some(converted) = &mut converted {
            // SAFETY: the caller guarantees that the memory of these calls is valid.
            unsafe { converted.load(&calls, plan.to_mut()) };
            self.check_faults(progress, &calls, frame, epoch)?;
        }
        let around = self.observer.surround(&mut || {
            left = activation::run(|| {
                let visited = plan.for_each_run(calls.clone(), |run| {
                    // SAFETY: the run is part of `calls`, whose memory the caller guarantees to be valid.
                    unsafe { self.masked(&run, frame) }
                });
                found = visited.break_value();
                if let Some(converted) = &converted {
                    let end = |end| calls.start..calls.end.min(end);
                    let (made, returned) = match found {
                        Some(End::Stopped(call)) => (end(call + 1), end(call)),
                        Some(End::Refused(call)) => (end(call + 1), end(call + 1)),
                        None => (calls.clone(), calls.clone()),
                    };
                    // SAFETY: the caller guarantees that the memory of these calls is valid.
                    unsafe { converted.store(&made, &returned, plan) };
                }
            });
            left
        });
        self.check_faults(progress, &calls, frame, epoch)?;
        match found {
            Some(End::Stopped(call)) => {
                let start = self.function.contract().layout().result();
                let stopped = Stopped {
                    call,
                    result: frame.get(start..).unwrap_or_default().into(),
                    errno: left,
                };
                let mut first = progress.stopped.lock();
                // Chunks are taken in order, so that all calls before this one have been made or are running.
                if first.as_ref().is_none_or(|first| call < first.call) {
                    *first = Some(stopped);
                }
                return ControlFlow::Break(());
            }
            Some(End::Refused(call)) => {
                let mut first = progress.refused.lock();
                *first = Some(first.map_or(call, |first| first.min(call)));
                progress.is_broken.store(true, Ordering::Relaxed);
                return ControlFlow::Break(());
            }
            None => {}
        }
        if around.is_break() {
            progress.is_broken.store(true, Ordering::Relaxed);
        }
        around
    }

    /// Ends the batch if a chunk has a fault: of its own accesses, or because they may have read zeros that were
    /// there because of a fault of another thread.
    #[inline]
    fn check_faults(
        &self,
        progress: &Progress,
        calls: &Range<usize>,
        slots: &[u64],
        epoch: usize,
    ) -> ControlFlow<()> {
        if guard::is_quiet() {
            return ControlFlow::Continue(());
        }
        self.note_fault(progress, calls, slots, epoch)
    }

    /// Does what [`check_faults`](Self::check_faults) says, if there are faults of any thread.
    #[cold]
    fn note_fault(
        &self,
        progress: &Progress,
        calls: &Range<usize>,
        slots: &[u64],
        epoch: usize,
    ) -> ControlFlow<()> {
        let mapped = self.mapped;
        let own = activation::take_fault(Accessed { mapped, slots });
        let ranges = || {
            let ranges = self.plan.ranges(calls, self.bytes).into_iter();
            // The items of operands that are converted may have elements before the first one.
            let before = self.conversions.map_or(0, |_| self.bytes);
            ranges.map(move |range| range.start.saturating_sub(before)..range.end)
        };
        let fault = own.or_else(|| activation::zeros_read(epoch, ranges()).map(Box::new));
        let Some(fault) = fault else {
            return ControlFlow::Continue(());
        };
        let call = self.plan.call_at(calls, fault.address);
        let call = call.unwrap_or(calls.start);
        let mut first = progress.faulted.lock();
        if first.as_ref().is_none_or(|(first, _)| call < *first) {
            *first = Some((call, fault));
        }
        ControlFlow::Break(())
    }

    /// Makes the calls of a run that its mask selects.
    ///
    /// # Safety
    ///
    /// The memory of these calls is valid, as for [`run`](Self::run).
    unsafe fn masked(&self, run: &Run<'_>, frame: &mut [u64]) -> ControlFlow<End> {
        let Some(mask) = run.mask else {
            // SAFETY: the caller guarantees that the memory of these calls is valid.
            return unsafe { self.make(run.pointers, run.first, run.count, frame) };
        };
        let is_selected = |call: usize| {
            let address = mask.after(call).address;
            // SAFETY: the mask has a byte for each call.
            let byte = unsafe { address.read() };
            byte != 0
        };
        let mut start = 0;
        while start < run.count {
            if !is_selected(start) {
                start += 1;
                continue;
            }
            let rest = start + 1..run.count;
            let end = rest
                .into_iter()
                .find(|&call| !is_selected(call))
                .unwrap_or(run.count);
            let moved = |pointer: &StridedPointer| pointer.after(start);
            let pointers: SmallVec<[StridedPointer; 4]> = run.pointers.iter().map(moved).collect();
            // SAFETY: the caller guarantees that the memory of these calls is valid.
            unsafe { self.make(&pointers, run.first + start, end - start, frame) }?;
            start = end;
        }
        ControlFlow::Continue(())
    }

    /// Makes consecutive calls.
    ///
    /// # Safety
    ///
    /// The memory of these calls is valid, as for [`run`](Self::run).
    unsafe fn make(
        &self,
        pointers: &[StridedPointer],
        first: usize,
        count: usize,
        frame: &mut [u64],
    ) -> ControlFlow<End> {
        if self.observer.inspects() {
            // SAFETY: the caller guarantees that the memory of these calls is valid.
            return unsafe { self.checked(pointers, first, count, frame) };
        }
        let loops = (self.calls, self.vector_calls);
        // SAFETY: the caller guarantees that the memory of these calls is valid. The frame has all slots of
        // the layout, and the check has set those of constant operands.
        let made = unsafe { make_calls(self.function, loops, pointers, count, frame) };
        if made < count {
            return ControlFlow::Break(End::Stopped(first + made));
        }
        ControlFlow::Continue(())
    }

    /// Makes consecutive calls one by one, and gives each result to the observer.
    ///
    /// # Safety
    ///
    /// The memory of these calls is valid, as for [`run`](Self::run).
    unsafe fn checked(
        &self,
        pointers: &[StridedPointer],
        first: usize,
        count: usize,
        frame: &mut [u64],
    ) -> ControlFlow<End> {
        let function = self.function.address().as_ptr();
        for call in 0..count {
            let moved = |pointer: &StridedPointer| pointer.after(call);
            let pointers: SmallVec<[StridedPointer; 4]> = pointers.iter().map(moved).collect();
            let left = activation::run(|| {
                // SAFETY: the caller guarantees that the memory of this call is valid, and the frame has all
                // slots.
                unsafe { self.calls.run(function, frame.as_mut_ptr(), &pointers, 1) };
            });
            // SAFETY: the call has stored its result.
            let result = unsafe { self.calls.result(&pointers) };
            let checked = self.observer.inspect(first + call, &result, left);
            // The code of the observer may have changed it.
            errno::set(left);
            if checked.is_break() {
                return ControlFlow::Break(End::Refused(first + call));
            }
        }
        ControlFlow::Continue(())
    }
}

/// The additional threads of a batch. They end with the batch, so that no thread is lost by a fork
/// between batches.
struct Helpers<'s> {
    threads: Vec<JoinHandle<()>>,
    /// The process that the threads run in, as its number of forks.
    generation: usize,
    scope: PhantomData<&'s ()>,
}

impl<'s> Helpers<'s> {
    fn new() -> Self {
        Self {
            threads: Vec::new(),
            generation: fork::generation(),
            scope: PhantomData,
        }
    }

    /// Starts a thread. Returns false if the system refuses it.
    ///
    /// # Safety
    ///
    /// `self` is dropped before `'s` ends.
    unsafe fn spawn(&mut self, work: impl FnOnce() + Send + 's) -> bool {
        // SAFETY: the thread is joined when this is dropped, which is before `'s` ends by the safety
        // condition of this function. In the child of a fork, where it is not joined, it does not
        // exist.
        let spawned = unsafe { fork::spawn_unchecked(None, work) };
        let is_spawned = spawned.is_ok();
        self.threads.extend(spawned);
        is_spawned
    }

    /// Returns whether the threads do not exist, because this process is the child of a fork in a call
    /// of this thread.
    fn are_lost(&self) -> bool {
        !self.threads.is_empty() && fork::generation() != self.generation
    }

    /// Waits for all threads. If threads have panicked, panics with the payload of the first.
    fn join(mut self) {
        if let Some(payload) = self.wait() {
            panic::resume_unwind(payload);
        }
    }

    fn wait(&mut self) -> Option<Box<dyn Any + Send>> {
        let threads = mem::take(&mut self.threads);
        if fork::generation() != self.generation {
            mem::forget(threads);
            return None;
        }
        threads
            .into_iter()
            .filter_map(|thread| thread.join().err())
            .fold(None, |first, payload| first.or(Some(payload)))
    }
}

impl Drop for Helpers<'_> {
    fn drop(&mut self) {
        self.wait();
    }
}
