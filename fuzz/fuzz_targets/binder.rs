//! No prototype and no arguments bring the checks down, and what they let through fits.
//!
//! The input is a prototype, a NUL, and the choices that make arguments for it. Nothing is called.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mapcall::Prototype;
use mapcall::array::DType;
use mapcall::contract::{
    ArgumentError, ArrayRule, Check, Contract, ExtentRule, Memory, PointerRule, Rule, Scalar,
};

/// The frame of a call is no larger, whatever the prototype says.
const LARGEST_FRAME: usize = 1 << 13;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |&byte| byte == 0);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let Ok(prototype) = Prototype::parse(&text) else {
        return;
    };
    let contract = match Contract::new(prototype) {
        Ok(contract) => contract,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(contract.words() <= LARGEST_FRAME);
    let mut choices = Choices(parts.next().unwrap_or_default());
    for _ in 0..8 {
        let mut frame = vec![0; contract.words()];
        let mut given = Vec::new();
        let mut check = Check::new(&contract, &mut frame);
        let outputs = match tell(&contract, &mut check, &mut choices, &mut given) {
            Ok(()) => outputs(&check),
            Err(error) => {
                assert!(error.to_string().starts_with(&contract.prototype().name));
                continue;
            }
        };
        verify(&contract, &frame, &given, &outputs);
    }
});

/// An array that was given: position, address and shape.
type Given = (usize, usize, Vec<usize>);

/// Gives arguments in the order of the parameters.
fn tell(
    contract: &Contract,
    check: &mut Check<'_>,
    choices: &mut Choices<'_>,
    given: &mut Vec<Given>,
) -> Result<(), Box<ArgumentError>> {
    for (position, rule) in contract.rules().iter().enumerate() {
        assert!(!contract.expected(position).is_empty());
        let choice = choices.next();
        match rule {
            Rule::Inferred(inferred) if choice % 4 == 0 => {
                check.inferred(position, *inferred, choices.scalar())?;
            }
            Rule::Number(number) if choice % 16 > 0 => {
                check.number(position, *number, choices.scalar())?;
            }
            Rule::Array(rule) if choice % 8 > 0 => {
                array(contract, check, choices, (position, rule), given)?;
            }
            Rule::Pointer(rule) if choice % 8 > 0 => {
                pointer(contract, check, choices, (position, rule))?;
            }
            Rule::Record { dtype, .. } => check.bytes(position, &vec![choice; dtype.itemsize()]),
            Rule::Text | Rule::Function(_) => check.word(position, choice.into()),
            _ => check.leave_out(position)?,
        }
    }
    check.settle()
}

fn array(
    contract: &Contract,
    check: &mut Check<'_>,
    choices: &mut Choices<'_>,
    (position, rule): (usize, &ArrayRule),
    given: &mut Vec<Given>,
) -> Result<(), Box<ArgumentError>> {
    let dtype = choices.dtype(&rule.dtype);
    rule.check_dtype(&dtype)
        .map_err(|problem| contract.refuse(position, problem))?;
    let rank = choices.rank(rule.rank());
    let shape: Vec<usize> = (0..rank).map(|_| choices.length()).collect();
    let strides = c_strides(&shape, dtype.itemsize());
    let address = choices.address(rule.alignment);
    let memory = Memory {
        address: std::ptr::without_provenance_mut(address),
        shape: &shape,
        strides: &strides,
        is_contiguous: choices.next() % 16 > 0,
        is_writeable: choices.next() % 16 > 0,
    };
    if choices.next() % 4 > 0 {
        check.array(position, rule, memory)?;
    } else {
        check.array_unchecked(position, rule, memory)?;
    }
    assert!(memory.is_contiguous && (memory.is_writeable || rule.is_const));
    given.push((position, address, shape));
    Ok(())
}

fn pointer(
    contract: &Contract,
    check: &mut Check<'_>,
    choices: &mut Choices<'_>,
    (position, rule): (usize, &PointerRule),
) -> Result<(), Box<ArgumentError>> {
    let expected = rule.dtype.clone().unwrap_or(DType::U8);
    let dtype = choices.dtype(&expected);
    rule.check_dtype(&dtype)
        .map_err(|problem| contract.refuse(position, problem))?;
    let shape = [choices.length()];
    let memory = Memory {
        address: std::ptr::without_provenance_mut(choices.address(rule.alignment)),
        shape: &shape,
        strides: &c_strides(&shape, dtype.itemsize()),
        is_contiguous: choices.next() % 16 > 0,
        is_writeable: choices.next() % 16 > 0,
    };
    check.pointer(position, rule, memory)
}

fn outputs(check: &Check<'_>) -> Vec<(usize, Vec<usize>)> {
    let outputs = (0..).map_while(|index| check.output(index));
    outputs
        .map(|(position, shape)| (position, shape.to_vec()))
        .collect()
}

