//! The calls of a batch, on one thread or several.

#![allow(unsafe_code)]

use std::any::Any;
use std::marker::PhantomData;
use std::mem;
use std::ops::{ControlFlow, Range};
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mapcall_array::fork::{self, JoinHandle, Mutex};
use smallvec::SmallVec;

use super::chunk::{self, ChunkSizer};
use super::eviction::Eviction;
use super::plan::{Plan, Run};
use super::write_buffer::{FileOutput, FileWriter, WriteBuffer, WriterThread};
use crate::call::{CallLoop, Frame, Lane, errno};
use crate::function::Function;

/// The largest number of threads: more gain nothing, and each needs a stack.
const MAX_THREADS: usize = 256;

/// The time between two reports of the progress of a batch.
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_millis(40);

/// The time that a thread sleeps before it checks again how far the others are.
const MOMENT: Duration = Duration::from_micros(200);

/// Who wants to know of a batch while it runs.
pub trait BatchObserver: Sync {
    /// Makes calls on this thread, perhaps with preparations around them.
    ///
    /// # Errors
    ///
    /// `Break` ends the batch.
    fn surround(&self, calls: &mut dyn FnMut() -> i32) -> ControlFlow<()> {
        calls();
        ControlFlow::Continue(())
    }

    /// Whether it looks at each result, so that calls are made one by one.
    fn inspects(&self) -> bool {
        false
    }

    /// Looks at a call's result and the `errno` that came with it; calls have the numbers of their
    /// order.
    ///
    /// # Errors
    ///
    /// `Break` ends the batch.
    fn inspect(&self, _call: usize, _result: &[u64], _errno: i32) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// How many of the calls have been made; asked a few times a second, on the thread that began.
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

/// How a batch ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    /// The observer ended the batch, because of the call with that number if there is one.
    Broken(Option<usize>),
    /// The result of a call ended the batch.
    Stopped(Stopped),
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

/// One running batch: what all its threads share and do not change.
pub(super) struct BatchRun<'a, 'm> {
    pub(super) function: &'a Function,
    pub(super) calls: &'a CallLoop,
    pub(super) plan: &'a Plan,
    /// The slots of the frame, with the values that are the same in each call.
    pub(super) frame: &'a [u64],
    /// The number of bytes that one call reads and writes.
    pub(super) bytes: usize,
    pub(super) outputs: &'a [FileOutput<'a>],
    pub(super) eviction: Eviction<'m>,
    pub(super) observer: &'a dyn BatchObserver,
}

/// The state of a running batch.
#[derive(Default)]
struct Progress {
    next: AtomicUsize,
    done: AtomicUsize,
    is_over: AtomicBool,
    is_broken: AtomicBool,
    refused: Mutex<Option<usize>>,
    stopped: Mutex<Option<Stopped>>,
    failed: Mutex<Option<mapcall_array::Error>>,
}

/// Ends the batch on all threads if one panics, as the methods of the observer may.
struct OverOnPanic<'a>(&'a Progress);

