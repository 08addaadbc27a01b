//! Batches against a naive loop over all indices.

use mapcall::array::{Array, DType};
use mapcall::{Arg, Function};
use proptest::prelude::*;

use crate::c_calls::Numbers;
use crate::fixture::{Bytes, Fixture};

/// What one argument is.
struct Slot {
    dtype: DType,
    core: &'static [usize],
    /// For inputs: whether a number may stand for it.
    is_scalar: bool,
}

const fn array(dtype: DType, core: &'static [usize]) -> Slot {
    Slot {
        dtype,
        core,
        is_scalar: false,
    }
}

const fn scalar(dtype: DType) -> Slot {
    Slot {
        dtype,
        core: &[],
        is_scalar: true,
    }
}

/// A function of the fixture and what one call of it does, in Rust.
struct Kernel {
    prototype: &'static str,
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    /// Inputs, then outputs, which have what was there before.
    call: fn(&[Vec<f64>], &mut [Vec<f64>]),
}

/// Small integers, so that all arithmetic is exact; the core axes have lengths 3, 2 and 4.
fn kernels() -> Vec<Kernel> {
    vec![
        Kernel {
            prototype: "double add(double x, double y)",
            inputs: vec![scalar(DType::F64), scalar(DType::F64)],
            outputs: vec![scalar(DType::F64)],
            call: |inputs, outputs| outputs[0][0] = inputs[0][0] + inputs[1][0],
        },
        Kernel {
            prototype: "void axpy(size_t n, float a, const float x[n], float y[n])",
            inputs: vec![scalar(DType::F32), array(DType::F32, &[3])],
            outputs: vec![array(DType::F32, &[3])],
            call: |inputs, outputs| {
                for (y, x) in outputs[0].iter_mut().zip(&inputs[1]) {
                    *y += inputs[0][0] * x;
                }
            },
        },
        Kernel {
            prototype: "float dot(size_t n, const float x[n], const float y[n])",
            inputs: vec![array(DType::F32, &[3]), array(DType::F32, &[3])],
            outputs: vec![scalar(DType::F32)],
            call: |inputs, outputs| {
                outputs[0][0] = inputs[0]
                    .iter()
                    .zip(&inputs[1])
                    .fold(0.0, |sum, (x, y)| sum + x * y);
            },
        },
        Kernel {
            prototype: "void matmul(size_t m, size_t k, size_t p, const double a[restrict m][k], \
                        const double b[restrict k][p], double c[restrict m][p])",
            inputs: vec![array(DType::F64, &[3, 2]), array(DType::F64, &[2, 4])],
            outputs: vec![array(DType::F64, &[3, 4])],
            call: |inputs, outputs| {
                for i in 0..3 {
                    for j in 0..4 {
                        let term = |l| inputs[0][i * 2 + l] * inputs[1][l * 4 + j];
                        outputs[0][i * 4 + j] = 0.0 + term(0) + term(1);
                    }
                }
            },
        },
        Kernel {
            prototype: "long mix(signed char a, unsigned short b, float c, const short x[3], \
                        int out[2], double more[1])",
            inputs: vec![
                scalar(DType::I8),
                scalar(DType::U16),
                scalar(DType::F32),
                array(DType::I16, &[3]),
            ],
            outputs: vec![
                scalar(DType::I64),
                array(DType::I32, &[2]),
                array(DType::F64, &[1]),
            ],
            call: |inputs, outputs| {
                let [a, b, c, x] = inputs else { panic!() };
                outputs[0][0] = a[0] * 1000.0 + b[0] + c[0];
                outputs[1][0] = x[0] + a[0];
                outputs[1][1] = x[1] * x[2] - b[0];
                outputs[2][0] = 2.0 * c[0];
            },
        },
    ]
}

fn read(dtype: &DType, bytes: &[u8]) -> Vec<f64> {
    macro_rules! read {
        ($($dtype:ident $type:ty),*) => {
            match dtype {
                $(dtype if *dtype == DType::$dtype => {
                    let items = bytes.chunks_exact(size_of::<$type>());
                    items.map(|item| bytemuck::pod_read_unaligned::<$type>(item) as f64).collect()
                })*
                other => panic!("{other}"),
            }
        };
    }
    read!(I8 i8, U16 u16, I16 i16, I32 i32, I64 i64, F32 f32, F64 f64)
}

