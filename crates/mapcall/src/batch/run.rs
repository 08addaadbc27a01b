//! The calls of a batch, on one thread or several.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};
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
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(error);
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
        let helpers = others + usize::from(writes_beside);
        let team = (helpers > 0).then(|| Team::gather(helpers)).flatten();
        let working = team.as_ref().map_or(1, |_| threads);
        self.passing.expect(working, self.bytes, pace::BYTES);
        // SAFETY: the caller's promise.
        let work = |thread, writer| unsafe { self.work(&progress, threads, thread, writer) };
        match team {
            Some(team) => {
                team.pool.in_place_scope(|scope| {
                    let (work, progress) = (&work, &progress);
                    for thread in 1..=others {
                        scope.spawn(move |_| work(thread, None));
                    }
                    let handover = writes_beside.then(|| {
                        let (writer, handover) = Writer::new(self.sinks);
                        scope.spawn(move |_| {
                            let _over = OverOnPanic(progress);
                            let written = writer.run(&progress.is_over);
                            written.unwrap_or_else(|error| progress.fail(error));
                        });
                        handover
                    });
                    work(0, handover);
                });
                team.dismiss();
            }
            None => work(0, None),
        }
        if let Some(error) = progress
            .failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            return Outcome::Failed(error);
        }
        let stopped = progress
            .stopped
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match stopped {
            Some(stopped) => Outcome::Stopped(stopped),
            None if progress.is_broken.into_inner() => {
                let refused = progress.refused.into_inner();
                Outcome::Broken(refused.unwrap_or_else(PoisonError::into_inner))
            }
            None => Outcome::Done,
        }
    }

    /// How many calls there is room for at a stretch.
    fn most(&self) -> usize {
        let calls = self.sinks.iter().map(Sink::most);
        calls.min().unwrap_or(usize::MAX)
    }

    /// One thread's part, and where it leaves what goes to files.
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
                }
            }
            gathered.begin(&calls);
            // SAFETY: the caller's promise; the sinks' lanes lie in buffers for as many calls.
            let made =
                unsafe { self.stretch(progress, gathered.plan(), calls.clone(), frame.words()) };
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
                let mut first = progress
                    .stopped
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                // Calls are given out in order, so that every one before has been or is being made.
                if first.as_ref().is_none_or(|first| call < first.call) {
                    *first = Some(stopped);
                }
                return ControlFlow::Break(());
            }
            Some(End::Refused(call)) => {
                let mut first = progress
                    .refused
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
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

/// Threads of one batch, which wait for the next when it is over.
///
/// No two batches share them: one that is quick would wait for one that is slow. A child that was
/// forked has no threads: it makes its own, and leaves the parent's alone.
struct Team {
    key: (u32, usize),
    pool: ThreadPool,
}

/// Teams without work, by process and number of threads.
static TEAMS: LazyLock<Mutex<Teams>> = LazyLock::new(Mutex::default);

type Teams = HashMap<(u32, usize), Vec<ThreadPool>>;

impl Team {
    /// `None` where the system gives no threads.
    fn gather(threads: usize) -> Option<Self> {
        let key = (process::id(), threads);
        let mut teams = TEAMS.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = teams.get_mut(&key).and_then(Vec::pop);
        drop(teams);
        let make = || {
            let name = |index| format!("mapcall-{index}");
            let pool = ThreadPoolBuilder::new().num_threads(threads);
            pool.thread_name(name).build().ok()
        };
        let pool = idle.or_else(make)?;
        Some(Self { key, pool })
    }

    fn dismiss(self) {
        let mut teams = TEAMS.lock().unwrap_or_else(PoisonError::into_inner);
        teams.entry(self.key).or_default().push(self.pool);
    }
}
