//! The conversion of elements from one dtype to another: byte order, alignment, strides and casts.
//!
//! ```
//! use mapcall_array::DType;
//! use mapcall_array::convert::Cast;
//!
//! let cast = Cast::new(&">f4".parse()?, &DType::F64).unwrap();
//! let from = [1.5_f32.to_be_bytes(), (-2.0_f32).to_be_bytes()];
//! let mut to = [0.0_f64; 2];
//! // SAFETY: both arrays have two elements at these strides.
//! unsafe { cast.run(&[2], (from.as_ptr().cast(), &[4]), (to.as_mut_ptr().cast(), &[8])) };
//! assert_eq!(to, [1.5, -2.0]);
//!
//! // NumPy's rule `same_kind` forbids a cast from a floating number to an integer.
//! assert!(Cast::new(&DType::F32, &DType::I32).is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Cast`] is a list of steps, each for one number of an element, with its byte order. `number` has the casts of
//! numbers over contiguous memory, `motion` the copies between strided and contiguous memory that reverse
//! bytes; both have loops that compilers vectorize.

#![allow(unsafe_code)]

mod motion;
mod number;

use smallvec::{SmallVec, smallvec};

use crate::dtype::{DType, ScalarType};
use motion::Motion;
use number::Kernel;

/// The number of elements that are cast at once, by way of contiguous memory on the stack.
const BLOCK: usize = 256;

/// The largest size of a number that is cast, in bytes.
const MAX_WIDTH: usize = 8;

/// The length from which an axis is worth an inner loop even if another axis is longer.
const LONG: usize = 16;

/// A conversion of elements of one dtype to elements of another.
///
/// See [the module](self) for an example. Which conversions there are is decided by NumPy's rule `same_kind`:
///
/// - A number is cast to any number of its kind, or of a kind behind it: bool, unsigned, signed, floating, complex.
///   The values are NumPy's: a float64 that is too large for float32 becomes infinite, an int64 that is too large for
///   int32 loses its high bits.
/// - A structured dtype is converted to one that has fields of the same names in the same order, each of which is
///   converted. Offsets may differ; bytes between fields stay as they are. So are sub-arrays of the same shape.
/// - Any other dtype, and `long double`, is only converted to itself, in either byte order.
#[derive(Clone, Debug)]
pub struct Cast {
    steps: Box<[Step]>,
}

/// The conversion of one number of each element, or of several in a row.
#[derive(Clone, Debug)]
struct Step {
    /// The offset in an element of the source, in bytes.
    from: usize,
    /// The offset in an element of the target, in bytes.
    to: usize,
    /// The axes within an element, the slowest first.
    axes: Axes,
    kind: Kind,
}

type Axes = SmallVec<[Axis; 4]>;

/// An axis of the memory that is converted.
#[derive(Clone, Copy, Debug)]
struct Axis {
    length: usize,
    /// The strides in the source and in the target, in bytes.
    from: isize,
    to: isize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A copy of a number, whose bytes may be reversed.
    Move(Motion),
    /// A copy of any number of bytes.
    Copy(usize),
    /// Zeros, for the imaginary part of a real number.
    Zero(usize),
    /// A cast, with the motions of the two numbers.
    Cast {
        kernel: Kernel,
        from: Motion,
        to: Motion,
    },
}

impl Cast {
    /// Makes the conversion; `None` if `same_kind` forbids it.
    ///
    /// ```
    /// use mapcall_array::DType;
    /// use mapcall_array::convert::Cast;
    ///
    /// let packed = DType::structured([("id", DType::U8), ("mass", ">f8".parse()?)])?;
    /// let aligned = DType::structured_aligned([("id", DType::U8), ("mass", DType::F64)])?;
    /// assert!(Cast::new(&packed, &aligned).is_some());
    /// assert!(Cast::new(&packed, &DType::structured([("id", DType::U8)])?).is_none());
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn new(from: &DType, to: &DType) -> Option<Self> {
        let mut steps = Vec::new();
        push(&mut steps, (from, 0), (to, 0), &Axes::new())?;
        Some(Self {
            steps: steps.into(),
        })
    }

    /// Converts an array. `from` and `to` have the address of the first element and the strides along the axes
    /// of `shape`, in bytes.
    ///
    /// # Safety
    ///
    /// - Each element of `from` is valid for reads of the source's itemsize, and each of `to` for writes of the
    ///   target's. They need no alignment.
    /// - The elements of `to` share no byte with those of `from`.
    /// - No other code writes the elements of `from`, or accesses those of `to`, meanwhile.
    pub unsafe fn run(
        &self,
        shape: &[usize],
        from: (*const u8, &[isize]),
        to: (*mut u8, &[isize]),
    ) {
        if shape.contains(&0) {
            return;
        }
        let axes = shape.iter().zip(from.1).zip(to.1);
        let axes: Axes = axes
            .map(|((&length, &from), &to)| Axis { length, from, to })
            .collect();
        for step in &self.steps {
            let mut all: Axes = SmallVec::new();
            for &axis in axes.iter().chain(&step.axes) {
                push_axis(&mut all, axis);
            }
            let from = from.0.wrapping_add(step.from);
            let to = to.0.wrapping_add(step.to);
            // SAFETY: the axes are those of the array and of this part of its elements, which the caller
            // guarantees to be valid.
            unsafe { step.kind.run(all, from, to) };
        }
    }
}