/// What was let through is what the prototype says, worked out in the plainest way.
fn verify(contract: &Contract, frame: &[u64], given: &[Given], outputs: &[(usize, Vec<usize>)]) {
    let layout = contract.trampoline().layout();
    let passed = |position| frame[layout.parameter(position)];
    let inferred: Vec<u64> = contract
        .rules()
        .iter()
        .enumerate()
        .filter(|(_, rule)| matches!(rule, Rule::Inferred(_)))
        .map(|(position, _)| passed(position))
        .collect();
    let shapes = given
        .iter()
        .map(|(position, _, shape)| (*position, shape))
        .chain(outputs.iter().map(|(position, shape)| (*position, shape)));
    for (position, shape) in shapes {
        let rule = contract.rules()[position]
            .array()
            .expect("only arrays are given");
        assert_eq!(shape.len(), rule.rank());
        for (extent, &length) in rule.extents.iter().zip(shape) {
            match extent {
                ExtentRule::Dimension { dimension, .. } => {
                    assert_eq!(inferred[*dimension], length as u64);
                }
                ExtentRule::Constant(value) => assert_eq!(*value, length),
                _ => {}
            }
        }
    }
    for (position, address, _) in given {
        assert_eq!(passed(*position), *address as u64);
    }
    for (index, one) in given.iter().enumerate() {
        for other in &given[index + 1..] {
            assert!(!clash(contract, one, other));
        }
    }
}

/// Whether two arrays share a byte that `restrict` forbids them to share.
fn clash(contract: &Contract, one: &Given, other: &Given) -> bool {
    let parameter = |given: &Given| &contract.prototype().parameters[given.0];
    let is_apart = (parameter(one).is_restrict || parameter(other).is_restrict)
        && !(parameter(one).is_const && parameter(other).is_const);
    let span = |(position, address, shape): &Given| {
        let itemsize = contract.rules()[*position].array()?.dtype.itemsize() as u128;
        let size = shape
            .iter()
            .try_fold(itemsize, |size, &length| size.checked_mul(length as u128))?;
        // No array lies beyond the end of memory.
        let end = *address as u128 + size;
        (size > 0 && end <= u128::from(u64::MAX)).then_some(*address as u128..end)
    };
    match (span(one), span(other)) {
        (Some(one), Some(other)) => is_apart && one.start < other.end && other.start < one.end,
        _ => false,
    }
}

fn c_strides(shape: &[usize], itemsize: usize) -> Vec<isize> {
    let mut step = itemsize.cast_signed();
    let mut strides = vec![0; shape.len()];
    for (stride, &length) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.wrapping_mul(length.cast_signed());
    }
    strides
}

/// Where arguments come from: the bytes of the input, then one that is plausible everywhere.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 100;
        };
        self.0 = rest;
        *first
    }

    /// Mostly small; else as long as an array can be, or nearly.
    fn length(&mut self) -> usize {
        match self.next() {
            choice @ 0..240 => usize::from(choice % 8),
            240..246 => isize::MAX.cast_unsigned(),
            246..252 => isize::MAX.cast_unsigned() - 1,
            choice => 1 << (choice % 63),
        }
    }

    fn scalar(&mut self) -> Scalar {
        match self.next() {
            choice @ 0..128 => Scalar::Int((choice % 8).into()),
            choice @ 128..160 => Scalar::Int(1 << (choice % 127)),
            choice @ 160..192 => Scalar::Int(-1 << (choice % 127)),
            choice @ 192..200 => Scalar::Bool(choice % 2 == 1),
            choice @ 200..220 => Scalar::Float((f64::from(choice) - 210.0) * 1e30),
            220..224 => Scalar::Float(f64::NAN),
            224..228 => Scalar::Float(f64::INFINITY),
            choice => Scalar::Complex(num_complex::Complex::new(choice.into(), -0.0)),
        }
    }

    fn dtype(&mut self, expected: &DType) -> DType {
        match self.next() {
            0 => DType::F32,
            1 => expected.to_native(),
            2 => DType::C128,
            3 => "i4,(2,3)f8".parse().unwrap_or(DType::BOOL),
            4 => "S1".parse().unwrap_or(DType::BOOL),
            _ => expected.clone(),
        }
    }

    /// Mostly the right one.
    fn rank(&mut self, rank: usize) -> usize {
        match self.next() {
            choice @ 0..16 => usize::from(choice),
            _ => rank,
        }
    }

    /// Mostly aligned, and near to each other.
    fn address(&mut self, alignment: usize) -> usize {
        let choice = usize::from(self.next());
        match choice {
            0..8 => choice,
            8..16 => usize::MAX - (choice - 8),
            _ => (0x10_0000 + 64 * choice).next_multiple_of(alignment.max(1)),
        }
    }
}
