//! The stages of a batch between the check of its arguments and its results.

#![allow(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::Instant;

use mapcall_array::layout::{Dims, Order};
use mapcall_array::{Array, Buffer, NewFile, WrittenFile, is_npy_name};

use smallvec::SmallVec;

use super::conversion::{Conversions, Copies, convert_repeated};
use super::eviction::{Eviction, Stream};
use super::plan::{MovingOperands, Plan};
use super::run::{BatchObserver, BatchRun, Outcome, PROGRESS_INTERVAL};
use super::write_buffer::{FileOutput, ItemWriter};
use crate::contract::{BroadcastPlan, Check, Contract, Operand, Output, Problem, Role};
use crate::function::{CallError, Function, InUse, SimdRefusal, guarded, new_array};

/// The options for the calls of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// The number of threads; 0 for one for each core.
    pub threads: usize,
    /// Whether pages of maps are dropped when they have been processed.
    pub stream: Stream,
    /// Whether a vector variant of the function makes the calls.
    pub simd: Simd,
    /// Whether the batch waits until new files are on the disk.
    pub is_synced: bool,
}

/// Whether a batch makes its calls by a vector variant of the function: see [`Batch::simd`](super::Batch::simd).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Simd {
    /// Each call is one of the function itself.
    #[default]
    Off,
    /// By a variant if there is one that can make the calls.
    Auto,
    /// By a variant; the batch is refused if none can make the calls.
    Required,
}

/// A batch whose arguments have been checked.
///
/// The stages of a batch, which are the same for each host language:
///
/// 1. Arrange: the host language assigns the destinations that its user gives to the
///    [outputs](Contract::outputs).
/// 2. Read: it gives each argument to a [`Check`].
/// 3. Finish: [`Check::finish`], then [`PreparedBatch::new`].
/// 4. Execute: [`place`](Self::place) or [`create_file`](Self::create_file) sets the memory of each of
///    the remaining [`outputs`](Self::outputs); [`run`](Self::run) makes the calls.
/// 5. Return: [`finish`](Self::finish) gives new files their names.
pub struct PreparedBatch<'a> {
    function: &'a Function,
    broadcast: Box<BroadcastPlan>,
    /// The slots of the frame, with the values that are the same in each call.
    frame: &'a [u64],
    nbytes: usize,
    /// The addresses of the arrays that lie in maps, or in memory of unknown origin.
    mapped: SmallVec<[Range<usize>; 4]>,
    outputs: Vec<Output>,
    /// The files that outputs are written to, which the plan has placed by
    /// [`place_in_order`](BroadcastPlan::place_in_order).
    files: Vec<(Role, NewFile, ItemWriter)>,
}

impl fmt::Debug for PreparedBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedBatch")
            .field("function", self.function)
            .field("broadcast", &self.broadcast)
            .finish_non_exhaustive()
    }
}

impl<'a> PreparedBatch<'a> {
    /// Prepares a batch from its finished check; `None` if it is a single call.
    #[must_use]
    pub fn new(function: &'a Function, check: Check<'a>) -> Option<Self> {
        let nbytes = check.nbytes();
        let outputs = (0..).map_while(|index| check.output(index)).collect();
        let mapped = check.mapped().collect();
        let (broadcast, frame) = check.into_batch()?;
        Some(Self {
            function,
            broadcast,
            frame,
            nbytes,
            mapped,
            outputs,
            files: Vec::new(),
        })
    }

