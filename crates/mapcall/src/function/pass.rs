//! From arguments to the words of a frame.

use std::ffi::CString;

use mapcall_array::Array;
use mapcall_array::layout::Order;
use smallvec::SmallVec;

use super::handle::Owner;
use super::{Arg, CallError, Function, InUse, KeepAlive, Slot};
use crate::contract::{
    Check, Contract, Output, PointerRule, Problem, Remedy, Role, Rule, check_dtype,
};
use crate::prototype::Ownership;

/// The words of one call, 16-byte aligned as the largest of C's scalars.
pub(crate) struct Frame(SmallVec<[u128; 8]>, usize);

impl Frame {
    pub(crate) fn new(words: usize) -> Self {
        Self(SmallVec::from_elem(0, words.div_ceil(2)), words)
    }

    /// A copy of another's words.
    pub(crate) fn of(words: &[u64]) -> Self {
        let mut frame = Self::new(words.len());
        frame.words().copy_from_slice(words);
        frame
    }

    pub(crate) fn words(&mut self) -> &mut [u64] {
        let words: &mut [u64] = bytemuck::cast_slice_mut(&mut self.0);
        words.get_mut(..self.1).unwrap_or_default()
    }
}

/// What must live until the call is over.
pub(crate) enum Kept {
    Text(CString),
    Handle(InUse),
}

impl Kept {
    pub(crate) fn handle(&mut self) -> Option<&mut InUse> {
        match self {
            Self::Handle(in_use) => Some(in_use),
            Self::Text(_) => None,
        }
    }
}

