//! The outputs of a call or batch, which are allocated if no argument is given for them.

use mapcall_array::DType;
use mapcall_array::layout::Dims;

use super::Contract;
use super::role::Role;
use super::rule::ArrayRule;

/// An output that has to be allocated for a call or a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The parameter, or the result of the batch, that the output is for.
    pub role: Role,
    /// The lengths of the axes, those of the batch first.
    pub shape: Dims<usize>,
    /// The order of the batch's axes in memory, the outermost first. The axes of the parameter follow
    /// them.
    pub order: Dims<usize>,
    /// Whether the first axis of the parameter is the one that moves fastest.
    pub is_column_major: bool,
    /// The value of its elements, if they are no zeros: an inferred number that C reads.
    pub fill: Option<u64>,
}

impl Output {
    /// Returns whether its elements lie in memory in the order of its axes.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        let core = self.shape.len() - self.order.len().min(self.shape.len());
        self.order.iter().copied().eq(0..self.order.len()) && !(self.is_column_major && core > 1)
    }

    /// Returns the lengths of the axes in the order of memory, and for each axis its index among them:
    /// an array of such lengths, transposed by the indices, is the output.
    ///
    /// ```
    /// use mapcall::contract::{Output, Role};
    ///
    /// let output = Output {
    ///     role: Role::Result,
    ///     shape: [2, 3, 4].into_iter().collect(),
    ///     order: [1, 0].into_iter().collect(),
    ///     is_column_major: false,
    ///     fill: None,
    /// };
    /// let (lengths, axes) = output.in_memory();
    /// assert_eq!((lengths.as_slice(), axes.as_slice()), (&[3, 2, 4][..], &[1, 0, 2][..]));
    /// ```
    #[must_use]
    pub fn in_memory(&self) -> (Dims<usize>, Dims<usize>) {
        let core = self.order.len()..self.shape.len();
        let mut order: Dims<usize> = self.order.iter().copied().chain(core).collect();
        if let (true, Some(core)) = (self.is_column_major, order.get_mut(self.order.len()..)) {
            core.reverse();
        }
        let length = |&axis: &usize| self.shape.get(axis).copied().unwrap_or(1);
        let lengths = order.iter().map(length).collect();
        let mut axes: Dims<usize> = (0..order.len()).collect();
        axes.sort_by_key(|&index| order.get(index).copied());
        (lengths, axes)
    }

    /// Returns the rule of the output's array.
    pub(crate) fn rule<'a>(&self, contract: &'a Contract) -> Option<&'a ArrayRule> {
        contract.array_rule(self.role)
    }

    /// Returns the dtype of its elements.
    #[must_use]
    pub fn dtype(&self, contract: &Contract) -> DType {
        let rule = self.rule(contract);
        rule.map_or(DType::U8, |rule| rule.dtype().clone())
    }

    /// Returns the size of the output of one call of a batch, in bytes.
    #[must_use]
    pub fn call_size(&self, contract: &Contract) -> usize {
        let core = self.shape.get(self.order.len()..).unwrap_or_default();
        core.iter().product::<usize>() * self.dtype(contract).itemsize()
    }
}
