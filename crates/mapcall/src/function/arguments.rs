//! The conversion of Rust arguments to values for the check, and the allocation of outputs.

#![allow(unsafe_code)]

use mapcall_array::Array;
use mapcall_array::layout::{Dims, Order};

use super::handle::Owner;
use super::{Arg, CallError, Function, Handle, InUse, KeepAlive, Slot};
use crate::contract::{
    Backing, Check, Contract, FunctionValue, HostValue, Memory, Output, Problem, Remedy, Role, Rule,
};

/// The texts and handles among the arguments of a call, which keep them valid until it ends.
#[derive(Default)]
pub(crate) struct Lent {
    /// The texts, each with a NUL at its end.
    texts: Vec<Box<[u8]>>,
    handles: Vec<InUse>,
    /// Arrays of pointers, each with NULL at its end.
    lists: Vec<Box<[usize]>>,
}

impl Lent {
    /// Returns the handles that the call uses.
    pub(crate) fn handles(&mut self) -> impl Iterator<Item = &mut InUse> {
        self.handles.iter_mut()
    }

    /// Collects the arguments that a pointer which the call returned may lead into, for its handle to
    /// keep alive.
    pub(super) fn keep_alive(
        &mut self,
        arguments: &[Arg<'_>],
        outputs: &[(usize, Array)],
    ) -> KeepAlive {
        let mut alive = KeepAlive::default();
        for argument in arguments {
            keep_alive(argument, &mut alive);
        }
        for list in self.lists.drain(..) {
            let bytes = list.as_ptr_range();
            let bytes = bytes.start.addr()..bytes.end.addr();
            alive.memory(bytes, true, Owner::List(list));
        }
        for (_, array) in outputs {
            Slot::of_array(array, true).keep_alive(&mut alive);
        }
        for text in self.texts.drain(..) {
            let bytes = text.as_ptr_range();
            let bytes = bytes.start.addr()..bytes.end.addr();
            alive.memory(bytes, false, Owner::Text(text));
        }
        alive
    }

    /// Adds the memory of texts and lists to what a handle keeps alive, as memory that ends with this struct.
    pub(super) fn keep_borrowed(&self, alive: &mut KeepAlive) {
        let lists = self.lists.iter().map(|list| list.as_ptr_range());
        let lists = lists.map(|list| (list.start.addr()..list.end.addr(), true));
        let texts = self.texts.iter().map(|text| text.as_ptr_range());
        let texts = texts.map(|text| (text.start.addr()..text.end.addr(), false));
        for (bytes, is_writeable) in lists.chain(texts) {
            alive.memory(bytes, is_writeable, Owner::Borrow);
        }
    }

    /// Makes an array of pointers with NULL at its end, by the rule of its elements.
    ///
    /// # Errors
    ///
    /// The index of an element that does not fit, and its problem.
    pub(super) fn list(
        &mut self,
        element: &Rule,
        elements: &[Arg<'_>],
    ) -> Result<&mut [usize], Box<(usize, Problem)>> {
        let mut list = vec![0; elements.len() + 1].into_boxed_slice();
        for (index, (argument, pointer)) in elements.iter().zip(&mut list).enumerate() {
            let mut slot = [0];
            with_element(argument, self, |value| {
                element.convert_element(value, false, &mut slot)
            })
            .map_err(|problem| Box::new((index, problem)))?;
            *pointer = usize::try_from(slot[0]).unwrap_or_default();
        }
        Ok(self.lists.push_mut(list))
    }
}

/// Adds the memory that a pointer into an argument may lead into to what a handle keeps alive.
pub(super) fn keep_alive(argument: &Arg<'_>, alive: &mut KeepAlive) {
    match argument {
        Arg::Handle(handle) => alive.handle(handle),
        Arg::Slot(slot) => slot.keep_alive(alive),
        Arg::Allocated(array) => Slot::of_array(array, true).keep_alive(alive),
        Arg::Struct(structure) => structure.keep_alive(alive),
        Arg::List(elements) => {
            for element in elements {
                keep_alive(element, alive);
            }
        }
        _ => {}
    }
}

/// Gives one argument to the check. Texts and handles are added to `lent`.
pub(crate) fn push_argument(
    check: &mut Check<'_>,
    function: &Function,
    role: Role,
    argument: &Arg<'_>,
    lent: &mut Lent,
) -> Result<(), CallError> {
    let mut allocated = None;
    let value = match (argument, role) {
        (Arg::Out, _) => HostValue::Omitted,
        (Arg::File(_), _) => HostValue::File,
        (Arg::List(elements), _) => return push_list(check, function, role, elements, lent),
        (Arg::Handle(_), Role::Result | Role::Mask) => HostValue::Other,
        (Arg::Struct(structure), _)
            if let Some(Rule::Record { ctype, dtype, .. }) =
                role_rule(function.contract(), role) =>
        {
            let value = structure.by_value(ctype, dtype);
            value.map_err(|problem| function.contract().refuse_role(role, problem))?
        }
        _ => {
            let lend = |handle: &Handle| match role {
                Role::Parameter(position) => handle.lend(function, position),
                Role::Result | Role::Mask => in_use(handle),
            };
            let described = describe(argument, role, &mut allocated, lent, lend);
            described.map_err(|problem| function.contract().refuse_role(role, problem))?
        }
    };
    Ok(check.argument(role, value)?)
}

/// Returns an argument as the check sees it; one that has no memory or value of its own is
/// [`HostValue::Other`]. `allocated` keeps the description of an array, `lent` texts and handles, which `lend`
/// makes of a handle.
fn describe<'a>(
    argument: &'a Arg<'_>,
    role: Role,
    allocated: &'a mut Option<Slot>,
    lent: &'a mut Lent,
    lend: impl FnOnce(&Handle) -> Result<InUse, Problem>,
) -> Result<HostValue<'a>, Problem> {
    Ok(match argument {
        Arg::Null => HostValue::Null,
        Arg::Scalar(value) => HostValue::Number(*value),
        Arg::Slot(slot) => slot.value(role),
        Arg::Allocated(array) => allocated.insert(Slot::of_array(array, true)).value(role),
        Arg::Text(text) => {
            let text = text.iter().copied().chain([0]).collect();
            HostValue::Text(lent.texts.push_mut(text))
        }
        Arg::Function(function) => HostValue::Function {
            function: FunctionValue::Bound(function.prototype()),
            address: function.address().as_ptr(),
        },
        Arg::Handle(handle) => lent.handles.push_mut(lend(handle)?).value(),
        Arg::Record(dtype, bytes) => HostValue::Record {
            dtype: Ok(dtype),
            bytes,
        },
        Arg::Struct(structure) => structure.value(),
        // An earlier batch has written the file of `Written`.
        Arg::Out | Arg::File(_) | Arg::Written(_) | Arg::List(_) => HostValue::Other,
    })
}

