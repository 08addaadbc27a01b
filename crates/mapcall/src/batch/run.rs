//! The calls of a batch, on one thread or several.

#![allow(unsafe_code)]

use std::any::Any;
use std::marker::PhantomData;
use std::mem;
use std::ops::{ControlFlow, Range};
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mapcall_array::fork::{self, Mutex};
use smallvec::SmallVec;

use super::pace::{self, Pace};
use super::plan::{Plan, Run};
use super::sink::{Gathered, Handover, Sink, Writer};
use super::stream::Passing;
use crate::call::{Lane, Loop, errno};
use crate::function::{Frame, Function};

/// More gain nothing, and each costs a stack.
const MOST_THREADS: usize = 256;

/// How often the caller is told how far a batch is.
pub(super) const PULSE: Duration = Duration::from_millis(40);

/// How long a thread waits before it looks whether others have come nearer.
const MOMENT: Duration = Duration::from_micros(200);

/// Who wants to know of a batch while it runs.
pub trait Host: Sync {
    /// Makes calls on this thread, perhaps with preparations around them.
    ///
    /// # Errors
    ///
    /// `Break` ends the batch.
    fn around(&self, calls: &mut dyn FnMut() -> i32) -> ControlFlow<()> {
        calls();
        ControlFlow::Continue(())
    }

    /// Whether it looks at each result, so that calls are made one by one.
    fn is_judge(&self) -> bool {
        false
    }

    /// Looks at a call's result and the `errno` that came with it; calls have the numbers of their
    /// order.
    ///
    /// # Errors
    ///
    /// `Break` ends the batch.
    fn judge(&self, _call: usize, _result: &[u64], _errno: i32) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// How many of the calls have been made; asked a few times a second, on the thread that began.
    ///
    /// # Errors
    ///
    /// `Break` ends the batch.
    fn pulse(&self, _done: usize, _calls: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Nobody.
impl Host for () {}

/// How a batch ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    /// The host ended it, perhaps because of one call.
    Broken(Option<usize>),
    /// A call's result ended it.
    Stopped(Stopped),
    /// A file couldn't be written.
    Failed(mapcall_array::Error),
}

/// The call whose result ended a batch.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) call: usize,
    pub(super) result: Vec<u64>,
    pub(super) errno: i32,
}

/// Why a stretch of calls is not gone through.
enum End {
    /// The call's result is one that ends it.
    Stopped(usize),
    /// The host doesn't like the call's result.
    Refused(usize),
}

/// All that the threads of a batch share.
pub(super) struct Task<'a, 'm> {
    pub(super) function: &'a Function,
    pub(super) calls: &'a Loop,
    pub(super) plan: &'a Plan,
    /// The words that are the same in each call.
    pub(super) frame: &'a [u64],
    /// How many bytes one call walks over.
    pub(super) bytes: usize,
    pub(super) sinks: &'a [Sink<'a>],
    pub(super) passing: Passing<'m>,
    pub(super) host: &'a dyn Host,
}

/// What has been given out, done and found.
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

/// Ends the other threads' parts when one panics, as what the host does may.
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

impl Task<'_, '_> {
    /// Makes the calls on so many threads, of which this is one; 0 is as many as there are cores.
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
        let threads = threads.min(self.plan.calls()).clamp(1, MOST_THREADS);
        let others = threads - 1;
        // More than a buffer holds: while it is written, calls can go on.
        let writes_beside = others == 0 && self.most() < self.plan.calls();
        self.passing.expect(threads, self.bytes, pace::BYTES);
        let mut helpers = Helpers::new();
        let (this, progress) = (&self, &progress);
        for thread in 1..=others {
            // SAFETY: the caller's promise.
            let work = move || unsafe { this.work(progress, threads, thread, None, &|| false) };
            // SAFETY: the helpers are joined below, before what they borrow ends.
            if !unsafe { helpers.spawn(work) } {
                // No other thread waits for this one.
                this.passing.begin(thread, usize::MAX);
            }
        }
        let handover = writes_beside.then(|| Writer::new(this.sinks));
        let handover = handover.and_then(|(writer, handover)| {
            let write = move || {
                let _over = OverOnPanic(progress);
                let written = writer.run(&progress.is_over);
                written.unwrap_or_else(|error| progress.fail(error));
            };
            // SAFETY: the helpers are joined below, before what they borrow ends.
            unsafe { helpers.spawn(write) }.then_some(handover)
        });
        // SAFETY: the caller's promise.
        unsafe { this.work(progress, threads, 0, handover, &|| helpers.are_lost()) };
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