/// What a pointer that a call returned may lead into.
pub(super) fn keep_alive(
    arguments: &[Arg<'_>],
    kept: &mut Vec<Kept>,
    outputs: &[(usize, Array)],
) -> KeepAlive {
    let mut alive = KeepAlive::default();
    for argument in arguments {
        match argument {
            Arg::Handle(handle) => alive.handle(handle),
            Arg::Slot(slot) => slot.keep_alive(&mut alive),
            Arg::Allocated(array) => Slot::of_array(array, true).keep_alive(&mut alive),
            _ => {}
        }
    }
    for (_, array) in outputs {
        Slot::of_array(array, true).keep_alive(&mut alive);
    }
    for kept in kept.drain(..) {
        if let Kept::Text(text) = kept {
            let start = text.as_ptr().addr();
            let bytes = start..start + text.as_bytes_with_nul().len();
            alive.memory(bytes, false, Owner::Text(text));
        }
    }
    alive
}

/// Checks one argument and puts it into the frame; what it needs beyond it is kept.
pub(crate) fn argument(
    check: &mut Check<'_>,
    function: &Function,
    position: usize,
    argument: &Arg<'_>,
    unchecked: bool,
    kept: &mut Vec<Kept>,
) -> Result<(), CallError> {
    let contract = function.contract();
    let refuse = |problem| contract.refuse(position, problem);
    let Some(rule) = contract.rules().get(position) else {
        return Ok(());
    };
    let unfit = |remedy: &str| {
        refuse(Problem::Type {
            found: argument.kind().into(),
            remedy: Remedy::Words(remedy.into()),
        })
    };
    let made = match argument {
        Arg::Allocated(array) => Some(Arg::Slot(Slot::of_array(array, true))),
        _ => None,
    };
    match (rule, made.as_ref().unwrap_or(argument)) {
        (_, Arg::Out) => check.leave_out(position)?,
        (Rule::Array(_), Arg::File(_)) if check.is_broadcasting() => check.leave_out(position)?,
        (Rule::Inferred(inferred), Arg::Scalar(value)) => {
            check.inferred(position, *inferred, *value)?;
        }
        (Rule::Number(number), Arg::Scalar(value)) => check.number(position, *number, *value)?,
        (Rule::Number(_) | Rule::Record { .. }, Arg::Slot(slot)) if check.is_broadcasting() => {
            values(check, contract, position, slot)?;
        }
        (Rule::Array(array), Arg::Slot(slot)) => {
            slot.check_dtype(&array.ctype, &array.dtype)
                .map_err(refuse)?;
            let memory = slot.memory(array.is_const).map_err(refuse)?;
            if unchecked {
                check.array_unchecked(position, array, memory)?;
            } else {
                check.array(position, array, memory)?;
            }
        }
        (Rule::Text, Arg::Text(text)) => {
            let text = CString::new(&**text).map_err(|error| {
                refuse(Problem::NulInText {
                    at: error.nul_position(),
                })
            })?;
            check.word(position, text.as_ptr().expose_provenance() as u64);
            kept.push(Kept::Text(text));
        }
        (Rule::Text | Rule::Pointer(_) | Rule::Function(_), Arg::Null) => check.word(position, 0),
        (Rule::Pointer(_), Arg::Handle(handle)) => {
            if handle.is_borrowed() && !unchecked {
                let found = handle.target().to_owned();
                return Err(refuse(Problem::Borrowed { found }).into());
            }
            let in_use = handle.lend(function, position).map_err(refuse)?;
            let address = in_use.address().as_ptr();
            check.word(position, address.expose_provenance() as u64);
            kept.push(Kept::Handle(in_use));
        }
        (Rule::Pointer(pointer), Arg::Slot(slot)) => {
            pointed(check, contract, (position, pointer), slot, unchecked)?;
        }
        (Rule::Text, Arg::Slot(slot)) if unchecked => {
            if let Some(pointer) = rule.pointer() {
                pointed(check, contract, (position, pointer), slot, unchecked)?;
            }
        }
        (Rule::Function(wanted), Arg::Function(function)) => {
            if !function.prototype().is_of(wanted) {
                let found = function.prototype().to_string();
                return Err(refuse(Problem::Function { found }).into());
            }
            check.word(
                position,
                function.address().as_ptr().expose_provenance() as u64,
            );
        }
        (Rule::Record { ctype, dtype, .. }, Arg::Record(found, bytes)) => {
            check_dtype(ctype, dtype, found).map_err(refuse)?;
            if bytes.len() != dtype.itemsize() {
                let found = format!("{} bytes", bytes.len());
                let remedy = Remedy::Words(format!("give all {} bytes", dtype.itemsize()));
                return Err(refuse(Problem::Type { found, remedy }).into());
            }
            check.bytes(position, bytes);
        }
        (Rule::Number(_) | Rule::Inferred(_), _) => return Err(unfit("give a number").into()),
        (Rule::Array(array), _) => {
            let remedy = Remedy::MakeArray(array.dtype.clone());
            let found = argument.kind().into();
            return Err(refuse(Problem::Type { found, remedy }).into());
        }
        (Rule::Text, _) => return Err(unfit("give a text").into()),
        (Rule::Pointer(_), _) => return Err(unfit("give a handle or NULL").into()),
        (Rule::Function(_), _) => return Err(unfit("give a bound function").into()),
        (Rule::Record { .. }, _) => return Err(unfit("give a struct").into()),
    }
    Ok(())
}

/// An array for a pointer without an extent.
fn pointed(
    check: &mut Check<'_>,
    contract: &Contract,
    (position, pointer): (usize, &PointerRule),
    slot: &Slot<'_>,
    unchecked: bool,
) -> Result<(), CallError> {
    let refuse = |problem| contract.refuse(position, problem);
    let found = || "an array".to_owned();
    if !(unchecked || pointer.is_void) {
        return Err(refuse(Problem::Unbounded { found: found() }).into());
    }
    if pointer.ownership != Ownership::Kept {
        return Err(refuse(Problem::NotOwned { found: found() }).into());
    }
    let memory = slot.memory(pointer.is_const).map_err(refuse)?;
    if let Some(dtype) = &pointer.dtype {
        slot.check_dtype(&pointer.ctype, dtype).map_err(refuse)?;
    }
    if unchecked {
        check.pointer_unchecked(position, pointer, memory)?;
    } else {
        check.pointer(position, pointer, memory)?;
    }
    Ok(())
}

/// A number or struct for each call of a batch.
fn values(
    check: &mut Check<'_>,
    contract: &Contract,
    position: usize,
    slot: &Slot<'_>,
) -> Result<(), CallError> {
    let refuse = |problem| contract.refuse(position, problem);
    if let Some(item) = contract.scalar(position) {
        slot.check_dtype(&item.ctype, &item.dtype).map_err(refuse)?;
    }
    Ok(check.values(position, slot.memory(true).map_err(refuse)?)?)
}

/// Makes the arrays that were left out.
pub(super) fn outputs(
    check: &mut Check<'_>,
    contract: &Contract,
) -> Result<Vec<(usize, Array)>, CallError> {
    let mut arrays = Vec::new();
    while let Some(Output {
        role: Role::Parameter(position),
        shape,
        ..
    }) = check.output(arrays.len())
    {
        let Some(rule) = contract.rules().get(position).and_then(Rule::array) else {
            break;
        };
        let array = Array::zeros(rule.dtype.clone(), &shape, Order::C);
        let array = array.map_err(|source| CallError::Array {
            function: contract.prototype().name.clone(),
            source: Box::new(source),
        })?;
        let address = array.as_mut_ptr().expose_provenance();
        let alignment = rule.alignment;
        if !address.is_multiple_of(alignment) {
            let problem = Problem::Unaligned { address, alignment };
            return Err(contract.refuse(position, problem).into());
        }
        check.word(position, address as u64);
        arrays.push((position, array));
    }
    Ok(arrays)
}
