//! Checks that no prototype and no arguments make the checks panic, and that accepted arguments fit
//! the prototype.
//!
//! The input is a prototype, a NUL, and bytes that select arguments for it. No function is called.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mapcall::Prototype;
use mapcall::array::DType;
use mapcall::contract::{
    ArgumentError, ArrayRule, Backing, BroadcastPlan, Check, Contract, ExtentRule, HostValue,
    Memory, Operand, Output, PointerRule, Role, Rule, Scalar,
};

/// The maximum size of a call's frame, in slots.
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
    assert!(contract.slots() <= LARGEST_FRAME);
    let mut choices = Choices(parts.next().unwrap_or_default());
    for _ in 0..8 {
        let mut frame = vec![0; contract.slots()];
        let mut given = Vec::new();
        let kind = CallKind {
            is_batch: choices.next() % 2 == 0,
            is_unchecked: choices.next() % 4 == 0,
        };
        let check = if kind.is_batch {
            Check::broadcasting(&contract, &mut frame)
        } else {
            Check::new(&contract, &mut frame)
        };
        let mut check = check.unchecked(kind.is_unchecked);
        let passed = pass_arguments(&contract, &mut check, &mut choices, kind, &mut given);
        if let Err(error) = passed.and_then(|()| check.finish()) {
            assert!(error.to_string().starts_with(&contract.prototype().name));
            continue;
        }
        let outputs = outputs(&check);
        match check.into_batch() {
            Some((broadcast, _)) => verify_loops(&contract, *broadcast, &outputs),
            None => verify_apart(&contract, &given),
        }
        verify(&contract, &frame, &given, &outputs);
    }
});

/// The kind of a call.
#[derive(Clone, Copy)]
struct CallKind {
    is_batch: bool,
    is_unchecked: bool,
}

/// An array argument: the parameter's position, the address, and the shape of the array of one call.
type Given = (usize, usize, Vec<usize>);

/// The distance between the addresses of outputs, where no argument lies.
const OUTPUT_SPACING: usize = 1 << 40;

/// Passes arguments in the order of the parameters to the check.
fn pass_arguments(
    contract: &Contract,
    check: &mut Check<'_>,
    choices: &mut Choices<'_>,
    kind: CallKind,
    given: &mut Vec<Given>,
) -> Result<(), Box<ArgumentError>> {
    if kind.is_batch && contract.returned().is_some() && choices.next() % 4 == 0 {
        let rule = contract.returned().expect("it was just seen");
        scalars(check, choices, Role::Result, rule)?;
    }
    for (position, rule) in contract.rules().iter().enumerate() {
        assert!(!contract.expected(position).is_empty());
        let (role, choice) = (Role::Parameter(position), choices.next());
        match rule {
            Rule::Inferred(_) if choice % 4 == 0 => {
                check.argument(role, HostValue::Number(choices.scalar()))?;
            }
            Rule::Number(_) | Rule::Record { .. } if kind.is_batch && choice % 4 == 0 => {
                match contract.scalar(position) {
                    Some(rule) => scalars(check, choices, role, rule)?,
                    None => {
                        let value = HostValue::Array {
                            memory: memory(0, &[], &[]),
                            dtype: Ok(&DType::F64),
                        };
                        let refused = check.argument(role, value).is_err();
                        assert!(refused, "one that measures, or that nothing can hold");
                        return check.argument(role, HostValue::Omitted);
                    }
                }
            }
            Rule::Number(_) if choice % 16 > 0 => {
                check.argument(role, HostValue::Number(choices.scalar()))?;
            }
            Rule::Array(rule) if choice % 8 > 0 => {
                array(check, choices, (position, rule), kind, given)?;
            }
            Rule::Pointer(rule) if choice % 8 > 0 => pointer(check, choices, (role, rule))?,
            Rule::Record { dtype, .. } => {
                let size = dtype.itemsize() + usize::from(choice == 1);
                let (dtype, bytes) = (Ok(dtype), &vec![choice; size][..]);
                check.argument(role, HostValue::Record { dtype, bytes })?;
            }
            Rule::Text if choice % 2 == 0 => {
                check.argument(role, HostValue::Text(&[choice, choice % 3, 0]))?;
            }
            Rule::Text | Rule::Function(_) => check.argument(role, HostValue::Null)?,
            _ => check.argument(role, HostValue::Omitted)?,
        }
    }
    if kind.is_batch && choices.next() % 4 == 0 {
        let (shape, strides) = choices.axes(1);
        let value = HostValue::Array {
            memory: memory(choices.address(1), &shape, &strides),
            dtype: Ok(&DType::BOOL),
        };
        check.argument(Role::Mask, value)?;
    }
    Ok(())
}