    /// How many calls there is room for at a stretch.
    fn most(&self) -> usize {
        let calls = self.sinks.iter().map(Sink::most);
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
        writer: Option<Handover>,
        is_alone: &dyn Fn() -> bool,
    ) {
        let _over = OverOnPanic(progress);
        let total = self.plan.calls();
        let fair = if threads == 1 {
            total
        } else {
            total.div_ceil(2 * threads)
        };
        let mut pace = Pace::new(self.bytes, fair.min(self.most()));
        let mut frame = Frame::of(self.frame);
        let mut gathered = match Gathered::new(self.sinks, self.plan, pace.most(), writer) {
            Ok(gathered) => gathered,
            Err(error) => return progress.fail(error),
        };
        let mut told = Instant::now();
        let mut now = told;
        while !progress.is_over.load(Ordering::Relaxed) {
            let count = pace.next();
            let start = progress.next.fetch_add(count, Ordering::Relaxed);
            if start >= total {
                break;
            }
            let calls = start..total.min(start.saturating_add(count));
            let count = calls.len();
            self.passing.begin(thread, start);
            while self.passing.is_ahead(start) && !progress.is_over.load(Ordering::Relaxed) {
                thread::sleep(MOMENT);
                now = Instant::now();
                if thread == 0 {
                    now = self.tell(progress, &mut told, now);
                    if is_alone() {
                        progress.is_over.store(true, Ordering::Relaxed);
                    }
                }
            }
            gathered.begin(&calls);
            // SAFETY: the caller's promise; the sinks' lanes lie in buffers for as many calls.
            let made =
                unsafe { self.stretch(progress, gathered.plan(), calls.clone(), frame.words()) };
            if is_alone() {
                break;
            }
            if made.is_break() {
                progress.is_over.store(true, Ordering::Relaxed);
                break;
            }
            let end = calls.end;
            if let Err(error) = gathered.end(calls) {
                return progress.fail(error);
            }
            progress.done.fetch_add(count, Ordering::Relaxed);
            self.passing.begin(thread, end);
            self.passing.end(self.plan);
            let then = now;
            now = Instant::now();
            pace.took(count, now - then);
            if thread == 0 {
                now = self.tell(progress, &mut told, now);
            }
        }
        self.passing.begin(thread, usize::MAX);
        if is_alone() {
            // What the others did since is unknown, and the way to the writer may be half changed.
            progress.is_broken.store(true, Ordering::Relaxed);
            mem::forget(gathered);
        }
    }

    /// Lets the host know how far the batch is, if it is time to; what time it is then.
    fn tell(&self, progress: &Progress, told: &mut Instant, now: Instant) -> Instant {
        if now - *told < PULSE {
            return now;
        }
        *told = now;
        let done = progress.done.load(Ordering::Relaxed);
        if self.host.pulse(done, self.plan.calls()).is_break() {
            progress.is_broken.store(true, Ordering::Relaxed);
            progress.is_over.store(true, Ordering::Relaxed);
        }
        Instant::now()
    }

    /// Some calls in order.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run).
    unsafe fn stretch(
        &self,
        progress: &Progress,
        plan: &Plan,
        calls: Range<usize>,
        frame: &mut [u64],
    ) -> ControlFlow<()> {
        let (mut found, mut left) = (None, 0);
        let around = self.host.around(&mut || {
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
                let start = self.function.contract().trampoline().layout().result();
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
        if self.host.is_judge() {
            // SAFETY: the caller's promise.
            return unsafe { self.judged(lanes, first, count, frame) };
        }
        // SAFETY: the caller's promise; the frame has all words, and what the contract asks for in
        // those that are fixed.
        let made = unsafe { self.calls.run(function, frame.as_mut_ptr(), lanes, count) };
        if made < count {
            return ControlFlow::Break(End::Stopped(first + made));
        }
        ControlFlow::Continue(())
    }

    /// Calls one by one, each result shown to the host.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run).
    unsafe fn judged(
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
            let judged = self.host.judge(first + call, &result, left);
            // That of the call, not of whoever looked at its result.
            errno::set(left);
            if judged.is_break() {
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
        let name = format!("mapcall-{}", self.threads.len());
        let builder = thread::Builder::new().name(name);
        // SAFETY: the thread is joined when this is dropped, before what it borrows ends. In a child
        // of a fork, where it is not joined, it does not exist.
        let spawned = unsafe { builder.spawn_unchecked(work) };
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
