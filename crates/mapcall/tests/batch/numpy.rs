//! How outputs that are made lie in memory, by NumPy.

use mapcall::Arg;
use mapcall::array::DType;
use proptest::prelude::*;
use serde_json::Value;

use crate::c_calls::Numbers;
use crate::fixture::{Bytes, Fixture};
use crate::oracle;

/// An array of doubles, or of bytes for a mask.
struct Operand {
    memory: Bytes,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<isize>,
    itemsize: usize,
}

impl Operand {
    /// Some of the batch's axes, in any order in memory, with gaps, backwards or repeated; then core
    /// axes in C order.
    fn new(batch: &[usize], core: &[usize], itemsize: usize, numbers: &mut Numbers) -> Self {
        let mut pick = |count: usize| numbers.next() as usize % count;
        let missing = if pick(3) == 0 {
            pick(batch.len() + 1)
        } else {
            0
        };
        let mut shape = batch[missing..].to_vec();
        let mut order: Vec<usize> = (0..shape.len()).collect();
        for axis in (1..order.len()).rev() {
            order.swap(axis, pick(axis + 1));
        }
        let mut strides = vec![0_isize; shape.len()];
        let mut span = core.iter().product::<usize>() * itemsize;
        let mut offset = 0;
        for axis in order {
            match pick(6) {
                0 => shape[axis] = 1,
                1 => continue,
                _ => {}
            }
            let step = span + itemsize * (pick(3) / 2);
            strides[axis] = step.cast_signed();
            span = step * shape[axis].max(1);
            if pick(5) == 0 {
                strides[axis] = -strides[axis];
                offset += step * shape[axis].saturating_sub(1);
            }
        }
        let mut step = itemsize;
        let core_strides: Vec<isize> = core
            .iter()
            .rev()
            .map(|length| {
                step *= length;
                (step / length).cast_signed()
            })
            .collect();
        strides.extend(core_strides.iter().rev());
        shape.extend(core);
        Self {
            memory: Bytes::zeroed(span + 16),
            offset,
            shape,
            strides,
            itemsize,
        }
    }

    /// The same in Python.
    fn python(&self) -> String {
        let dtype = if self.itemsize == 1 { "?" } else { "f8" };
        format!(
            "np.ndarray({}, '{dtype}', np.zeros({}, 'u1'), {}, {})",
            tuple(&self.shape),
            self.memory.bytes().len(),
            self.offset,
            tuple(&self.strides)
        )
    }

    fn array(&mut self) -> mapcall::array::Array {
        let dtype = if self.itemsize == 1 {
            DType::BOOL
        } else {
            DType::F64
        };
        self.memory
            .array(dtype, self.offset, &self.shape, &self.strides)
    }
}

fn tuple<T: ToString>(values: &[T]) -> String {
    let values: String = values.iter().map(|value| value.to_string() + ",").collect();
    format!("({values})")
}

/// Shape and strides, without those of axes along which nothing moves.
fn moves(shape: &[usize], strides: &[isize]) -> Vec<(usize, isize)> {
    let axes = shape.iter().copied().zip(strides.iter().copied());
    axes.map(|(length, stride)| (length, if length == 1 { 0 } else { stride }))
        .collect()
}

fn integers<T: TryFrom<i64, Error: std::fmt::Debug>>(value: &Value) -> Vec<T> {
    let values = value.as_array().unwrap().iter();
    values
        .map(|value| T::try_from(value.as_i64().unwrap()).unwrap())
        .collect()
}

/// The moves of what NumPy makes.
fn numpy(expression: &str) -> Vec<(usize, isize)> {
    let told = oracle::numpy(&format!("(lambda a: (a.shape, a.strides))({expression})")).unwrap();
    moves(&integers(&told[0]), &integers(&told[1]))
}

fn shape() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1 => Just(1_usize), 6 => 2_usize..5], 0..5)
}

proptest! {
    #[test]
    fn results_lie_as_a_ufunc_makes_them(
        shape in shape(),
        has_mask in prop::bool::weighted(0.3),
        seed in any::<u64>(),
    ) {
        let fixture = FIXTURE.with(Clone::clone);
        let add = fixture.bind("double add(double x, double y)");
        let mut numbers = Numbers(seed);
        let mut operands = [8, 8, 1].map(|size| Operand::new(&shape, &[], size, &mut numbers));
        let mask = if has_mask {
            format!(", where={}", operands[2].python())
        } else {
            String::new()
        };
        let expression =
            format!("np.add({}, {}{mask})", operands[0].python(), operands[1].python());
        let expected = numpy(&expression);
        let [x, y, mask] = operands.each_mut().map(Operand::array);
        let mut outputs = [Arg::Out];
        let (inputs, mask) = ([Arg::from(&x), Arg::from(&y)], Arg::from(&mask));
        let batch = add.map(&inputs, &mut outputs);
        if has_mask { batch.only(&mask).run() } else { batch.run() }.unwrap();
        let [output] = outputs.map(|output| output.into_array().unwrap());
        prop_assert_eq!(moves(output.shape(), output.strides()), expected, "{}", expression);
    }

    #[test]
    fn outputs_lie_as_a_gufunc_makes_them(shape in shape(), seed in any::<u64>()) {
        let fixture = FIXTURE.with(Clone::clone);
        let matmul = fixture.bind(
            "void matmul(size_t m, size_t k, size_t p, const double a[m][k], \
             const double b[k][p], double c[m][p])",
        );
        let mut numbers = Numbers(seed);
        let mut a = Operand::new(&shape, &[3, 2], 8, &mut numbers);
        let mut b = Operand::new(&shape, &[2, 4], 8, &mut numbers);
        let expression = format!("np.matmul({}, {})", a.python(), b.python());
        let expected = numpy(&expression);
        let (a, b) = (a.array(), b.array());
        let mut outputs = [Arg::Out];
        matmul.map(&[Arg::from(&a), Arg::from(&b)], &mut outputs).run().unwrap();
        let [output] = outputs.map(|output| output.into_array().unwrap());
        prop_assert_eq!(moves(output.shape(), output.strides()), expected, "{}", expression);
    }
}

thread_local! {
    static FIXTURE: std::rc::Rc<Fixture> = std::rc::Rc::new(Fixture::new());
}
