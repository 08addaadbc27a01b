//! What Rust asks for: inputs, outputs, and how the calls are made.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Mutex;

use mapcall_array::{Buffer, DType};

use super::eviction::Stream;
use super::output::{self, finish};
use super::request::BatchRequest;
use super::run::BatchObserver;
use crate::CType;
use crate::contract::{Check, Contract, Memory, Problem, Remedy, Role};
use crate::ctype::Integer;
use crate::function::{Arg, CallError, Frame, Function, Slot, Success, pass};

impl Function {
    /// Calls it for each item of a batch.
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    ///
    /// // SAFETY: the C library's own initialisers may run at any time.
    /// let libm = unsafe { Library::open("m")? };
    /// // SAFETY: this is the prototype of `frexp`, which writes one int.
    /// let frexp = unsafe { libm.function("double frexp(double x, int exponent[1])")? };
    ///
    /// let x = [12.0, 0.5, -3.0];
    /// let mut outputs = [Arg::Out, Arg::Out];
    /// frexp.map(&[Arg::from(&x)], &mut outputs).run()?;
    /// let [fractions, exponents] = outputs.map(|output| output.into_array().unwrap());
    /// assert_eq!(fractions.view::<f64>()?.as_slice(), Some(&[0.75, 0.5, -0.75][..]));
    /// assert_eq!(exponents.shape(), [3, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Inputs and outputs are those of [`Prototype::signature`](crate::Prototype::signature), in its
    /// order; [`Arg::Out`] stands for an output that is made, [`Arg::File`] for one that goes to a new
    /// `.npy` file, which may be larger than memory. An argument's axes that its parameter
    /// has no brackets for are those of the batch, and broadcast; only the parameter's own must be
    /// contiguous. Each output needs its place; only a status that [`Success::Zero`] checks may do
    /// without, as all that it can be is 0.
    pub fn map<'a, 'b>(
        &'a self,
        inputs: &'a [Arg<'b>],
        outputs: &'a mut [Arg<'b>],
    ) -> Batch<'a, 'b> {
        Batch {
            function: self,
            inputs,
            outputs,
            threads: 1,
            is_synced: false,
            stream: Stream::Auto,
            mask: None,
            progress: None,
        }
    }
}

/// What is told how far a batch is: calls made, and calls in all.
type Report<'a> = dyn FnMut(usize, usize) -> ControlFlow<()> + Send + 'a;

/// The calls of a batch, to be made: see [`Function::map`].
///
/// ```
/// use std::ops::ControlFlow;
/// use mapcall::{Arg, Library};
///
/// // SAFETY: the C library's own initialisers may run at any time.
/// let libm = unsafe { Library::open("m")? };
/// // SAFETY: this is the prototype of `cos`.
/// let cos = unsafe { libm.function("double cos(double x)")? };
/// let x = vec![0.5; 1000];
/// let mut y = vec![0.0; 1000];
/// cos.map(&[Arg::from(&x)], &mut [Arg::from(&mut y)])
///     .threads(2)
///     .progress(|done, calls| {
///         println!("{done} of {calls}");
///         ControlFlow::Continue(())
///     })
///     .run()?;
/// assert_eq!(y[999], 0.5_f64.cos());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is called before `run`"]
pub struct Batch<'a, 'b> {
    function: &'a Function,
    inputs: &'a [Arg<'b>],
    outputs: &'a mut [Arg<'b>],
    threads: usize,
    is_synced: bool,
    stream: Stream,
    mask: Option<&'a Arg<'b>>,
    progress: Option<Box<Report<'a>>>,
}

