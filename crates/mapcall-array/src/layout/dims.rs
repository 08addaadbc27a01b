//! A list with one value for each axis of an array.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::{Deref, DerefMut};
use std::slice;

use smallvec::SmallVec;

/// The number of values that are stored in place.
const IN_PLACE: usize = 4;

/// A list with one value for each axis of an array, such as a shape or strides.
///
/// ```
/// use mapcall_array::layout::{Dims, broadcast_shapes};
///
/// let mut shape: Dims<usize> = broadcast_shapes(&[&[2, 1], &[3]])?;
/// assert_eq!(shape[..], [2, 3]);
/// shape.push(4);
/// assert_eq!(shape.iter().product::<usize>(), 24);
/// let doubled: Dims<usize> = shape.into_iter().map(|length| 2 * length).collect();
/// assert_eq!(format!("{doubled:?}"), "[4, 6, 8]");
/// # Ok::<(), mapcall_array::layout::LayoutError>(())
/// ```
///
/// It is a slice that can grow. Up to four values are stored in place, so that the layouts of most arrays
/// allocate no memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dims<T>(SmallVec<[T; IN_PLACE]>);

impl<T> Dims<T> {
    /// Returns an empty list.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Self(SmallVec::new())
    }

    /// Returns a list with the values of a slice.
    #[inline]
    #[must_use]
    pub fn from_slice(values: &[T]) -> Self
    where
        T: Copy,
    {
        Self(SmallVec::from_slice(values))
    }

    /// Returns a list that has a value a number of times.
    ///
    /// ```
    /// use mapcall_array::layout::Dims;
    ///
    /// assert_eq!(Dims::from_elem(1, 3)[..], [1, 1, 1]);
    /// ```
    #[inline]
    #[must_use]
    pub fn from_elem(value: T, count: usize) -> Self
    where
        T: Clone,
    {
        Self(SmallVec::from_elem(value, count))
    }

    /// Returns the values as a slice.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// Adds a value behind the others.
    #[inline]
    pub fn push(&mut self, value: T) {
        self.0.push(value);
    }

    /// Inserts a value before that of an axis.
    ///
    /// # Panics
    ///
    /// If `axis` is larger than the length.
    #[inline]
    pub fn insert(&mut self, axis: usize, value: T) {
        self.0.insert(axis, value);
    }
}

impl<T> Default for Dims<T> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for Dims<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T> DerefMut for Dims<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> AsRef<[T]> for Dims<T> {
    #[inline]
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: fmt::Debug> fmt::Debug for Dims<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: Copy> From<&[T]> for Dims<T> {
    #[inline]
    fn from(values: &[T]) -> Self {
        Self::from_slice(values)
    }
}

impl<T> FromIterator<T> for Dims<T> {
    #[inline]
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(SmallVec::from_iter(values))
    }
}

impl<T> Extend<T> for Dims<T> {
    #[inline]
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        self.0.extend(values);
    }
}

impl<T> IntoIterator for Dims<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    #[inline]
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self.0.into_iter())
    }
}

impl<'a, T> IntoIterator for &'a Dims<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    #[inline]
    fn into_iter(self) -> slice::Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Dims<T> {
    type Item = &'a mut T;
    type IntoIter = slice::IterMut<'a, T>;

    #[inline]
    fn into_iter(self) -> slice::IterMut<'a, T> {
        self.iter_mut()
    }
}

/// The iterator over the values of a list, by [`Dims::into_iter`].
#[derive(Debug)]
pub struct IntoIter<T>(smallvec::IntoIter<[T; IN_PLACE]>);

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.0.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> DoubleEndedIterator for IntoIter<T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        self.0.next_back()
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}

impl<T> FusedIterator for IntoIter<T> {}