fn memory<'a>(address: usize, shape: &'a [usize], strides: &'a [isize]) -> Memory<'a> {
    Memory {
        address: std::ptr::without_provenance_mut(address),
        shape,
        strides,
        is_contiguous: false,
        is_writeable: true,
        is_shared: false,
        backing: Backing::Private,
    }
}

/// Passes an array with a scalar for each call.
fn scalars(
    check: &mut Check<'_>,
    choices: &mut Choices<'_>,
    role: Role,
    rule: &ArrayRule,
) -> Result<(), Box<ArgumentError>> {
    let (shape, strides) = choices.axes(rule.dtype().itemsize());
    let memory = Memory {
        is_writeable: choices.next() % 16 > 0,
        ..memory(choices.address(rule.alignment()), &shape, &strides)
    };
    let dtype = Ok(rule.dtype());
    check.argument(role, HostValue::Array { memory, dtype })
}

fn array(
    check: &mut Check<'_>,
    choices: &mut Choices<'_>,
    (position, rule): (usize, &ArrayRule),
    kind: CallKind,
    given: &mut Vec<Given>,
) -> Result<(), Box<ArgumentError>> {
    let dtype = choices.dtype(rule.dtype());
    let rank = choices.rank(rule.rank());
    let core: Vec<usize> = (0..rank).map(|_| choices.length()).collect();
    let item = core
        .iter()
        .try_fold(dtype.itemsize(), |size, &length| size.checked_mul(length));
    let (mut shape, mut strides) = if kind.is_batch && choices.next() % 2 == 0 {
        choices.axes(item.unwrap_or(1))
    } else {
        Default::default()
    };
    let has_axes = !shape.is_empty();
    shape.extend(&core);
    strides.extend(c_strides(&core, dtype.itemsize()));
    let address = choices.address(rule.alignment());
    let memory = Memory {
        is_contiguous: choices.next() % 16 > 0 && !has_axes,
        is_writeable: choices.next() % 16 > 0,
        is_shared: choices.next() % 64 == 0,
        ..memory(address, &shape, &strides)
    };
    let (role, dtype) = (Role::Parameter(position), Ok(&dtype));
    check.argument(role, HostValue::Array { memory, dtype })?;
    assert!(memory.is_writeable && !memory.is_shared || rule.is_const());
    if kind.is_unchecked && rule.extents().contains(&ExtentRule::Unknown) {
        // The function gets the address only.
        return Ok(());
    }
    assert!(memory.is_contiguous || kind.is_batch);
    let core = shape.split_off(shape.len() - rule.rank());
    given.push((position, address, core));
    Ok(())
}

fn pointer(
    check: &mut Check<'_>,
    choices: &mut Choices<'_>,
    (role, rule): (Role, &PointerRule),
) -> Result<(), Box<ArgumentError>> {
    let expected = rule.dtype.clone().unwrap_or(DType::U8);
    let dtype = choices.dtype(&expected);
    let (address, shape) = (choices.address(rule.alignment), [choices.length()]);
    let strides = c_strides(&shape, dtype.itemsize());
    let memory = Memory {
        is_contiguous: choices.next() % 16 > 0,
        is_writeable: choices.next() % 16 > 0,
        ..memory(address, &shape, &strides)
    };
    let dtype = Ok(&dtype);
    check.argument(role, HostValue::Array { memory, dtype })
}