fn write(dtype: &DType, values: &[f64], bytes: &mut [u8]) {
    macro_rules! write {
        ($($dtype:ident $type:ty),*) => {
            match dtype {
                $(dtype if *dtype == DType::$dtype => {
                    let items = bytes.chunks_exact_mut(size_of::<$type>());
                    for (item, value) in items.zip(values) {
                        item.copy_from_slice(bytemuck::bytes_of(&(*value as $type)));
                    }
                })*
                other => panic!("{other}"),
            }
        };
    }
    write!(I8 i8, U16 u16, I16 i16, I32 i32, I64 i64, F32 f32, F64 f64);
}

/// An array in memory of its own.
#[derive(Clone)]
struct Operand {
    memory: Bytes,
    dtype: DType,
    offset: usize,
    /// Those of the batch, which may be fewer than the batch has.
    shape: Vec<usize>,
    strides: Vec<isize>,
    core: &'static [usize],
}

impl Operand {
    /// Axes in any order in memory, some backwards, with gaps; inputs also repeat.
    fn new(slot: &Slot, batch: &[usize], is_written: bool, numbers: &mut Numbers) -> Self {
        let mut pick = |count: usize| numbers.next() as usize % count;
        let mut shape = batch.to_vec();
        let mut repeats = vec![false; shape.len()];
        if !is_written {
            for (length, repeats) in shape.iter_mut().zip(&mut repeats) {
                match pick(5) {
                    0 => *length = 1,
                    1 => *repeats = true,
                    _ => {}
                }
            }
            if pick(3) == 0 {
                let missing = pick(shape.len() + 1);
                shape.drain(..missing);
                repeats.drain(..missing);
            }
        }
        let item = slot.core.iter().product::<usize>() * slot.dtype.itemsize();
        let mut order: Vec<usize> = (0..shape.len()).collect();
        if pick(3) > 0 {
            for axis in (1..order.len()).rev() {
                order.swap(axis, pick(axis + 1));
            }
        }
        let mut strides = vec![0_isize; shape.len()];
        let (mut span, mut offset) = (item, 0);
        for &axis in order.iter().rev() {
            if repeats[axis] {
                continue;
            }
            let step = match pick(4) {
                0 => span + slot.dtype.itemsize() * (1 + pick(3)),
                _ => span,
            };
            span = step * shape[axis].max(1);
            strides[axis] = step.cast_signed();
            if pick(4) == 0 {
                strides[axis] = -strides[axis];
                offset += step * shape[axis].saturating_sub(1);
            }
        }
        let mut memory = Bytes::zeroed(span + 64);
        let values = memory.bytes().len() / slot.dtype.itemsize();
        let is_signed = slot.dtype != DType::U16;
        let values: Vec<f64> = (0..values)
            .map(|_| pick(16) as f64 - if is_signed { 8.0 } else { 0.0 })
            .collect();
        write(&slot.dtype, &values, memory.bytes_mut());
        Self {
            memory,
            dtype: slot.dtype.clone(),
            offset: offset + slot.dtype.itemsize() * pick(4),
            shape,
            strides,
            core: slot.core,
        }
    }

    fn size(&self) -> usize {
        self.core.iter().product::<usize>() * self.dtype.itemsize()
    }

    /// The item of a call, by the rules of broadcasting.
    fn at(&self, index: &[usize]) -> std::ops::Range<usize> {
        let own = &index[index.len() - self.shape.len()..];
        let axes = own.iter().zip(&self.shape).zip(&self.strides);
        let moved: isize = axes
            .map(|((&coordinate, &length), stride)| {
                if length == 1 {
                    0
                } else {
                    stride * coordinate.cast_signed()
                }
            })
            .sum();
        let start = self.offset.checked_add_signed(moved).unwrap();
        start..start + self.size()
    }