/// Returns the use of a handle by no parameter; [`Problem::Closed`] if it is closed.
fn in_use(handle: &Handle) -> Result<InUse, Problem> {
    handle.in_use().ok_or_else(|| Problem::Closed {
        found: handle.target().to_owned(),
    })
}

/// Gives a list of pointers to the check.
fn push_list(
    check: &mut Check<'_>,
    function: &Function,
    role: Role,
    elements: &[Arg<'_>],
    lent: &mut Lent,
) -> Result<(), CallError> {
    let contract = function.contract();
    let (Role::Parameter(position), rule) = (role, role_rule(contract, role)) else {
        return Ok(check.argument(role, HostValue::Other)?);
    };
    let Some(ctype) = rule.and_then(Rule::pointers) else {
        return Ok(check.argument(role, HostValue::Other)?);
    };
    let element = Rule::of_element(ctype).map_err(|reason| {
        let remedy = Remedy::Words("give an array of addresses".into());
        contract.refuse(
            position,
            Problem::Type {
                found: reason,
                remedy,
            },
        )
    })?;
    let list = lent.list(&element, elements);
    let list = list.map_err(|error| {
        let (index, problem) = *error;
        contract.refuse_element(position, index, &element, problem)
    })?;
    let value = match rule {
        Some(Rule::Array(rule)) => HostValue::Array {
            memory: Memory {
                address: list.as_mut_ptr().cast(),
                shape: &[elements.len()],
                strides: &[size_of::<usize>().cast_signed()],
                is_contiguous: true,
                is_writeable: true,
                is_shared: false,
                backing: Backing::Private,
            },
            dtype: Ok(rule.dtype()),
        },
        _ => HostValue::List(list.as_ptr()),
    };
    Ok(check.argument(role, value)?)
}

/// Describes an argument as a value in memory, and converts it by `convert`.
///
/// # Errors
///
/// Those of `convert`, and [`Problem::Closed`] for a closed handle.
pub(super) fn with_element(
    argument: &Arg<'_>,
    lent: &mut Lent,
    convert: impl FnOnce(HostValue<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut allocated = None;
    // A role other than the mask's reads any array alike.
    let value = describe(argument, Role::Result, &mut allocated, lent, in_use)?;
    convert(value)
}

fn role_rule(contract: &Contract, role: Role) -> Option<&Rule> {
    match role {
        Role::Parameter(position) => contract.rules().get(position),
        Role::Result | Role::Mask => None,
    }
}

/// Allocates the arrays that were omitted.
pub(super) fn allocate(
    check: &mut Check<'_>,
    contract: &Contract,
) -> Result<Vec<(usize, Array)>, CallError> {
    let mut arrays = Vec::new();
    while let Some(output) = check.output(arrays.len())
        && let Role::Parameter(position) = output.role
    {
        let array = new_array(contract, &output)?;
        check.place(position, array.as_mut_ptr())?;
        arrays.push((position, array));
    }
    Ok(arrays)
}

/// Allocates an output: an array of zeros, or of the value that C reads, whose axes lie in memory in the
/// output's order.
///
/// # Errors
///
/// [`CallError::Array`] if there is no memory.
pub(crate) fn new_array(contract: &Contract, output: &Output) -> Result<Array, CallError> {
    let failed = |source| CallError::Array {
        function: contract.prototype().name.clone(),
        source: Box::new(source),
    };
    let (lengths, axes) = output.in_memory();
    let dtype = output.dtype(contract);
    let itemsize = dtype.itemsize();
    let array = Array::zeros(dtype, &lengths, Order::C).map_err(failed)?;
    if let Some(value) = output.fill {
        let bytes = value.to_le_bytes();
        let size = itemsize.min(bytes.len());
        for item in 0..lengths.iter().product() {
            // SAFETY: the new array has `item + 1` elements of `itemsize` bytes or more.
            let element = unsafe { array.as_mut_ptr().add(item * itemsize) };
            // SAFETY: the element has `size` bytes or more, and nothing else has its address yet.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), element, size) };
        }
    }
    let axes: Dims<isize> = axes.into_iter().map(usize::cast_signed).collect();
    array.permute(&axes).map_err(failed)
}
