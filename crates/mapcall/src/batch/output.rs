//! Where outputs go: to arrays that are made, and to new files.

use std::path::Path;

use mapcall_array::layout::{Dims, Order};
use mapcall_array::{Array, DType, NewFile, WrittenFile};

use crate::contract::{ArrayRule, BroadcastPlan, Contract, Output, Problem, Role, Rule};
use crate::function::CallError;

impl Output {
    fn rule<'a>(&self, contract: &'a Contract) -> Option<&'a ArrayRule> {
        match self.role {
            Role::Parameter(position) => contract.rules().get(position).and_then(Rule::array),
            Role::Result | Role::Mask => contract.returned(),
        }
    }

    pub(super) fn dtype(&self, contract: &Contract) -> DType {
        let rule = self.rule(contract);
        rule.map_or(DType::U8, |rule| rule.dtype.clone())
    }

    /// How many bytes an item of a batch has.
    fn size(&self, itemsize: usize) -> usize {
        let core = self.shape.get(self.order.len()..).unwrap_or_default();
        core.iter().product::<usize>() * itemsize
    }

    /// Adds a new `.npy` file for an output, which gets its name by [`finish`]. A file that has the name is
    /// replaced then, or written in place where it can't be.
    ///
    /// # Errors
    ///
    /// [`CallError::Array`] when the system refuses, or the disk is full; [`CallError::Argument`] when
    /// another output goes to that file.
    pub fn file(
        &self,
        contract: &Contract,
        broadcast: &mut BroadcastPlan,
        path: &Path,
        files: &mut Vec<(Role, NewFile)>,
    ) -> Result<(), CallError> {
        let dtype = self.dtype(contract);
        let size = self.size(dtype.itemsize());
        let file = NewFile::create(path, dtype, &self.shape, Order::C);
        let file = file.map_err(|source| failed(contract, source))?;
        let same = files.iter().find(|(_, other)| file.replaces(other));
        let written = || file.old().and_then(|old| broadcast.written_to(old));
        if let Some(other) = same.map(|(role, _)| *role).or_else(written) {
            let other = match other {
                Role::Parameter(position) => contract.name(position),
                Role::Result | Role::Mask => "the result",
            };
            let problem = Problem::SameFile {
                path: path.to_path_buf(),
                other: other.to_owned(),
            };
            return Err(contract.refuse_role(self.role, problem).into());
        }
        broadcast.place_in_order(contract, self.role, size);
        files.push((self.role, file));
        Ok(())
    }

    /// A new array of zeros for an output, whose axes lie in memory as the batch walks.
    pub(super) fn array(
        &self,
        contract: &Contract,
        broadcast: &mut BroadcastPlan,
    ) -> Result<Array, CallError> {
        let dtype = self.dtype(contract);
        let size = self.size(dtype.itemsize());
        let (lengths, axes) = self.in_memory();
        let array = Array::zeros(dtype, &lengths, Order::C);
        let array = array.map_err(|source| failed(contract, source))?;
        let address = array.as_mut_ptr().addr();
        let alignment = self.rule(contract).map_or(1, |rule| rule.alignment);
        if !address.is_multiple_of(alignment) {
            let problem = Problem::Unaligned { address, alignment };
            return Err(contract.refuse_role(self.role, problem).into());
        }
        let axes = axes.into_iter().map(usize::cast_signed);
        let array = array
            .permute(&axes.collect::<Dims<isize>>())
            .map_err(|source| failed(contract, source))?;
        let strides = array.strides().get(..self.order.len()).unwrap_or_default();
        broadcast.place(contract, self.role, array.as_mut_ptr(), strides, size);
        Ok(array)
    }
}

/// Gives the files of a batch that is over their names; the files as they were written.
///
/// # Errors
///
/// [`CallError::Array`] when the system refuses.
pub fn finish(
    contract: &Contract,
    files: Vec<(Role, NewFile)>,
    is_synced: bool,
) -> Result<Vec<(Role, WrittenFile)>, CallError> {
    // All of them first, so that one that fails leaves the others' old files, too.
    for (_, file) in &files {
        if is_synced || file.syncs() {
            file.sync().map_err(|source| failed(contract, source))?;
        }
    }
    let named = files.into_iter().map(|(role, file)| {
        let named = if is_synced {
            file.persist_durably()
        } else {
            file.persist()
        };
        let named = named.map_err(|source| failed(contract, source))?;
        Ok((role, named))
    });
    named.collect()
}

pub(super) fn failed(contract: &Contract, source: mapcall_array::Error) -> CallError {
    CallError::Array {
        function: contract.prototype().name.clone(),
        source: Box::new(source),
    }
}

/// Whether a parameter stands behind the arrow of the function's signature.
pub(super) fn is_output(contract: &Contract, position: usize) -> bool {
    let rule = contract.rules().get(position).and_then(Rule::array);
    rule.is_some_and(ArrayRule::is_output)
}

/// How many outputs a function has.
pub(super) fn outputs_of(contract: &Contract) -> usize {
    let positions = contract.arguments().iter();
    usize::from(contract.returned().is_some())
        + positions
            .filter(|&&position| is_output(contract, position))
            .count()
}

/// Which of the outputs a operand is.
pub(super) fn output_index(contract: &Contract, role: Role) -> usize {
    let result = usize::from(contract.returned().is_some());
    match role {
        Role::Parameter(position) => {
            let before = contract
                .arguments()
                .iter()
                .filter(|&&other| other < position);
            result + before.filter(|&&other| is_output(contract, other)).count()
        }
        Role::Result | Role::Mask => 0,
    }
}
