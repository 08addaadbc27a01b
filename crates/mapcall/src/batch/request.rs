//! A batch whose shapes, strides and outputs are all known.

#![allow(unsafe_code)]

use std::fmt;
use std::time::Instant;

use mapcall_array::layout::Dims;
use mapcall_array::{Buffer, NewFile};

use super::eviction::{Eviction, Stream};
use super::output::failed;
use super::plan::{Lanes, Plan};
use super::run::{BatchObserver, BatchRun, Outcome, PROGRESS_INTERVAL};
use super::write_buffer::FileOutput;
use crate::contract::{BroadcastPlan, Operand, Role};
use crate::function::{CallError, Function};

/// A batch to run: its broadcast plan, with all outputs allocated.
pub struct BatchRequest<'a> {
    /// How the arguments broadcast against each other.
    pub broadcast: &'a BroadcastPlan,
    /// The slots of the frame, with the values that are the same in each call.
    pub frame: &'a [u64],
    /// The buffers of the arrays that lie in maps.
    pub maps: &'a [(Role, Buffer)],
    /// Whether pages of these maps are dropped when they have been processed.
    pub stream: Stream,
    /// The files that outputs are written to; the plan has them [in order](BroadcastPlan::place_in_order).
    pub files: &'a [(Role, NewFile)],
    /// Whether written bytes are sent to the disk immediately.
    pub is_synced: bool,
    /// The number of threads; 0 for one for each core.
    pub threads: usize,
    /// Receives the progress and the results.
    pub observer: &'a dyn BatchObserver,
}

impl fmt::Debug for BatchRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchRequest")
            .field("broadcast", &self.broadcast)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Function {
    /// Waits until the files are on the disk, if that was asked for. It waits in pieces, so that the observer
    /// can end it.
    fn wait_for_files(&self, request: &BatchRequest<'_>, calls: usize) -> Result<(), CallError> {
        const PIECE: usize = 16 << 20;
        let mut pulse = Instant::now();
        for (_, file) in request.files {
            if !(request.is_synced || file.syncs()) {
                continue;
            }
            let bytes = file.layout().nbytes();
            for start in (0..bytes).step_by(PIECE) {
                file.wait_for(start..bytes.min(start + PIECE))
                    .map_err(|source| failed(self.contract(), source))?;
                if pulse.elapsed() < PROGRESS_INTERVAL {
                    continue;
                }
                pulse = Instant::now();
                if request.observer.progress(calls, calls).is_break() {
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
    /// The frame is filled as the contract asks. The operands lead to memory as it asks, which lives until
    /// this function returns. Until then no other code writes that memory, nor reads it where an operand
    /// is written. The function has the type that was promised when it was bound.
    ///
    /// # Errors
    ///
    /// [`CallError::Status`], [`CallError::Interrupted`], and [`CallError::Array`] for files that
    /// can't be written.
    pub unsafe fn run_batch(&self, request: &BatchRequest<'_>) -> Result<(), CallError> {
        let (contract, broadcast) = (self.contract(), request.broadcast);
        let lanes = Lanes::new(contract, broadcast);
        let plan = Plan::new(broadcast, &lanes);
        if plan.calls() == 0 {
            return Ok(());
        }
        let bytes = |(_, file): &(Role, NewFile)| file.layout().nbytes();
        let files = request.files.iter().map(bytes).sum();
        let operands: Dims<&Operand> = lanes.operands.iter().copied().chain(lanes.mask).collect();
        let eviction = Eviction::new(request.stream, &plan, &operands, request.maps, files);
        let is_synced = request.is_synced || eviction.evicts();
        let output = |(role, file)| {
            let (lane, operand) = lanes
                .operands
                .iter()
                .enumerate()
                .find(|(_, operand)| operand.role == role)?;
            Some(FileOutput {
                file,
                lane,
                size: operand.size,
                is_cleared: lanes.mask.is_some() || role != Role::Result,
                is_synced,
                evicts: eviction.evicts(),
            })
        };
        let outputs: Vec<FileOutput<'_>> = request
            .files
            .iter()
            .filter_map(|(role, file)| output((*role, file)))
            .collect();
        let calls = self.repeated(broadcast);
        let run = BatchRun {
            function: self,
            calls: &calls,
            plan: &plan,
            frame: request.frame,
            bytes: broadcast
                .operands()
                .iter()
                .map(|operand| operand.size)
                .sum(),
            outputs: &outputs,
            eviction,
            observer: request.observer,
        };
        // SAFETY: the caller's promise.
        match unsafe { run.run(request.threads) } {
            Outcome::Done => self.wait_for_files(request, plan.calls()),
            Outcome::Failed(source) => Err(failed(contract, source)),
            Outcome::Broken(refused) => Err(CallError::Interrupted {
                function: self.name().to_owned(),
                index: refused.map(|call| plan.index_of(call)),
            }),
            Outcome::Stopped(stopped) => {
                let checked = self.check_result(&stopped.result, stopped.errno);
                checked.map_err(|error| error.at(plan.index_of(stopped.call)))
            }
        }
    }
}