/// Adds an axis behind the others, merged with the last one if both are contiguous across the two.
fn push_axis(axes: &mut Axes, axis: Axis) {
    if axis.length == 1 {
        return;
    }
    let length = axis.length.cast_signed();
    match axes.last_mut() {
        Some(last)
            if last.from == axis.from.wrapping_mul(length)
                && last.to == axis.to.wrapping_mul(length) =>
        {
            last.length = last.length.wrapping_mul(axis.length);
            last.from = axis.from;
            last.to = axis.to;
        }
        _ => axes.push(axis),
    }
}

impl Kind {
    /// Converts the numbers along some axes.
    ///
    /// # Safety
    ///
    /// The addresses along the axes are valid for reads and writes of the number, as for [`Cast::run`].
    unsafe fn run(self, mut axes: Axes, from: *const u8, to: *mut u8) {
        let longest = (0..axes.len()).max_by_key(|&axis| axes.get(axis).map(|axis| axis.length));
        let last = axes.len().saturating_sub(1);
        if let Some(longest) = longest
            && axes.last().is_some_and(|axis| axis.length < LONG)
        {
            axes.swap(longest, last);
        }
        let inner = axes.pop().unwrap_or(Axis {
            length: 1,
            from: 0,
            to: 0,
        });
        let mut index: SmallVec<[usize; 4]> = smallvec![0; axes.len()];
        let (mut from, mut to) = (from, to);
        loop {
            // SAFETY: the addresses are those of an index along the outer axes, at which the caller guarantees the
            // numbers along the inner one to be valid.
            unsafe { self.along(inner, from, to) };
            // Increment the index, the fastest axis first.
            let mut is_over = true;
            for (coordinate, axis) in index.iter_mut().zip(&axes).rev() {
                *coordinate += 1;
                from = from.wrapping_offset(axis.from);
                to = to.wrapping_offset(axis.to);
                if *coordinate < axis.length {
                    is_over = false;
                    break;
                }
                let back = axis.length.cast_signed();
                from = from.wrapping_offset(axis.from.wrapping_mul(back).wrapping_neg());
                to = to.wrapping_offset(axis.to.wrapping_mul(back).wrapping_neg());
                *coordinate = 0;
            }
            if is_over {
                break;
            }
        }
    }

    /// Converts the numbers along one axis.
    ///
    /// # Safety
    ///
    /// The addresses along the axis are valid for reads and writes of the number, as for [`Cast::run`].
    unsafe fn along(self, axis: Axis, from: *const u8, to: *mut u8) {
        match self {
            Self::Move(motion) => {
                // SAFETY: the caller guarantees that the numbers along the axis are valid.
                unsafe { motion.run(axis.length, (from, axis.from), (to, axis.to)) };
            }
            Self::Copy(size) => {
                // SAFETY: the caller guarantees that the bytes along the axis are valid.
                unsafe { motion::copy(size, axis.length, (from, axis.from), (to, axis.to)) };
            }
            Self::Zero(size) => {
                for item in 0..axis.length.cast_signed() {
                    let to = to.wrapping_offset(axis.to.wrapping_mul(item));
                    // SAFETY: the caller guarantees that the bytes are valid for writes.
                    unsafe { to.write_bytes(0, size) };
                }
            }
            Self::Cast {
                kernel,
                from: read,
                to: write,
            } => {
                // SAFETY: the caller guarantees that the numbers along the axis are valid, and the kernel is
                // for numbers of these motions.
                unsafe { cast(kernel, (read, from), (write, to), axis) };
            }
        }
    }
}

/// Casts the numbers along one axis, a block at a time. What is not contiguous, or has the other byte order, is copied
/// to or from a block on the stack.
///
/// # Safety
///
/// The addresses along the axis are valid for reads and writes of the number, as for [`Cast::run`], and `kernel`
/// casts numbers of the motions' sizes.
unsafe fn cast(
    kernel: Kernel,
    (read, from): (Motion, *const u8),
    (write, to): (Motion, *mut u8),
    axis: Axis,
) {
    let mut blocks = [[0_u64; BLOCK * MAX_WIDTH / size_of::<u64>()]; 2];
    let [source, target] = &mut blocks;
    let (source, target) = (
        source.as_mut_ptr().cast::<u8>(),
        target.as_mut_ptr().cast::<u8>(),
    );
    let is_dense = |motion: Motion, stride: isize| {
        !motion.reverses() && stride.cast_unsigned() == motion.size()
    };
    let (reads, writes) = (is_dense(read, axis.from), is_dense(write, axis.to));
    let (from_step, to_step) = (read.size().cast_signed(), write.size().cast_signed());
    let length = if reads && writes { axis.length } else { BLOCK };
    let mut start = 0;
    while start < axis.length {
        let count = length.min(axis.length - start);
        let from = from.wrapping_offset(axis.from.wrapping_mul(start.cast_signed()));
        let to = to.wrapping_offset(axis.to.wrapping_mul(start.cast_signed()));
        if !reads {
            // SAFETY: the caller guarantees that the numbers are valid for reads, and the block has room for them.
            unsafe { read.run(count, (from, axis.from), (source, from_step)) };
        }
        let input = if reads { from } else { source.cast_const() };
        let output = if writes { to } else { target };
        // SAFETY: `input` has `count` numbers one after the other, and `output` room for as many.
        unsafe { kernel.run(input, output, count) };
        if !writes {
            // SAFETY: the block has `count` numbers, and the caller guarantees that the target is valid for writes.
            unsafe { write.run(count, (target.cast_const(), to_step), (to, axis.to)) };
        }
        start += count;
    }
}

