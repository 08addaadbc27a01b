//! The comparison of a function that another library describes with the type that a parameter has.

use crate::ctype::{CType, Function};
use crate::prototype::Prototype;

/// Returns whether C can call a function of a prototype by a pointer of a function type: all values are passed
/// in the same way.
///
/// Other libraries know neither `const` nor the names of structs as the prototype has them, and call pointers
/// by other names: so pointers only contradict if both lead to numbers of different types.
pub(super) fn fits(wanted: &Function, given: &Prototype) -> bool {
    let parameters = given.passed_types();
    wanted.is_variadic == given.is_variadic
        && is_passed_alike(&wanted.returns, &given.returns)
        && wanted.parameters.len() == parameters.len()
        && { wanted.parameters.iter() }
            .zip(&parameters)
            .all(|(wanted, given)| is_passed_alike(wanted, given))
}

/// Returns whether values of two types are passed in the same way.
fn is_passed_alike(one: &CType, other: &CType) -> bool {
    match (one.resolved(), other.resolved()) {
        (CType::Pointer(one), CType::Pointer(other)) => {
            are_targets_alike(&one.target, &other.target)
        }
        (CType::Record(_), CType::Record(_)) => {
            (one.size(), one.alignment()) == (other.size(), other.alignment())
        }
        (CType::Bool, CType::Bool) => true,
        (CType::Bool, byte) | (byte, CType::Bool) => byte.size() == Some(1),
        (CType::Enum(_), integer) | (integer, CType::Enum(_)) => {
            integer.integer().is_some() && one.size() == other.size()
        }
        // A byte may be a character, whose sign is the compiler's choice.
        (CType::Integer(one), CType::Integer(other)) => {
            one.size() == other.size() && (one.size() == 1 || one.is_signed() == other.is_signed())
        }
        (one, other) => one == other,
    }
}

/// Returns whether pointers to two types may be the same.
fn are_targets_alike(one: &CType, other: &CType) -> bool {
    match (one.resolved(), other.resolved()) {
        (CType::Void | CType::Function(_), _)
        | (_, CType::Void | CType::Function(_))
        | (CType::Record(_), CType::Record(_))
        | (CType::Pointer(_), CType::Pointer(_)) => true,
        (CType::Array(array), _) => are_targets_alike(&array.item, other),
        (_, CType::Array(array)) => are_targets_alike(one, &array.item),
        (one, other) if one.size() == Some(1) || other.size() == Some(1) => true,
        (one, other) => is_passed_alike(one, other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn wanted(text: &str) -> Arc<Function> {
        let prototype = Prototype::parse(&format!("struct s {{ int a; }}; {text}")).unwrap();
        match prototype.function_type() {
            CType::Function(function) => function,
            _ => unreachable!(),
        }
    }

    #[test]
    fn only_what_is_passed_in_another_way_contradicts() {
        let cases = [
            (
                "int f(const void *, const void *)",
                "int f(double *, double *)",
                true,
            ),
            ("double f(double)", "double f(double)", true),
            ("double f(double)", "float f(float)", false),
            ("double f(double)", "double f(double, void *)", false),
            ("int f(const double *)", "int f(float *)", false),
            ("int f(const double *x)", "int f(void *)", true),
            ("int f(const double x[3])", "int f(double *)", true),
            ("long f(unsigned)", "long long f(unsigned)", true),
            ("long f(unsigned)", "long f(int)", false),
            ("int f(char)", "int f(unsigned char)", true),
            (
                "void f(struct s)",
                "struct t { unsigned b; }; void f(struct t)",
                true,
            ),
            (
                "void f(struct s)",
                "struct t { double b; }; void f(struct t)",
                false,
            ),
            ("void f(int)", "int f(int)", false),
            ("_Bool f(void)", "unsigned char f(void)", true),
            ("void f(int (*g)(int))", "void f(void *)", true),
        ];
        for (function, given, expected) in cases {
            let given = Prototype::parse(given).unwrap();
            assert_eq!(
                fits(&wanted(function), &given),
                expected,
                "{function}: {given}"
            );
        }
    }
}
