//! From arguments to the words of a frame.

use std::ffi::CString;

use mapcall_array::Array;
use mapcall_array::layout::Order;
use smallvec::SmallVec;

use super::{Arg, CallError, InUse, Slot};
use crate::contract::{
    Check, Contract, Output, PointerRule, Problem, Remedy, Role, Rule, check_dtype,
};

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
#[expect(dead_code, reason = "it is kept, and dropped")]
pub(crate) enum Kept {
    Text(CString),
    Handle(InUse),
}

/// Checks one argument and puts it into the frame; what it needs beyond it is kept.
pub(crate) fn argument(
    check: &mut Check<'_>,
    contract: &Contract,
    position: usize,
    argument: &Arg<'_>,
    unchecked: bool,
    kept: &mut Vec<Kept>,
) -> Result<(), CallError> {
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
        (Rule::Pointer(pointer), Arg::Handle(handle)) => {
            let found = handle.target().to_owned();
            if !pointer.takes(&found) {
                return Err(refuse(Problem::Handle { found }).into());
            }
            let in_use = handle
                .in_use()
                .ok_or_else(|| refuse(Problem::Closed { found }))?;
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
    if !(unchecked || pointer.is_void) {
        let found = "an array".into();
        return Err(refuse(Problem::Unbounded { found }).into());
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