    /// Returns the outputs that have to be allocated or written to files.
    #[must_use]
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Returns the size of the arrays that were given, in bytes.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.nbytes
    }

    /// Returns the broadcast plan of the arguments.
    #[must_use]
    pub fn broadcast(&self) -> &BroadcastPlan {
        &self.broadcast
    }

    /// Sets the memory of an output: the address of its first element, and its strides, in bytes.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if the address does not have the alignment of the C type.
    pub fn place(
        &mut self,
        output: &Output,
        address: *mut u8,
        strides: &[isize],
    ) -> Result<(), CallError> {
        let contract = self.function.contract();
        contract.check_alignment(output.role, address.addr())?;
        let strides = strides.get(..output.order.len()).unwrap_or_default();
        let size = output.call_size(contract);
        self.broadcast
            .place(contract, output.role, address, strides, size);
        Ok(())
    }

    /// Allocates an output: an array of zeros, whose axes lie in memory in the order of the calls.
    ///
    /// # Errors
    ///
    /// [`CallError::Array`] if there is no memory.
    pub(super) fn allocate(&mut self, output: &Output) -> Result<Array, CallError> {
        let array = new_array(self.function.contract(), output)?;
        self.place(output, array.as_mut_ptr(), array.strides())?;
        Ok(array)
    }

    /// Creates the `.npy` file that an output is written to. [`finish`](Self::finish) gives it its
    /// name. A file that has the name is replaced then, or written in place if it can't be replaced.
    ///
    /// # Errors
    ///
    /// [`CallError::Array`] if the system refuses, or if the disk is full; [`CallError::Argument`] if
    /// the path does not end in `.npy`, or if another output is written to that file.
    pub fn create_file(&mut self, output: &Output, path: &Path) -> Result<(), CallError> {
        let contract = self.function.contract();
        if !is_npy_name(path) {
            let path = path.to_path_buf();
            return Err(contract
                .refuse_role(output.role, Problem::Suffix { path })
                .into());
        }
        let dtype = output.dtype(contract);
        let core = output.shape.get(output.order.len()..);
        let core: Dims<usize> = core.unwrap_or_default().into();
        let is_column_major = output.is_column_major && core.len() > 1;
        // No file has items in Fortran order behind each other: in a batch, they are transposed.
        let is_transposed = is_column_major && !output.order.is_empty();
        let order = if is_column_major && !is_transposed {
            Order::F
        } else {
            Order::C
        };
        let item = ItemWriter {
            itemsize: dtype.itemsize(),
            transposed: is_transposed.then_some(core),
            fill: output.fill,
        };
        let file = NewFile::create(path, dtype, &output.shape, order);
        let file = file.map_err(|source| failed(contract, source))?;
        let mut files = self.files.iter();
        let same = files.find(|(_, other, _)| file.replaces(other));
        let written = || file.old().and_then(|old| self.broadcast.written_to(old));
        if let Some(other) = same.map(|(role, _, _)| *role).or_else(written) {
            let other = match other {
                Role::Parameter(position) => contract.name(position),
                Role::Result | Role::Mask => "the result",
            };
            let problem = Problem::SameFile {
                path: path.to_path_buf(),
                other: other.to_owned(),
            };
            return Err(contract.refuse_role(output.role, problem).into());
        }
        let size = output.call_size(contract);
        self.broadcast.place_in_order(contract, output.role, size);
        self.files.push((output.role, file, item));
        Ok(())
    }

    /// Closes the handles whose objects C owns after the batch: see [`Function::hand_over`].
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if there is such a handle and the batch has several calls or a mask.
    pub fn hand_over<'h>(
        &self,
        handles: impl Iterator<Item = &'h mut InUse>,
    ) -> Result<(), CallError> {
        Ok(self.function.hand_over(handles, Some(&self.broadcast))?)
    }

    /// Makes the calls. `maps` has the buffers of the arrays that lie in maps, with their roles.
    ///
    /// # Safety
    ///
    /// - All outputs are placed.
    /// - The memory of the arguments and outputs lives until this function returns. Until then no
    ///   other code writes it, nor reads memory that the calls write.
    /// - The function has the type of its prototype.
    ///
    /// # Errors
    ///
    /// [`CallError::Status`] if the result of a call is a failure; [`CallError::Interrupted`] if the
    /// observer ends the batch; [`CallError::Array`] if a file can't be written;
    /// [`CallError::Fault`] if a page of a map is gone.
    pub unsafe fn run(
        &self,
        options: &BatchOptions,
        maps: &[(Role, Buffer)],
        observer: &dyn BatchObserver,
    ) -> Result<(), CallError> {
        let function = self.function;
        let contract = function.contract();
        let mut broadcast = Cow::Borrowed(&*self.broadcast);
        let mut frame = Cow::Borrowed(self.frame);
        let mut copies = Vec::new();
        if self.broadcast.calls() > 0 && self.broadcast.converts() {
            // SAFETY: the caller guarantees that the memory of the arguments lives and that no other code
            // writes it.
            copies = unsafe { self.convert(broadcast.to_mut(), frame.to_mut(), observer) }?;
        }
        let broadcast = &*broadcast;
        let moving = MovingOperands::new(contract, broadcast);
        let plan = Plan::new(broadcast, &moving);
        if plan.calls() == 0 {
            return Ok(());
        }
        let bytes = |(_, file, _): &(Role, NewFile, ItemWriter)| file.layout().nbytes();
        let files = self.files.iter().map(bytes).sum();
        let operands: Dims<&Operand> = moving.operands.iter().copied().chain(moving.mask).collect();
        let eviction = Eviction::new(options.stream, &plan, &operands, maps, files);
        let is_synced = options.is_synced || eviction.evicts();
        let output = |(role, file, item)| {
            let (pointer, operand) = moving
                .operands
                .iter()
                .enumerate()
                .find(|(_, operand)| operand.role == role)?;
            Some(FileOutput {
                file,
                item,
                pointer,
                size: operand.size,
                is_cleared: moving.mask.is_some() || role != Role::Result,
                is_synced,
                evicts: eviction.evicts(),
            })
        };
        let outputs: Vec<FileOutput<'_>> = self
            .files
            .iter()
            .filter_map(|(role, file, item)| output((*role, file, item)))
            .collect();
        let conversions = Conversions::new(broadcast, &moving);
        let key = function.loop_key(broadcast);
        let calls = function.call_loop(&key);
        let vector_calls = match options.simd {
            Simd::Off => None,
            _ if observer.inspects() => Some(Err(function.no_vector_loop(SimdRefusal::Checked))),
            _ => Some(function.vector_loop(&key)),
        };
        let vector_calls = match vector_calls.transpose() {
            Err(error) if options.simd == Simd::Required => return Err(error.into()),
            found => found.ok().flatten(),
        };
        let run = BatchRun {
            function,
            calls: &calls,
            vector_calls: vector_calls.as_deref(),
            plan: &plan,
            frame: &frame,
            mapped: &self.mapped,
            bytes: broadcast
                .operands()
                .iter()
                .map(Operand::bytes)
                .fold(0, usize::saturating_add),
            outputs: &outputs,
            conversions: conversions.as_ref(),
            eviction,
            call_time: function.call_time(options.simd != Simd::Off),
            observer,
        };
        // SAFETY: the check has filled the frame and the plan. The caller guarantees that their memory
        // lives during the calls and is used by no other code.
        let outcome = unsafe { run.run(options.threads) };
        drop(copies);
        match outcome {
            Outcome::Done => self.wait_for_files(options, observer),
            Outcome::Failed(source) => Err(failed(contract, source)),
            Outcome::Faulted(call, fault) => Err(CallError::Fault {
                function: function.name().to_owned(),
                index: Some(plan.index_of(call)),
                fault,
            }),
            Outcome::Broken(refused) => Err(CallError::Interrupted {
                function: function.name().to_owned(),
                index: refused.map(|call| plan.index_of(call)),
            }),
            Outcome::Stopped(stopped) => {
                let checked = function.check_result(&stopped.result, stopped.errno);
                checked.map_err(|error| error.at(plan.index_of(stopped.call)))
            }
        }
    }

    /// Converts the operands that are repeated along the batch, before its first call.
    ///
    /// # Safety
    ///
    /// The memory of the arguments is valid, and no other code writes it meanwhile.
    unsafe fn convert(
        &self,
        broadcast: &mut BroadcastPlan,
        frame: &mut [u64],
        observer: &dyn BatchObserver,
    ) -> Result<Copies, CallError> {
        let contract = self.function.contract();
        let interrupted = || CallError::Interrupted {
            function: self.function.name().to_owned(),
            index: None,
        };
        let calls = broadcast.calls();
        let mut reported = Instant::now();
        let mut report = || {
            if reported.elapsed() < PROGRESS_INTERVAL {
                return ControlFlow::Continue(());
            }
            reported = Instant::now();
            observer.progress(0, calls)
        };
        let copies = guarded(self.function, &self.mapped, || {
            // SAFETY: the caller guarantees that the memory of the arguments is valid.
            unsafe { convert_repeated(contract, broadcast, frame, &mut report) }
        })?;
        let copies = copies.map_err(|source| failed(contract, source))?;
        copies.ok_or_else(interrupted)
    }

    /// Waits until the files are on the disk, if the options say so. It syncs a part of the file at a
    /// time, so that the observer can end the batch meanwhile.
    fn wait_for_files(
        &self,
        options: &BatchOptions,
        observer: &dyn BatchObserver,
    ) -> Result<(), CallError> {
        const PIECE: usize = 16 << 20;
        let calls = self.broadcast.calls();
        let mut reported = Instant::now();
        for (_, file, _) in &self.files {
            if !(options.is_synced || file.syncs()) {
                continue;
            }
            let bytes = file.layout().nbytes();
            for start in (0..bytes).step_by(PIECE) {
                file.wait_for(start..bytes.min(start + PIECE))
                    .map_err(|source| failed(self.function.contract(), source))?;
                if reported.elapsed() < PROGRESS_INTERVAL {
                    continue;
                }
                reported = Instant::now();
                if observer.progress(calls, calls).is_break() {
                    return Err(CallError::Interrupted {
                        function: self.function.name().to_owned(),
                        index: None,
                    });
                }
            }
        }
        Ok(())
    }

    /// Gives the new files their names, and returns the files.
    ///
    /// # Errors
    ///
    /// [`CallError::Array`] if the system can't rename a file.
    pub fn finish(self, options: &BatchOptions) -> Result<Vec<(Role, WrittenFile)>, CallError> {
        let contract = self.function.contract();
        // All files are prepared first: if one fails, the old files of the others are still there, too.
        for (_, file, _) in &self.files {
            if options.is_synced || file.syncs() {
                file.sync().map_err(|source| failed(contract, source))?;
            }
        }
        let named = self.files.into_iter().map(|(role, file, _)| {
            let named = if options.is_synced {
                file.persist_durably()
            } else {
                file.persist()
            };
            let named = named.map_err(|source| failed(contract, source))?;
            Ok((role, named))
        });
        named.collect()
    }
}

fn failed(contract: &Contract, source: mapcall_array::Error) -> CallError {
    CallError::Array {
        function: contract.prototype().name.clone(),
        source: Box::new(source),
    }
}
