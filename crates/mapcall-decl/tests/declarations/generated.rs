//! Random C text: declarators, extents and prototypes.

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const SCALARS: [&str; 24] = [
    "char",
    "signed char",
    "unsigned char",
    "short",
    "unsigned short",
    "int",
    "unsigned int",
    "long",
    "unsigned long",
    "long long",
    "unsigned long long",
    "float",
    "double",
    "long double",
    "_Bool",
    "float _Complex",
    "double _Complex",
    "size_t",
    "int8_t",
    "uint16_t",
    "int32_t",
    "uint64_t",
    "ptrdiff_t",
    "void *",
];

/// The text of a declaration before and behind its name.
pub(super) fn any_declarator() -> impl Strategy<Value = (String, String)> {
    let leaf = (select(&SCALARS[..]), any::<bool>()).prop_map(|(scalar, is_const)| {
        let prefix = if is_const { "const " } else { "" };
        (format!("{prefix}{scalar} "), String::new())
    });
    leaf.prop_recursive(4, 8, 2, |inner| {
        (inner, 0..5_u8, 1..4_usize).prop_map(|((before, after), step, length)| match step {
            0 => (format!("{before}*"), after),
            1 => (format!("{before}*const "), after),
            2 => (format!("{before}(*"), format!(")[{length}]{after}")),
            3 => (
                format!("{before}(*"),
                format!(")(int, const char *, ...){after}"),
            ),
            _ => (format!("{before}*restrict "), after),
        })
    })
}

const OPERATORS: [&str; 16] = [
    "+", "-", "*", "<<", ">>", "<", "<=", ">", ">=", "==", "!=", "&", "^", "|", "&&", "||",
];

fn any_extent() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("n".to_owned()),
        Just("k".to_owned()),
        (0..100_u32).prop_map(|value| value.to_string()),
        select(&SCALARS[..]).prop_map(|scalar| format!("sizeof({scalar})")),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), select(&OPERATORS[..]), inner.clone())
                .prop_map(|(left, op, right)| format!("({left}) {op} ({right})")),
            (select(&["-", "~", "!", "+"][..]), inner.clone())
                .prop_map(|(op, operand)| format!("{op}({operand})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            (select(&["int", "size_t"][..]), inner)
                .prop_map(|(ctype, operand)| format!("({ctype})({operand})")),
        ]
    })
}

pub(super) fn any_prototype() -> impl Strategy<Value = String> {
    let parameter = (any_declarator(), vec(any_extent(), 0..3), any::<bool>());
    (any_declarator(), vec(parameter, 0..6)).prop_map(|((before, after), parameters)| {
        let mut list = String::from("int n, long k");
        for (index, ((before, after), extents, restrict)) in parameters.iter().enumerate() {
            let _ = write!(list, ", {before}p{index}");
            for (axis, extent) in extents.iter().enumerate() {
                let restrict = if *restrict && axis == 0 {
                    "restrict "
                } else {
                    ""
                };
                let _ = write!(list, "[{restrict}{extent}]");
            }
            list.push_str(after);
        }
        format!("{before}f({list}){after};")
    })
}
