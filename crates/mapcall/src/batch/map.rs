//! The Rust interface of batches: inputs, outputs and options.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Mutex;

use mapcall_array::{Buffer, DType};

use super::eviction::Stream;
use super::prepared::{BatchOptions, PreparedBatch, Simd};
use super::run::BatchObserver;
use crate::call::Frame;
use crate::contract::{Check, HostValue, Problem, Role};
use crate::function::{Arg, CallError, Function, Lent, push_argument};

impl Function {
    /// Calls the function for each element or sub-array of its arguments, as a generalized ufunc of
    /// NumPy does.
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
    /// order; [`Arg::Out`] stands for an output that is allocated, [`Arg::File`] for one that is written
    /// to a new `.npy` file, which may be larger than memory. The axes that an argument has beyond the
    /// brackets of its parameter are those of the batch, and broadcast; only the parameter's own axes must
    /// be contiguous. Each output needs an argument. A status that [`Success::Zero`] checks is no output, as
    /// it can only be 0.
    pub fn map<'a, 'b>(
        &'a self,
        inputs: &'a [Arg<'b>],
        outputs: &'a mut [Arg<'b>],
    ) -> Batch<'a, 'b> {
        Batch {
            function: self,
            inputs,
            outputs,
            options: BatchOptions {
                threads: 1,
                stream: Stream::Auto,
                simd: Simd::Off,
                is_synced: false,
            },
            converts: self.converts(),
            mask: None,
            progress: None,
        }
    }
}

/// A closure that receives the progress of a batch: the number of calls made and the number of all
/// calls.
type Report<'a> = dyn FnMut(usize, usize) -> ControlFlow<()> + Send + 'a;

/// A batch of calls, which [`run`](Self::run) makes: see [`Function::map`].
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
#[must_use = "calls are made by `run`"]
pub struct Batch<'a, 'b> {
    function: &'a Function,
    inputs: &'a [Arg<'b>],
    outputs: &'a mut [Arg<'b>],
    options: BatchOptions,
    converts: bool,
    mask: Option<&'a Arg<'b>>,
    progress: Option<Box<Report<'a>>>,
}

