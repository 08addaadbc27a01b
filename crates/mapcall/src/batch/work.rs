//! A batch in which nothing is left to be found out.

#![allow(unsafe_code)]

use std::fmt;
use std::time::Instant;

use mapcall_array::layout::Dims;
use mapcall_array::{Buffer, NewFile};

use super::output::failed;
use super::plan::{Lanes, Plan};
use super::run::{BatchRun, Host, Outcome, PULSE};
use super::stream::{Eviction, Stream};
use super::write_buffer::FileOutput;
use crate::contract::{Loops, Role, Track};
use crate::function::{CallError, Function};

/// A batch whose loop has been settled, with all outputs in place.
pub struct Work<'a> {
    /// The loop.
    pub loops: &'a Loops,
    /// The words that are the same in each call.
    pub frame: &'a [u64],
    /// The buffers of the arrays that lie in maps.
    pub maps: &'a [(Role, Buffer)],
    /// Whether they are let go behind the calls.
    pub stream: Stream,
    /// The files that outputs go to, which the loop has [in order](Loops::place_in_order).
    pub files: &'a [(Role, NewFile)],
    /// Whether what is written to files goes to the disk at once.
    pub is_synced: bool,
    /// How many threads; 0 for as many as there are cores.
    pub threads: usize,
    /// Who wants to know.
    pub host: &'a dyn Host,
}

impl fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("loops", &self.loops)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Function {
    /// Waits until what must be on the disk is there, in pieces, so that the host is still heard.
    fn settle(&self, work: &Work<'_>, calls: usize) -> Result<(), CallError> {
        const PIECE: usize = 16 << 20;
        let mut pulse = Instant::now();
        for (_, file) in work.files {
            if !(work.is_synced || file.syncs()) {
                continue;
            }
            let bytes = file.layout().nbytes();
            for start in (0..bytes).step_by(PIECE) {
                file.wait_for(start..bytes.min(start + PIECE))
                    .map_err(|source| failed(self.contract(), source))?;
                if pulse.elapsed() < PULSE {
                    continue;
                }
                pulse = Instant::now();
                if work.host.pulse(calls, calls).is_break() {
                    return Err(CallError::Interrupted {
                        function: self.name().to_owned(),
                        index: None,
                    });
                }
            }
        }
        Ok(())
    }

    /// Makes the calls of a batch.
    ///
    /// # Safety
    ///
    /// The frame must be filled as the contract asks, the tracks lead to memory as it asks, which lives
    /// until this returns and that nobody else writes, or reads where it is written, but for another
    /// track; and the promise made when the function was bound.
    ///
    /// # Errors
    ///
    /// [`CallError::Status`], [`CallError::Interrupted`], and [`CallError::Array`] for files that
    /// can't be written.
    pub unsafe fn run_batch(&self, work: &Work<'_>) -> Result<(), CallError> {
        let (contract, loops) = (self.contract(), work.loops);
        let lanes = Lanes::new(contract, loops);
        let plan = Plan::new(loops, &lanes);
        if plan.calls() == 0 {
            return Ok(());
        }
        let bytes = |(_, file): &(Role, NewFile)| file.layout().nbytes();
        let files = work.files.iter().map(bytes).sum();
        let tracks: Dims<&Track> = lanes.tracks.iter().copied().chain(lanes.mask).collect();
        let eviction = Eviction::new(work.stream, &plan, &tracks, work.maps, files);
        let is_synced = work.is_synced || eviction.evicts();
        let output = |(role, file)| {
            let (lane, track) = lanes
                .tracks
                .iter()
                .enumerate()
                .find(|(_, track)| track.role == role)?;
            Some(FileOutput {
                file,
                lane,
                size: track.size,
                is_cleared: lanes.mask.is_some() || role != Role::Result,
                is_synced,
                evicts: eviction.evicts(),
            })
        };
        let outputs: Vec<FileOutput<'_>> = work
            .files
            .iter()
            .filter_map(|(role, file)| output((*role, file)))
            .collect();
        let calls = self.repeated(loops);
        let run = BatchRun {
            function: self,
            calls: &calls,
            plan: &plan,
            frame: work.frame,
            bytes: loops.tracks().iter().map(|track| track.size).sum(),
            outputs: &outputs,
            eviction,
            host: work.host,
        };
        // SAFETY: the caller's promise.
        match unsafe { run.run(work.threads) } {
            Outcome::Done => self.settle(work, plan.calls()),
            Outcome::Failed(source) => Err(failed(contract, source)),
            Outcome::Broken(refused) => Err(CallError::Interrupted {
                function: self.name().to_owned(),
                index: refused.map(|call| plan.index_of(call)),
            }),
            Outcome::Stopped(stopped) => {
                let judged = self.judge(&stopped.result, stopped.errno);
                judged.map_err(|error| error.at(plan.index_of(stopped.call)))
            }
        }
    }
}