impl<'a, 'b> Batch<'a, 'b> {
    /// On how many threads: 1 by default, 0 for as many as there are cores, and never more than 256.
    ///
    /// The results are the same, bit for bit.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Makes only the calls for which an array of `bool` or bytes, which broadcasts as any other, has
    /// anything but 0; the others' outputs stay as they are, or 0 where they are made.
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    ///
    /// # // SAFETY: the C library's own initialisers may run at any time.
    /// # let libm = unsafe { Library::open("m")? };
    /// # // SAFETY: this is the prototype of `sqrt`.
    /// # let sqrt = unsafe { libm.function("double sqrt(double x)")? };
    /// let x = [4.0, -4.0];
    /// let mut y = [9.0, 9.0];
    /// sqrt.map(&[Arg::from(&x)], &mut [Arg::from(&mut y)])
    ///     .only(&Arg::from(&[1_u8, 0]))
    ///     .run()?;
    /// assert_eq!(y, [2.0, 9.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn only(mut self, mask: &'a Arg<'b>) -> Self {
        self.mask = Some(mask);
        self
    }

    /// Whether maps are let go where all calls have passed, so that memory stays bounded: by default,
    /// when the files are larger than the memory that is free.
    ///
    /// Pages of maps leave this process's memory in pieces of 16 MiB, and the system's cache
    /// as well where the files are larger than what is free. Maps that the batch doesn't walk forwards
    /// through, and copy-on-write ones, stay.
    pub fn stream(mut self, stream: Stream) -> Self {
        self.stream = stream;
        self
    }

    /// New files are on the disk when [`run`](Self::run) returns.
    pub fn sync(mut self) -> Self {
        self.is_synced = true;
        self
    }

    /// Is told, a few times a second, how many calls have been made and how many there are; `Break`
    /// ends the batch with [`CallError::Interrupted`].
    pub fn progress(
        mut self,
        report: impl FnMut(usize, usize) -> ControlFlow<()> + Send + 'a,
    ) -> Self {
        self.progress = Some(Box::new(report));
        self
    }

    /// What the calls will make: for each output in order its dtype and shape, or `None` for one
    /// that is given.
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    /// use mapcall::array::DType;
    ///
    /// # // SAFETY: the C library's own initialisers may run at any time.
    /// # let libm = unsafe { Library::open("m")? };
    /// # // SAFETY: this is the prototype of `frexp`, which writes one int.
    /// # let frexp = unsafe { libm.function("double frexp(double x, int exponent[1])")? };
    /// let x = [12.0, 0.5, -3.0];
    /// let mut outputs = [Arg::Out, Arg::Out];
    /// let made = frexp.map(&[Arg::from(&x)], &mut outputs).outputs()?;
    /// let exponents = made[1].as_ref().unwrap();
    /// assert_eq!((&exponents.dtype, &exponents.shape[..]), (&DType::I32, &[3, 1][..]));
    /// assert_eq!(exponents.nbytes(), 12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// So a caller knows how much memory or disk space that is.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`].
    pub fn outputs(&self) -> Result<Vec<Option<Shape>>, CallError> {
        let contract = self.function.contract();
        let mut frame = Frame::new(contract.words());
        let mut check = Check::broadcasting(contract, frame.words());
        self.tell(&mut check, &mut Vec::new())?;
        check.finish()?;
        self.check_outputs()?;
        let mut made = vec![None; output::outputs_of(contract)];
        let mut index = 0;
        while let Some(output) = check.output(index) {
            if let Some(place) = made.get_mut(output::output_index(contract, output.role)) {
                *place = Some(Shape {
                    dtype: output.dtype(contract),
                    shape: output.shape.to_vec(),
                });
            }
            index += 1;
        }
        Ok(made)
    }

    /// Makes the calls.
    ///
    /// Where [`Arg::Out`] stood for an output, the new array stands afterwards.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`], and nothing has been called; [`CallError::Status`] when a call says
    /// that it failed, with its place in the batch; [`CallError::Interrupted`];
    /// [`CallError::Array`] if there is no memory for an output.
    pub fn run(self) -> Result<(), CallError> {
        let function = self.function;
        let contract = function.contract();
        let mut frame = Frame::new(contract.words());
        let mut check = Check::broadcasting(contract, frame.words());
        let mut kept = Vec::new();
        self.tell(&mut check, &mut kept)?;
        let maps = self.maps();
        check.finish()?;
        self.check_outputs()?;
        let mut outputs = Vec::new();
        while let Some(output) = check.output(outputs.len()) {
            outputs.push(output);
        }
        let Some((mut broadcast, frame)) = check.into_batch() else {
            return Ok(());
        };
        let (mut made, mut files) = (Vec::new(), Vec::new());
        for output in &outputs {
            match self
                .outputs
                .get(output::output_index(contract, output.role))
            {
                Some(Arg::File(path)) => output.file(contract, &mut broadcast, path, &mut files)?,
                _ => made.push((output.role, output.array(contract, &mut broadcast)?)),
            }
        }
        let report = Reporter(self.progress.map(Mutex::new));
        let work = BatchRequest {
            broadcast: &broadcast,
            frame,
            files: &files,
            maps: &maps,
            stream: self.stream,
            is_synced: self.is_synced,
            threads: self.threads,
            observer: &report,
        };
        function.hand_over(
            kept.iter_mut().filter_map(pass::Kept::handle),
            Some(&broadcast),
        )?;
        // SAFETY: what the prototype measures is checked; what is read and written is borrowed by the
        // arguments, and what has been made is in `made`.
        unsafe { function.run_batch(&work) }?;
        drop(kept);
        finish(contract, files, self.is_synced)?;
        for (role, array) in made {
            let place = self.outputs.get_mut(output::output_index(contract, role));
            if let Some(place @ Arg::Out) = place {
                *place = Arg::Allocated(array);
            }
        }
        Ok(())
    }

    /// Everything that the calls make has a place to go; but for results that must all be 0.
    fn check_outputs(&self) -> Result<(), CallError> {
        let contract = self.function.contract();
        let (expected, found) = (output::outputs_of(contract), self.outputs.len());
        let is_status = self.function.success() == Success::Zero && contract.returned().is_some();
        if found == expected || (found == 0 && expected == 1 && is_status) {
            return Ok(());
        }
        let problem = if found < expected {
            Problem::MissingOutputs { expected, found }
        } else {
            Problem::Outputs { expected, found }
        };
        Err(contract.refuse_all(problem).into())
    }

    /// Each argument that is given, and what it is.
    fn arguments(&self) -> impl Iterator<Item = (Role, &Arg<'b>)> {
        let contract = self.function.contract();
        let (mut inputs, mut outputs) = (self.inputs.iter(), self.outputs.iter());
        let result = contract
            .returned()
            .and_then(|_| Some((Role::Result, outputs.next()?)));
        let parameters = contract.arguments().iter().filter_map(move |&position| {
            let given = if output::is_output(contract, position) {
                outputs.next()
            } else {
                inputs.next()
            };
            Some((Role::Parameter(position), given?))
        });
        result.into_iter().chain(parameters)
    }

    /// The buffers of arrays that lie in maps.
    fn maps(&self) -> Vec<(Role, Buffer)> {
        let buffer = |(role, argument): (Role, &Arg<'_>)| {
            let buffer = match argument {
                Arg::Slot(slot) => slot.map(),
                _ => None,
            };
            buffer.map(|buffer| (role, buffer.clone()))
        };
        let mask = self.mask.map(|mask| (Role::Mask, mask));
        self.arguments().chain(mask).filter_map(buffer).collect()
    }

    /// Tells the check all arguments.
    fn tell(&self, check: &mut Check<'_>, kept: &mut Vec<pass::Kept>) -> Result<(), CallError> {
        let contract = self.function.contract();
        let returns = &contract.prototype().returns;
        if contract.returned().is_none() && *returns.resolved() != CType::Void {
            let returns = returns.to_string();
            return Err(contract.refuse_all(Problem::Unbatched { returns }).into());
        }
        check.insist_on_batch();
        self.function.tell_extents(check)?;
        let mut left_out = contract.arguments().iter().copied().peekable();
        for (role, argument) in self.arguments() {
            let Role::Parameter(position) = role else {
                result_argument(check, contract, argument)?;
                continue;
            };
            while let Some(other) = left_out.next_if(|&other| other < position) {
                check.leave_out(other)?;
            }
            left_out.next();
            pass::argument(check, self.function, position, argument, false, kept)?;
        }
        for position in left_out {
            check.leave_out(position)?;
        }
        let written = output::outputs_of(contract) - usize::from(contract.returned().is_some());
        let (most, found) = (contract.arguments().len() - written, self.inputs.len());
        if found > most {
            return Err(contract.refuse_all(Problem::TooMany { most, found }).into());
        }
        if let Some(mask) = self.mask {
            mask_argument(check, contract, mask)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Batch<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("function", self.function)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// What an output of a batch will be.
///
/// See [`Batch::outputs`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shape {
    /// What an element is.
    pub dtype: DType,
    /// The lengths of the axes, those of the batch first.
    pub shape: Vec<usize>,
}

impl Shape {
    /// How many bytes that is; what no memory can hold is the most that a number can say.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let lengths = self.shape.iter();
        lengths.fold(self.dtype.itemsize(), |bytes, &length| {
            bytes.saturating_mul(length)
        })
    }
}