    fn array(&mut self) -> Array {
        let mut step = self.size();
        let core = self.core.iter().map(|&length| {
            step /= length;
            step.cast_signed()
        });
        let strides: Vec<isize> = self.strides.iter().copied().chain(core).collect();
        let shape = [&self.shape, self.core].concat();
        self.memory
            .array(self.dtype.clone(), self.offset, &shape, &strides)
    }
}

fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &length in shape {
        let longer = |index: &Vec<usize>| {
            let index = index.clone();
            (0..length).map(move |coordinate| [&index[..], &[coordinate]].concat())
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// As NumPy broadcasts.
fn broadcast<'a>(shapes: impl Iterator<Item = &'a [usize]>) -> Vec<usize> {
    let mut batch: Vec<usize> = Vec::new();
    for shape in shapes {
        while batch.len() < shape.len() {
            batch.insert(0, 1);
        }
        for (length, &own) in batch.iter_mut().rev().zip(shape.iter().rev()) {
            if *length == 1 {
                *length = own;
            }
        }
    }
    batch
}

enum Input {
    Number(f64),
    Array(Operand),
}

struct Case {
    inputs: Vec<Input>,
    /// `None` for those that are made.
    outputs: Vec<Option<Operand>>,
    mask: Option<Operand>,
    batch: Vec<usize>,
}

impl Case {
    fn new(kernel: &Kernel, shape: &[usize], has_mask: bool, numbers: &mut Numbers) -> Self {
        let input = |slot: &Slot| {
            if slot.is_scalar && numbers.next().is_multiple_of(3) {
                let low = if slot.dtype == DType::U16 { 0.0 } else { -4.0 };
                Input::Number((numbers.next() % 9) as f64 + low)
            } else {
                Input::Array(Operand::new(slot, shape, false, numbers))
            }
        };
        let inputs: Vec<Input> = kernel.inputs.iter().map(input).collect();
        let mask = has_mask.then(|| {
            let mut mask = Operand::new(&scalar(DType::I8), shape, false, numbers);
            for byte in mask.memory.bytes_mut() {
                *byte = [0, 1, 1, 200][numbers.next() as usize % 4];
            }
            mask
        });
        let gives = (0..kernel.outputs.len()).map(|_| numbers.next().is_multiple_of(2));
        let gives: Vec<bool> = gives.collect();
        let whole = gives.contains(&true).then_some(shape);
        let arrays = inputs.iter().filter_map(|input| match input {
            Input::Array(operand) => Some(&operand.shape[..]),
            Input::Number(_) => None,
        });
        let mask_shape = mask.iter().map(|mask| &mask.shape[..]);
        let batch = broadcast(arrays.chain(mask_shape).chain(whole));
        let outputs = kernel.outputs.iter().zip(gives);
        let outputs = outputs
            .map(|(slot, gives)| gives.then(|| Operand::new(slot, &batch, true, numbers)))
            .collect();
        Self {
            inputs,
            outputs,
            mask,
            batch,
        }
    }

    /// What the outputs have afterwards: the memory of those that are given, and the items of those that are
    /// made, in C order.
    fn naive(&self, kernel: &Kernel) -> Vec<Vec<u8>> {
        let mut given = self.outputs.clone();
        let mut made: Vec<Vec<u8>> = vec![Vec::new(); given.len()];
        for index in indices(&self.batch) {
            let items = self.inputs.iter().map(|input| match input {
                Input::Number(value) => vec![*value],
                Input::Array(operand) => {
                    read(&operand.dtype, &operand.memory.bytes()[operand.at(&index)])
                }
            });
            let items: Vec<_> = items.collect();
            let outputs = given.iter().zip(&kernel.outputs);
            let before = outputs.map(|(given, slot)| match given {
                Some(operand) => read(&operand.dtype, &operand.memory.bytes()[operand.at(&index)]),
                None => vec![0.0; slot.core.iter().product()],
            });
            let mut results: Vec<_> = before.collect();
            let mask = self.mask.as_ref();
            if mask.is_none_or(|mask| mask.memory.bytes()[mask.at(&index).start] != 0) {
                (kernel.call)(&items, &mut results);
            }
            for (((values, given), made), slot) in results
                .iter()
                .zip(&mut given)
                .zip(&mut made)
                .zip(&kernel.outputs)
            {
                if let Some(operand) = given {
                    let range = operand.at(&index);
                    write(&slot.dtype, values, &mut operand.memory.bytes_mut()[range]);
                } else {
                    let mut bytes = vec![0; values.len() * slot.dtype.itemsize()];
                    write(&slot.dtype, values, &mut bytes);
                    made.extend(bytes);
                }
            }
        }
        let given = given.into_iter().zip(made);
        given
            .map(|(given, made)| given.map_or(made, |operand| operand.memory.bytes().to_vec()))
            .collect()
    }

    fn engine(&mut self, kernel: &Kernel, function: &Function, threads: usize) -> Vec<Vec<u8>> {
        let inputs: Vec<_> = self
            .inputs
            .iter_mut()
            .map(|input| match input {
                Input::Number(value) => Err(*value),
                Input::Array(operand) => Ok(operand.array()),
            })
            .collect();
        let arguments: Vec<_> = inputs.iter().zip(&kernel.inputs).map(argument).collect();
        let mut given = self.outputs.clone();
        let mut arrays: Vec<Option<Array>> = given
            .iter_mut()
            .map(|given| given.as_mut().map(Operand::array))
            .collect();
        let mut outputs: Vec<Arg<'_>> = arrays
            .iter_mut()
            .map(|array| array.as_mut().map_or(Arg::Out, Arg::from))
            .collect();
        let mask = self.mask.as_mut().map(Operand::array);
        let mask = mask.as_ref().map(Arg::from);
        let mut batch = function.map(&arguments, &mut outputs).threads(threads);
        if let Some(mask) = &mask {
            batch = batch.only(mask);
        }
        batch.run().unwrap_or_else(|error| panic!("{error}"));
        let made: Vec<Option<Vec<u8>>> = outputs
            .into_iter()
            .zip(&kernel.outputs)
            .map(|(output, slot)| output.into_array().map(|array| self.items(&array, slot)))
            .collect();
        drop(arrays);
        let given = given.into_iter().zip(made);
        given
            .map(|(given, made)| made.unwrap_or_else(|| given.unwrap().memory.bytes().to_vec()))
            .collect()
    }

    /// The items of an output that was made, in C order.
    fn items(&self, array: &Array, slot: &Slot) -> Vec<u8> {
        assert_eq!(array.shape(), [&self.batch, slot.core].concat());
        let mut items = Vec::new();
        for index in indices(array.shape()) {
            let moved = index.iter().zip(array.strides());
            let moved: isize = moved
                .map(|(&coordinate, stride)| coordinate.cast_signed() * stride)
                .sum();
            for byte in 0..slot.dtype.itemsize() {
                // SAFETY: the element is in the array.
                items.push(unsafe { array.as_ptr().offset(moved).add(byte).read() });
            }
        }
        items
    }
}

fn argument<'a>((input, slot): (&'a Result<Array, f64>, &Slot)) -> Arg<'a> {
    match input {
        Ok(array) => Arg::from(array),
        Err(value) if matches!(slot.dtype.kind_char(), 'i' | 'u') => Arg::from(*value as i64),
        Err(value) => Arg::from(*value),
    }
}

fn shape() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(
        prop_oneof![1 => Just(0_usize), 2 => Just(1), 9 => 2_usize..5],
        0..5,
    )
}

#[test]
fn a_batch_is_a_loop_over_all_indices() {
    let fixture = Fixture::new();
    let kernels: Vec<_> = kernels()
        .into_iter()
        .map(|kernel| (fixture.engines(kernel.prototype), kernel))
        .collect();
    proptest!(|(shape in shape(), has_mask in prop::bool::weighted(0.3), seed in any::<u64>())| {
        for (functions, kernel) in &kernels {
            let mut numbers = Numbers(seed);
            let mut case = Case::new(kernel, &shape, has_mask, &mut numbers);
            let naive = case.naive(kernel);
            for function in functions {
                for threads in [1, 2, 5] {
                    let found = case.engine(kernel, function, threads);
                    prop_assert!(
                        found == naive,
                        "{} {:?} on {threads} threads",
                        kernel.prototype,
                        case.batch
                    );
                }
            }
        }
    });
}