fn outputs(check: &Check<'_>) -> Vec<Output> {
    (0..).map_while(|index| check.output(index)).collect()
}

/// Checks for an accepted batch that no call writes memory that another one reads or writes.
fn verify_loops(contract: &Contract, mut broadcast: BroadcastPlan, outputs: &[Output]) {
    let shape = broadcast.shape().to_vec();
    let mut order = broadcast.order_of_axes().to_vec();
    order.sort_unstable();
    assert_eq!(order, (0..shape.len()).collect::<Vec<_>>());
    for operand in broadcast.operands() {
        assert_eq!(operand.strides.len(), shape.len());
    }
    let calls = broadcast.calls();
    let counted = shape
        .iter()
        .map(|&length| length as u128)
        .fold(1, u128::saturating_mul);
    assert!(counted == calls as u128 || shape.contains(&0));
    if calls == 0 || calls > 64 {
        return;
    }
    for (index, output) in outputs.iter().enumerate() {
        assert!(output.shape.starts_with(&shape));
        let strides = vec![1; shape.len()];
        let address = std::ptr::without_provenance_mut(OUTPUT_SPACING * (index + 1));
        // The strides have no effect: no other operand is near the address.
        broadcast.place(contract, output.role, address, &strides, 0);
    }
    let items: Vec<(&Operand, Vec<usize>)> = broadcast
        .operands()
        .iter()
        .map(|operand| (operand, starts(operand, &shape)))
        .collect();
    for (index, (one, starts)) in items.iter().enumerate() {
        for (other_index, (other, other_starts)) in items.iter().enumerate() {
            if !one.is_written || one.size.max(other.size) > 1 << 20 {
                continue;
            }
            for (call, &start) in starts.iter().enumerate() {
                for (other_call, &other_start) in other_starts.iter().enumerate() {
                    let is_same_call = call == other_call;
                    if is_same_call
                        && (index == other_index || !must_be_disjoint(contract, one, other))
                    {
                        continue;
                    }
                    let is_before = start.wrapping_add(one.size) <= other_start;
                    let is_behind = other_start.wrapping_add(other.size) <= start;
                    let is_nothing = one.size == 0 || other.size == 0;
                    assert!(is_nothing || is_before || is_behind, "{one:?} {other:?}");
                }
            }
        }
    }
}

/// Returns the addresses of an operand in the order of the calls.
fn starts(operand: &Operand, shape: &[usize]) -> Vec<usize> {
    let mut starts = vec![operand.address.addr()];
    for (&length, &stride) in shape.iter().zip(&operand.strides) {
        let along = |&start: &usize| {
            (0..length)
                .map(move |step| start.wrapping_add_signed(stride.wrapping_mul(step.cast_signed())))
        };
        starts = starts.iter().flat_map(along).collect();
    }
    starts
}

/// Returns whether `restrict` forbids two operands to share memory within one call.
fn must_be_disjoint(contract: &Contract, one: &Operand, other: &Operand) -> bool {
    let array = |operand: &Operand| match operand.role {
        Role::Parameter(position) if contract.rules()[position].array().is_some() => {
            Some(&contract.prototype().parameters[position])
        }
        _ => None,
    };
    let pair = array(one).zip(array(other));
    pair.is_some_and(|(one, other)| {
        (one.is_restrict || other.is_restrict) && !(one.is_const && other.is_const)
    })
}