impl Drop for OverOnPanic<'_> {
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
    /// What the lanes lead to must be sound to walk through for each call; several threads only
    /// for a function that may be called by several.
    pub(super) unsafe fn run(mut self, threads: usize) -> Outcome {
        let progress = Progress::default();
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let threads = threads.min(self.plan.calls()).clamp(1, MAX_THREADS);
        let others = threads - 1;
        // More than a buffer holds: while it is written, calls can go on.
        let writes_beside = others == 0 && self.max_calls() < self.plan.calls();
        self.eviction.expect(threads, self.bytes, chunk::BYTES);
        let mut helpers = Helpers::new();
        let (this, progress) = (&self, &progress);
        for thread in 1..=others {
            // SAFETY: the caller's promise.
            let work = move || unsafe { this.work(progress, threads, thread, None, &|| false) };
            // SAFETY: the helpers are joined below, before what they borrow ends.
            if !unsafe { helpers.spawn(work) } {
                // No other thread waits for this one.
                this.eviction.begin(thread, usize::MAX);
            }
        }
        let writer_thread = writes_beside.then(|| FileWriter::new(this.outputs));
        let writer_thread = writer_thread.and_then(|(writer, writer_thread)| {
            let write = move || {
                let _over = OverOnPanic(progress);
                let written = writer.run(&progress.is_over);
                written.unwrap_or_else(|error| progress.fail(error));
            };
            // SAFETY: the helpers are joined below, before what they borrow ends.
            unsafe { helpers.spawn(write) }.then_some(writer_thread)
        });
        // SAFETY: the caller's promise.
        unsafe { this.work(progress, threads, 0, writer_thread, &|| helpers.are_lost()) };
        helpers.join();
        if let Some(error) = progress.failed.lock().take() {
            return Outcome::Failed(error);
        }
        match progress.stopped.lock().take() {
            Some(stopped) => Outcome::Stopped(stopped),
            None if progress.is_broken.load(Ordering::Relaxed) => {
                Outcome::Broken(progress.refused.lock().take())
            }
            None => Outcome::Done,
        }
    }

    /// Returns the largest number of calls whose outputs fit in the buffers.
    fn max_calls(&self) -> usize {
        let calls = self.outputs.iter().map(FileOutput::max_calls);
        calls.min().unwrap_or(usize::MAX)
    }

    /// One thread's part, and where it leaves what goes to files. It ends when `is_alone` says that
    /// the other threads have been lost in a fork.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run).
    unsafe fn work(
        &self,
        progress: &Progress,
        threads: usize,
        thread: usize,
        writer: Option<WriterThread>,
        is_alone: &dyn Fn() -> bool,
    ) {
        let _over = OverOnPanic(progress);
        let total = self.plan.calls();
        let fair = if threads == 1 {
            total
        } else {
            total.div_ceil(2 * threads)
        };
        let mut chunk_sizer = ChunkSizer::new(self.bytes, fair.min(self.max_calls()));
        let mut frame = Frame::of(self.frame);
        let mut buffer = match WriteBuffer::new(self.outputs, self.plan, chunk_sizer.max(), writer)
        {
            Ok(buffer) => buffer,
            Err(error) => return progress.fail(error),
        };
        let mut last_report = Instant::now();
        let mut now = last_report;
        while !progress.is_over.load(Ordering::Relaxed) {
            let count = chunk_sizer.next();
            let start = progress.next.fetch_add(count, Ordering::Relaxed);
            if start >= total {
                break;
            }
            let calls = start..total.min(start.saturating_add(count));
            let count = calls.len();
            self.eviction.begin(thread, start);
            while self.eviction.is_ahead(start) && !progress.is_over.load(Ordering::Relaxed) {
                thread::sleep(MOMENT);
                now = Instant::now();
                if thread == 0 {
                    now = self.report(progress, &mut last_report, now);
                    if is_alone() {
                        progress.is_over.store(true, Ordering::Relaxed);
                    }
                }
            }
            buffer.begin(&calls);
            // SAFETY: the caller's promise; the outputs' lanes lie in buffers for as many calls.
            let made = unsafe { self.chunk(progress, buffer.plan(), calls.clone(), frame.slots()) };
            if is_alone() {
                break;
            }
            if made.is_break() {
                progress.is_over.store(true, Ordering::Relaxed);
                break;
            }
            let end = calls.end;
            if let Err(error) = buffer.end(calls) {
                return progress.fail(error);
            }
            progress.done.fetch_add(count, Ordering::Relaxed);
            self.eviction.begin(thread, end);
            self.eviction.end(self.plan);
            let then = now;
            now = Instant::now();
            chunk_sizer.took(count, now - then);
            if thread == 0 {
                now = self.report(progress, &mut last_report, now);
            }
        }
        self.eviction.begin(thread, usize::MAX);
        if is_alone() {
            // What the others did since is unknown, and the way to the writer may be half changed.
            progress.is_broken.store(true, Ordering::Relaxed);
            mem::forget(buffer);
        }
    }

    /// Reports the progress to the observer if the last report is old enough. Returns the time afterwards.
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
    /// As [`run`](Self::run).
    unsafe fn chunk(
        &self,
        progress: &Progress,
        plan: &Plan,
        calls: Range<usize>,
        frame: &mut [u64],
    ) -> ControlFlow<()> {
        let (mut found, mut left) = (None, 0);
        let around = self.observer.surround(&mut || {
            errno::set(0);
            let walked = plan.walk(calls.clone(), |run| {
                // SAFETY: the caller's promise.
                unsafe { self.masked(&run, frame) }
            });
            found = walked.break_value();
            left = errno::get();
            left
        });
        match found {
            Some(End::Stopped(call)) => {
                let start = self.function.contract().layout().result();
                let stopped = Stopped {
                    call,
                    result: frame.get(start..).unwrap_or_default().into(),
                    errno: left,
                };
                let mut first = progress.stopped.lock();
                // Calls are given out in order, so that every one before has been or is being made.
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

    /// The calls of a run that its mask asks for; the number of the one that stopped it.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run).
    unsafe fn masked(&self, run: &Run<'_>, frame: &mut [u64]) -> ControlFlow<End> {
        let Some(mask) = run.mask else {
            // SAFETY: the caller's promise.
            return unsafe { self.make(run.lanes, run.first, run.count, frame) };
        };
        let is_asked_for = |call: usize| {
            let place = mask.after(call).address;
            // SAFETY: the mask has a byte for each call.
            let byte = unsafe { place.read() };
            byte != 0
        };
        let mut start = 0;
        while start < run.count {
            if !is_asked_for(start) {
                start += 1;
                continue;
            }
            let rest = start + 1..run.count;
            let end = rest
                .into_iter()
                .find(|&call| !is_asked_for(call))
                .unwrap_or(run.count);
            let moved = |lane: &Lane| lane.after(start);
            let lanes: SmallVec<[Lane; 4]> = run.lanes.iter().map(moved).collect();
            // SAFETY: the caller's promise.
            unsafe { self.make(&lanes, run.first + start, end - start, frame) }?;
            start = end;
        }
        ControlFlow::Continue(())
    }

    /// # Safety
    ///
    /// As [`run`](Self::run).
    unsafe fn make(
        &self,
        lanes: &[Lane],
        first: usize,
        count: usize,
        frame: &mut [u64],
    ) -> ControlFlow<End> {
        let function = self.function.address().as_ptr();
        if self.observer.inspects() {
            // SAFETY: the caller's promise.
            return unsafe { self.checked(lanes, first, count, frame) };
        }
        // SAFETY: the caller's promise; the frame has all words, and what the contract asks for in
        // those that are fixed.
        let made = unsafe { self.calls.run(function, frame.as_mut_ptr(), lanes, count) };
        if made < count {
            return ControlFlow::Break(End::Stopped(first + made));
        }
        ControlFlow::Continue(())
    }

    /// Calls one by one, each result shown to the observer.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run).
    unsafe fn checked(
        &self,
        lanes: &[Lane],
        first: usize,
        count: usize,
        frame: &mut [u64],
    ) -> ControlFlow<End> {
        let function = self.function.address().as_ptr();
        for call in 0..count {
            let moved = |lane: &Lane| lane.after(call);
            let lanes: SmallVec<[Lane; 4]> = lanes.iter().map(moved).collect();
            errno::set(0);
            // SAFETY: the caller's promise.
            unsafe { self.calls.run(function, frame.as_mut_ptr(), &lanes, 1) };
            let left = errno::get();
            // SAFETY: the call has stored its result.
            let result = unsafe { self.calls.result(&lanes) };
            let checked = self.observer.inspect(first + call, &result, left);
            // The observer may have changed it.
            errno::set(left);
            if checked.is_break() {
                return ControlFlow::Break(End::Refused(first + call));
            }
        }
        ControlFlow::Continue(())
    }
}

/// The threads that help with a batch. They end with it: none of them waits for another batch, and a
/// process that forks between batches loses none.
struct Helpers<'s> {
    threads: Vec<JoinHandle<()>>,
    /// The process that they are in.
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

    /// Starts one more; false if the system gives no thread.
    ///
    /// # Safety
    ///
    /// `Self` must be dropped before `'s` ends.
    unsafe fn spawn(&mut self, work: impl FnOnce() + Send + 's) -> bool {
        // SAFETY: the thread is joined when this is dropped, before what it borrows ends. In a child
        // of a fork, where it is not joined, it does not exist.
        let spawned = unsafe { fork::spawn_unchecked(None, work) };
        let is_spawned = spawned.is_ok();
        self.threads.extend(spawned);
        is_spawned
    }

    /// Whether they do not exist, as this is the child of a fork that a call of this thread made.
    fn are_lost(&self) -> bool {
        !self.threads.is_empty() && fork::generation() != self.generation
    }

    /// Waits for all, and panics as the first of them that did.
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
