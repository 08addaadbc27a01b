//! Compares types.
//!
//! Types share their parts, so that the size of a type as a tree can grow exponentially with the text. Each
//! pair of parts is therefore compared once.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Body, CType, Function, Record};

/// Returns whether two types are equal, including all names.
impl PartialEq for CType {
    fn eq(&self, other: &Self) -> bool {
        Comparison::default().are_equal(self, other)
    }
}

impl Eq for CType {}

/// Returns whether two types are the same type in C: typedef names are resolved and `restrict` is ignored.
pub(super) fn is_same(one: &CType, other: &CType) -> bool {
    Comparison::default().are_same(one, other)
}

/// Returns whether the definitions of two types say the same, though structs that pointers lead to may be known from
/// one of them alone.
pub(super) fn are_same_definitions(one: &CType, other: &CType) -> bool {
    let mut comparison = Comparison {
        completes: true,
        ..Comparison::default()
    };
    comparison.are_equal(one, other)
}

/// Returns whether the parameters of two function types have the same names, extents and annotations. Their types
/// are compared as those of the parameters.
fn are_declared_alike(one: &Function, other: &Function) -> bool {
    match (&one.declared, &other.declared) {
        (Some(one), Some(other)) => {
            let mut parameters = one.iter().zip(&**other);
            parameters.all(|(one, other)| one.is_declared_like(other))
        }
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// The pairs of parts of two types that a comparison has visited, by their addresses: types share their parts, so
/// that each pair is compared once. A visited pair counts as equal: if it differs, the whole comparison ends with
/// that.
#[derive(Default)]
pub(crate) struct VisitedPairs(HashSet<(usize, usize)>);

impl VisitedPairs {
    /// Marks a pair as visited; returns whether it must be compared: two different parts, not visited before.
    pub(crate) fn begin<T>(&mut self, one: &Arc<T>, other: &Arc<T>) -> bool {
        let pair = (Arc::as_ptr(one).addr(), Arc::as_ptr(other).addr());
        pair.0 != pair.1 && self.0.insert(pair)
    }
}

/// The comparison of two types.
#[derive(Default)]
struct Comparison {
    visited: VisitedPairs,
    /// Whether a struct whose members are not known yet equals one of the same tag.
    completes: bool,
}

impl Comparison {
    fn are_equal(&mut self, one: &CType, other: &CType) -> bool {
        match (one, other) {
            (CType::Void, CType::Void) | (CType::Bool, CType::Bool) => true,
            (CType::Integer(one), CType::Integer(other)) => one == other,
            (CType::Float(one), CType::Float(other))
            | (CType::Complex(one), CType::Complex(other)) => one == other,
            (CType::Enum(one), CType::Enum(other)) => one == other,
            (CType::Unsupported(one), CType::Unsupported(other)) => one == other,
            (CType::Pointer(one), CType::Pointer(other)) => {
                one.is_const == other.is_const
                    && one.is_restrict == other.is_restrict
                    && (!self.visited.begin(one, other)
                        || self.are_equal(&one.target, &other.target))
            }
            (CType::Array(one), CType::Array(other)) => {
                one.length == other.length
                    && (!self.visited.begin(one, other) || self.are_equal(&one.item, &other.item))
            }
            (CType::Function(one), CType::Function(other)) => {
                let parameters = one.parameters.iter().zip(&other.parameters);
                !self.visited.begin(one, other)
                    || (one.is_variadic == other.is_variadic
                        && one.parameters.len() == other.parameters.len()
                        && are_declared_alike(one, other)
                        && self.are_equal(&one.returns, &other.returns)
                        && { parameters }.all(|(one, other)| self.are_equal(one, other)))
            }
            (CType::Record(one), CType::Record(other)) => {
                !self.visited.begin(one, other) || self.are_equal_records(one, other)
            }
            (CType::Typedef(one), CType::Typedef(other)) => {
                one.name == other.name
                    && (one.is_const, one.alignment) == (other.is_const, other.alignment)
                    && (!self.visited.begin(one, other) || self.are_equal(&one.ctype, &other.ctype))
            }
            _ => false,
        }
    }

    fn are_equal_records(&mut self, one: &Record, other: &Record) -> bool {
        if one.kind != other.kind || one.tag != other.tag {
            return false;
        }
        match (&one.body, &other.body) {
            (
                Body::Complete {
                    members: one,
                    size,
                    alignment,
                    is_packed,
                },
                Body::Complete {
                    members: other,
                    size: other_size,
                    alignment: other_alignment,
                    is_packed: is_other_packed,
                },
            ) => {
                (size, alignment, is_packed) == (other_size, other_alignment, is_other_packed)
                    && one.len() == other.len()
                    && one.iter().zip(other).all(|(one, other)| {
                        one.name == other.name
                            && (one.offset, one.bits) == (other.offset, other.bits)
                            && self.are_equal(&one.ctype, &other.ctype)
                    })
            }
            (Body::Incomplete, _) | (_, Body::Incomplete) if self.completes => one.tag.is_some(),
            // At least one of the two has no known members.
            (one, other) => one == other,
        }
    }

    fn are_same(&mut self, one: &CType, other: &CType) -> bool {
        match (one.resolved(), other.resolved()) {
            (CType::Pointer(one), CType::Pointer(other)) => {
                one.is_const == other.is_const
                    && (!self.visited.begin(one, other)
                        || self.are_same(&one.target, &other.target))
            }
            (CType::Array(one), CType::Array(other)) => {
                one.length == other.length
                    && (!self.visited.begin(one, other) || self.are_same(&one.item, &other.item))
            }
            (CType::Function(one), CType::Function(other)) => {
                let parameters = one.parameters.iter().zip(&other.parameters);
                !self.visited.begin(one, other)
                    || (one.is_variadic == other.is_variadic
                        && one.parameters.len() == other.parameters.len()
                        && self.are_same(&one.returns, &other.returns)
                        && { parameters }.all(|(one, other)| self.are_same(one, other)))
            }
            // A struct may be defined in one text and only declared in the other.
            (CType::Record(one), CType::Record(other)) if one.tag.is_some() => {
                one.kind == other.kind && one.tag == other.tag
            }
            (CType::Record(one), CType::Record(other)) => {
                // The members are compared with all names, so pairs that were visited without names don't
                // count.
                !self.visited.begin(one, other) || Self::default().are_equal_records(one, other)
            }
            (one, other) => self.are_equal(one, other),
        }
    }
}