/// Checks that the shapes and the frame of an accepted call are those of the prototype.
fn verify(contract: &Contract, frame: &[u64], given: &[Given], outputs: &[Output]) {
    let layout = contract.layout();
    let passed = |position| frame[layout.parameter(position)];
    let inferred: Vec<u64> = contract
        .rules()
        .iter()
        .enumerate()
        .filter(|(_, rule)| matches!(rule, Rule::Inferred(_)))
        .map(|(position, _)| passed(position))
        .collect();
    let made = outputs.iter().filter_map(|output| match output.role {
        Role::Parameter(position) => Some((
            position,
            output.shape.get(output.order.len()..).unwrap_or_default(),
        )),
        _ => None,
    });
    let shapes = given
        .iter()
        .map(|(position, _, shape)| (*position, &shape[..]))
        .chain(made);
    for (position, shape) in shapes {
        let rule = contract.rules()[position]
            .array()
            .expect("only arrays are given");
        assert_eq!(shape.len(), rule.rank());
        for (extent, &length) in rule.extents().iter().zip(shape) {
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
}

/// Checks for an accepted call that no two arrays clash.
fn verify_apart(contract: &Contract, given: &[Given]) {
    for (index, one) in given.iter().enumerate() {
        for other in &given[index + 1..] {
            assert!(!clash(contract, one, other));
        }
    }
}

/// Returns whether two arrays share a byte although `restrict` forbids it.
fn clash(contract: &Contract, one: &Given, other: &Given) -> bool {
    let parameter = |given: &Given| &contract.prototype().parameters[given.0];
    let is_restricted = (parameter(one).is_restrict || parameter(other).is_restrict)
        && !(parameter(one).is_const && parameter(other).is_const);
    let span = |(position, address, shape): &Given| {
        let itemsize = contract.rules()[*position].array()?.dtype().itemsize() as u128;
        let size = shape
            .iter()
            .try_fold(itemsize, |size, &length| size.checked_mul(length as u128))?;
        // No array ends after the last address.
        let end = *address as u128 + size;
        (size > 0 && end <= u128::from(u64::MAX)).then_some(*address as u128..end)
    };
    match (span(one), span(other)) {
        (Some(one), Some(other)) => is_restricted && one.start < other.end && other.start < one.end,
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

/// The bytes of the input, which select the arguments; after the last one, 100, a plausible choice.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 100;
        };
        self.0 = rest;
        *first
    }

    /// Returns a length: usually a small one, else the maximum length of an array, or nearly.
    fn length(&mut self) -> usize {
        match self.next() {
            choice @ 0..240 => usize::from(choice % 8),
            240..246 => isize::MAX.cast_unsigned(),
            246..252 => isize::MAX.cast_unsigned() - 1,
            choice => 1 << (choice % 63),
        }
    }

    /// Returns the shape and strides of a batch: usually contiguous.
    fn axes(&mut self, itemsize: usize) -> (Vec<usize>, Vec<isize>) {
        let ndim = self.next() % 4;
        let shape: Vec<usize> = (0..ndim).map(|_| self.length()).collect();
        let mut strides = c_strides(&shape, itemsize);
        for stride in &mut strides {
            match self.next() {
                0..32 => *stride = 0,
                32..64 => *stride = stride.wrapping_neg(),
                64..80 => *stride = stride.wrapping_mul(3),
                choice @ 80..96 => *stride = isize::from(choice) - 88,
                96 => *stride = isize::MIN,
                97 => *stride = isize::MAX,
                _ => {}
            }
        }
        (shape, strides)
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

    /// Returns a number of axes: usually the right one.
    fn rank(&mut self, rank: usize) -> usize {
        match self.next() {
            choice @ 0..16 => usize::from(choice),
            _ => rank,
        }
    }

    /// Returns an address: usually an aligned one, near to the others.
    fn address(&mut self, alignment: usize) -> usize {
        let choice = usize::from(self.next());
        match choice {
            0..8 => choice,
            8..16 => usize::MAX - (choice - 8),
            _ => (0x10_0000 + 64 * choice).next_multiple_of(alignment.max(1)),
        }
    }
}