fn result_argument(
    check: &mut Check<'_>,
    contract: &Contract,
    argument: &Arg<'_>,
) -> Result<(), CallError> {
    let refuse = |problem| contract.refuse_role(Role::Result, problem);
    let Some(rule) = contract.returned() else {
        return Ok(());
    };
    let made;
    let slot = match argument {
        Arg::Out | Arg::File(_) => return Ok(()),
        Arg::Slot(slot) => slot,
        Arg::Allocated(array) => {
            made = Slot::of_array(array, true);
            &made
        }
        other => {
            let (found, remedy) = (other.kind().into(), Remedy::MakeArray(rule.dtype.clone()));
            return Err(refuse(Problem::Type { found, remedy }).into());
        }
    };
    slot.check_dtype(&rule.ctype, &rule.dtype).map_err(refuse)?;
    check.result(slot.memory(false).map_err(refuse)?)?;
    Ok(())
}

fn mask_argument(
    check: &mut Check<'_>,
    contract: &Contract,
    argument: &Arg<'_>,
) -> Result<(), CallError> {
    let refuse = |problem| contract.refuse_role(Role::Mask, problem);
    let memory: Memory<'_> = match argument {
        Arg::Slot(slot) => {
            let byte = CType::Integer(Integer::Char);
            if slot.check_dtype(&byte, &DType::I8).is_err() {
                slot.check_dtype(&CType::Bool, &DType::BOOL)
                    .map_err(refuse)?;
            }
            slot.memory(true).map_err(refuse)?
        }
        other => {
            let (found, remedy) = (other.kind().into(), Remedy::MakeArray(DType::BOOL));
            return Err(refuse(Problem::Type { found, remedy }).into());
        }
    };
    check.mask(memory);
    Ok(())
}

/// Tells a closure of the progress.
struct Reporter<'a>(Option<Mutex<Box<Report<'a>>>>);

impl BatchObserver for Reporter<'_> {
    fn progress(&self, done: usize, calls: usize) -> ControlFlow<()> {
        match self.0.as_ref().map(Mutex::lock) {
            Some(Ok(mut report)) => report(done, calls),
            Some(Err(_)) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }
}