/// Adds the steps of a conversion. Each dtype comes with its offset in an element.
fn push(
    steps: &mut Vec<Step>,
    (from, from_offset): (&DType, usize),
    (to, to_offset): (&DType, usize),
    axes: &Axes,
) -> Option<()> {
    let mut step = |from: usize, to: usize, axes: &Axes, kind| {
        steps.push(Step {
            from: from_offset + from,
            to: to_offset + to,
            axes: axes.clone(),
            kind,
        });
    };
    if from == to {
        let size = from.itemsize();
        let motion = Motion::new(size, false);
        step(0, 0, axes, motion.map_or(Kind::Copy(size), Kind::Move));
        return Some(());
    }
    if let (Some((from_base, from_shape)), Some((to_base, to_shape))) =
        (from.subdtype(), to.subdtype())
    {
        if from_shape != to_shape {
            return None;
        }
        let axis = Axis {
            length: from_shape.iter().product(),
            from: from_base.itemsize().cast_signed(),
            to: to_base.itemsize().cast_signed(),
        };
        let axes: Axes = axes.iter().copied().chain([axis]).collect();
        return if axis.length == 0 {
            Some(())
        } else {
            push(steps, (from_base, from_offset), (to_base, to_offset), &axes)
        };
    }
    if let (Some(from_fields), Some(to_fields)) = (from.fields(), to.fields()) {
        if from_fields.len() != to_fields.len() {
            return None;
        }
        for (from, to) in from_fields.iter().zip(to_fields) {
            if from.name != to.name {
                return None;
            }
            push(
                steps,
                (&from.dtype, from_offset + from.offset),
                (&to.dtype, to_offset + to.offset),
                axes,
            )?;
        }
        return Some(());
    }
    let (from_type, to_type) = (from.scalar_type()?, to.scalar_type()?);
    let reverses = |dtype: &DType| !dtype.byte_order().is_native();
    let (from_reverses, to_reverses) = (reverses(from), reverses(to));
    if from_type == to_type {
        let (part, count) = parts(from_type);
        let axis = Axis {
            length: count,
            from: part.cast_signed(),
            to: part.cast_signed(),
        };
        let axes: Axes = axes.iter().copied().chain([axis]).collect();
        step(0, 0, &axes, Kind::Move(Motion::new(part, true)?));
        return Some(());
    }
    let (from_part, to_part) = (real(from_type), real(to_type));
    let (is_complex, becomes_complex) = (from_part != from_type, to_part != to_type);
    let kernel = Kernel::new(from_part, to_part)?;
    let (from_size, to_size) = (from_part.itemsize(), to_part.itemsize());
    let cast = Kind::Cast {
        kernel,
        from: Motion::new(from_size, from_reverses)?,
        to: Motion::new(to_size, to_reverses)?,
    };
    match (is_complex, becomes_complex) {
        (true, false) => return None,
        (false, false) => step(0, 0, axes, cast),
        (true, true) => {
            let axis = Axis {
                length: 2,
                from: from_size.cast_signed(),
                to: to_size.cast_signed(),
            };
            let axes: Axes = axes.iter().copied().chain([axis]).collect();
            step(0, 0, &axes, cast);
        }
        (false, true) => {
            step(0, 0, axes, cast);
            step(0, to_size, axes, Kind::Zero(to_size));
        }
    }
    Some(())
}

/// Returns the size of the parts of a scalar that each have the byte order, and their number.
fn parts(scalar: ScalarType) -> (usize, usize) {
    let size = scalar.itemsize();
    match scalar {
        ScalarType::Complex64 | ScalarType::Complex128 | ScalarType::CLongDouble => (size / 2, 2),
        ScalarType::Str(length) => (size.checked_div(length).unwrap_or(1), length),
        _ => (size, 1),
    }
}

/// Returns the type of the parts of a complex number, and any other type as it is.
fn real(scalar: ScalarType) -> ScalarType {
    match scalar {
        ScalarType::Complex64 => ScalarType::Float32,
        ScalarType::Complex128 => ScalarType::Float64,
        ScalarType::CLongDouble => ScalarType::LongDouble,
        scalar => scalar,
    }
}
