//! Values as text for messages.

use std::fmt;

/// Formats values as a Python tuple.
pub(super) fn tuple<T: fmt::Display>(values: &[T]) -> String {
    if let [only] = values {
        return format!("({only},)");
    }
    let values: Vec<_> = values.iter().map(T::to_string).collect();
    format!("({})", values.join(", "))
}