impl<'a, 'b> Batch<'a, 'b> {
    /// Sets the number of threads: 1 by default, 0 for one for each core, at most 256.
    ///
    /// The number of threads does not change the results, not even their last bits.
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = threads;
        self
    }

    /// Converts arrays that do not fit: their byte order, alignment, strides, and dtype, as
    /// [`Function::with_conversion`] says.
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    /// use mapcall::array::{Array, DType, layout::Order};
    ///
    /// # // SAFETY: the C library's own initialisers may run at any time.
    /// # let libm = unsafe { Library::open("m")? };
    /// # // SAFETY: this is the prototype of `cos`.
    /// # let cos = unsafe { libm.function("double cos(double x)")? };
    /// let x = Array::zeros(">f4".parse()?, &[1000], Order::C)?;
    /// let mut outputs = [Arg::Out];
    /// cos.map(&[Arg::from(&x)], &mut outputs).convert().run()?;
    /// assert_eq!(outputs[0].array().unwrap().view::<f64>()?.sum(), 1000.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Each thread converts the items of some calls at once, in a buffer that stays in its core's cache, so that the
    /// batch needs no more memory than that and no copy of a whole array. An array that is the same in each call is
    /// converted once, and so is one that is repeated along the batch if its items take at most 16 MiB. The outputs
    /// of calls that a mask leaves out stay as they are.
    pub fn convert(mut self) -> Self {
        self.converts = true;
        self
    }

    /// Makes only the calls for which a mask, an array of `bool` or bytes that broadcasts as any other
    /// argument, is not 0. The outputs of other calls stay as they are, or 0 if they are allocated.
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

    /// Sets whether pages of maps are evicted from memory when all calls have processed them: by default,
    /// if the files are larger than the memory that is free.
    ///
    /// Pages are evicted from this process's memory in pieces of 16 MiB, and from the page cache as
    /// well if the files are larger than the free memory. The pages of copy-on-write maps, and of maps
    /// that the batch does not read forwards, are not evicted.
    pub fn stream(mut self, stream: Stream) -> Self {
        self.options.stream = stream;
        self
    }

    /// Sets whether the calls are made by a vector variant of the function, which computes several items at once.
    ///
    /// ```
    /// use mapcall::batch::Simd;
    /// use mapcall::{Arg, Library};
    ///
    /// # // SAFETY: the C library's own initialisers may run at any time.
    /// # let libm = unsafe { Library::open("m")? };
    /// # // SAFETY: this is the prototype of `cos`.
    /// # let cos = unsafe { libm.function("double cos(double x)")? };
    /// let x: Vec<f64> = (0..1000).map(f64::from).collect();
    /// let mut y = vec![0.0; 1000];
    /// cos.map(&[Arg::from(&x)], &mut [Arg::from(&mut y)]).simd(Simd::Auto).run()?;
    /// assert!(x.iter().zip(&y).all(|(x, y)| (x.cos() - y).abs() < 1e-14));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Variants are functions that the library exports under the names of the machine's vector function ABI:
    /// compilers make them for `#pragma omp declare simd`, and the GNU C library has them for most functions of libm.
    /// The one with the widest registers of this processor is taken. Its results may differ from those of the
    /// function in the last bits, and it does not set `errno`.
    pub fn simd(mut self, simd: Simd) -> Self {
        self.options.simd = simd;
        self
    }

    /// Waits until new files are on the disk before [`run`](Self::run) returns.
    pub fn sync(mut self) -> Self {
        self.options.is_synced = true;
        self
    }

    /// Sets a closure that is called a few times a second with the number of calls made and the number
    /// of all calls. If it returns `Break`, the batch ends with [`CallError::Interrupted`].
    pub fn progress(
        mut self,
        report: impl FnMut(usize, usize) -> ControlFlow<()> + Send + 'a,
    ) -> Self {
        self.progress = Some(Box::new(report));
        self
    }

    /// Returns the dtype and shape of each output that will be allocated or written to a file, in order;
    /// `None` for one that is given.
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
    /// # Errors
    ///
    /// [`CallError::Argument`] if the prototype does not allow an argument, or if the number of
    /// outputs is wrong.
    pub fn outputs(&self) -> Result<Vec<Option<Shape>>, CallError> {
        let contract = self.function.contract();
        let mut frame = Frame::new(contract.slots());
        let check = Check::broadcasting(contract, frame.slots());
        let mut check = check.converting(self.converts);
        self.push_arguments(&mut check, &mut Lent::default())?;
        check.finish()?;
        self.check_outputs()?;
        let mut shapes = vec![None; contract.outputs().len()];
        for output in (0..).map_while(|index| check.output(index)) {
            let index = contract.output_index(output.role);
            if let Some(shape) = index.and_then(|index| shapes.get_mut(index)) {
                *shape = Some(Shape {
                    dtype: output.dtype(contract),
                    shape: output.shape.to_vec(),
                });
            }
        }
        Ok(shapes)
    }

    /// Checks the arguments and makes the calls.
    ///
    /// An output that was [`Arg::Out`] is the new array afterwards, [`Arg::Allocated`]; one that was
    /// [`Arg::File`] is the new file, [`Arg::Written`].
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if the prototype does not allow an argument: the function has not been
    /// called; [`CallError::Status`] if the result of a call is a failure, with its index in the
    /// batch; [`CallError::Simd`] if [`Simd::Required`] is set and no vector variant can make the calls;
    /// [`CallError::Interrupted`] if the progress closure returns `Break`; [`CallError::Array`]
    /// if there is no memory for an output, or if a file can't be written.
    pub fn run(self) -> Result<(), CallError> {
        let function = self.function;
        let contract = function.contract();
        let mut frame = Frame::new(contract.slots());
        let check = Check::broadcasting(contract, frame.slots());
        let mut check = check.converting(self.converts);
        let mut lent = Lent::default();
        self.push_arguments(&mut check, &mut lent)?;
        let maps = self.maps();
        check.finish()?;
        self.check_outputs()?;
        let Some(mut batch) = PreparedBatch::new(function, check) else {
            return Ok(());
        };
        let mut allocated = Vec::new();
        for output in batch.outputs().to_vec() {
            let index = contract.output_index(output.role);
            match index.and_then(|index| self.outputs.get(index)) {
                Some(Arg::File(path)) => batch.create_file(&output, path)?,
                _ => allocated.push((output.role, batch.allocate(&output)?)),
            }
        }
        let report = Reporter(self.progress.map(Mutex::new));
        batch.hand_over(lent.handles())?;
        // SAFETY: the arguments borrow the memory that the calls read and write, and `allocated` and
        // `batch` own the outputs. The caller of `Library::bind` guaranteed the prototype.
        unsafe { batch.run(&self.options, &maps, &report) }?;
        drop(lent);
        let allocated = allocated
            .into_iter()
            .map(|(role, array)| (role, Arg::Allocated(array)));
        let written = batch.finish(&self.options)?;
        let written = written
            .into_iter()
            .map(|(role, file)| (role, Arg::Written(file)));
        for (role, argument) in allocated.chain(written) {
            let index = contract.output_index(role);
            if let Some(output) = index.and_then(|index| self.outputs.get_mut(index)) {
                *output = argument;
            }
        }
        Ok(())
    }

    /// Checks the number of outputs.
    fn check_outputs(&self) -> Result<(), CallError> {
        let contract = self.function.contract();
        let (expected, found) = (contract.outputs().len(), self.outputs.len());
        if found == expected {
            return Ok(());
        }
        let problem = Problem::Outputs { expected, found };
        Err(contract.refuse_all(problem).into())
    }

    /// Returns the arguments that are given, with their roles.
    fn arguments(&self) -> impl Iterator<Item = (Role, &Arg<'b>)> {
        let contract = self.function.contract();
        let (mut inputs, mut outputs) = (self.inputs.iter(), self.outputs.iter());
        let result = contract
            .returned()
            .and_then(|_| Some((Role::Result, outputs.next()?)));
        let parameters = contract.arguments().iter().filter_map(move |&position| {
            let role = Role::Parameter(position);
            let argument = match contract.output_index(role) {
                Some(_) => outputs.next(),
                None => inputs.next(),
            };
            Some((role, argument?))
        });
        result.into_iter().chain(parameters)
    }

    /// Returns the buffers of arrays that lie in maps.
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

    /// Gives all arguments to the check.
    fn push_arguments(&self, check: &mut Check<'_>, lent: &mut Lent) -> Result<(), CallError> {
        let function = self.function;
        let contract = function.contract();
        if contract.is_unbatched() {
            let returns = contract.prototype().returns.to_string();
            return Err(contract.refuse_all(Problem::Unbatched { returns }).into());
        }
        check.insist_on_batch();
        function.push_extents(check)?;
        let mut omitted = contract.arguments().iter().copied().peekable();
        for (role, argument) in self.arguments() {
            if let Role::Parameter(position) = role {
                while let Some(other) = omitted.next_if(|&other| other < position) {
                    check.argument(Role::Parameter(other), HostValue::Omitted)?;
                }
                omitted.next();
            }
            push_argument(check, function, role, argument, lent)?;
        }
        for position in omitted {
            check.argument(Role::Parameter(position), HostValue::Omitted)?;
        }
        let is_input =
            |&&position: &&usize| contract.output_index(Role::Parameter(position)).is_none();
        let max = contract.arguments().iter().filter(is_input).count();
        let found = self.inputs.len();
        if found > max {
            return Err(contract.refuse_all(Problem::TooMany { max, found }).into());
        }
        if let Some(mask) = self.mask {
            push_argument(check, function, Role::Mask, mask, lent)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Batch<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("function", self.function)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The dtype and shape of an output.
///
/// See [`Batch::outputs`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shape {
    /// The dtype of an element.
    pub dtype: DType,
    /// The lengths of the axes, those of the batch first.
    pub shape: Vec<usize>,
}

impl Shape {
    /// Returns the size in bytes; `usize::MAX` if no memory can hold it.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let lengths = self.shape.iter();
        lengths.fold(self.dtype.itemsize(), |bytes, &length| {
            bytes.saturating_mul(length)
        })
    }
}

/// A batch observer that passes the progress to a closure.
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
