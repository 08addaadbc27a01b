//! Writes types as C declarations.

use std::fmt::Write;

use super::{Body, CType, FunctionParameter, Nullability, Record, write_attributes};

/// Returns the declaration of a name. Declarators in C wrap the name from the inside outwards, so the text
/// grows on both sides of it.
pub(super) fn declare(ctype: &CType, is_const: bool, name: &str) -> String {
    declare_in(ctype, is_const, name, false)
}

/// Like [`declare`]; `in_record` is whether the text is inside an unnamed record. The members of a nested
/// unnamed record are left out, as several members can share it at each level, and the text would grow
/// exponentially.
fn declare_in(ctype: &CType, is_const: bool, name: &str, in_record: bool) -> String {
    let mut declarator = name.to_owned();
    let mut ctype = ctype;
    let mut is_const = is_const;
    // A pointer to an array or function needs parentheses.
    let mut after_pointer = false;
    loop {
        match ctype {
            CType::Pointer(pointer) => {
                let mut star = String::from("*");
                if pointer.is_restrict {
                    star.push_str("restrict");
                }
                if is_const {
                    star.push_str(if pointer.is_restrict {
                        " const"
                    } else {
                        "const"
                    });
                }
                if star.len() > 1 && !declarator.is_empty() {
                    star.push(' ');
                }
                declarator.insert_str(0, &star);
                is_const = pointer.is_const;
                after_pointer = true;
                ctype = &pointer.target;
            }
            CType::Array(array) => {
                parenthesise(&mut declarator, after_pointer);
                let length = array.length.map(|n| n.to_string()).unwrap_or_default();
                let _ = write!(declarator, "[{length}]");
                after_pointer = false;
                ctype = &array.item;
            }
            CType::Function(function) => {
                parenthesise(&mut declarator, after_pointer);
                let mut parameters: Vec<_> = if let Some(declared) = &function.declared {
                    let parameters = declared.iter().zip(&function.parameters);
                    let declare = |(declared, ctype)| parameter(declared, ctype, in_record);
                    parameters.map(declare).collect()
                } else {
                    let declare = |ctype| declare_in(ctype, false, "", in_record);
                    function.parameters.iter().map(declare).collect()
                };
                if function.is_variadic {
                    parameters.push("...".into());
                } else if parameters.is_empty() {
                    parameters.push("void".into());
                }
                let _ = write!(declarator, "({})", parameters.join(", "));
                after_pointer = false;
                is_const = false;
                ctype = &function.returns;
            }
            _ => break,
        }
    }
    let mut text = if is_const {
        String::from("const ")
    } else {
        String::new()
    };
    text.push_str(&base(ctype, in_record));
    if !declarator.is_empty() {
        if !declarator.starts_with('[') {
            text.push(' ');
        }
        text.push_str(&declarator);
    }
    text
}

/// Returns the declaration of a parameter of a function type, which is passed as a type.
fn parameter(declared: &FunctionParameter, passed: &CType, in_record: bool) -> String {
    let FunctionParameter {
        item,
        nullability,
        is_column_major,
        stride,
        equals,
        between,
        ..
    } = declared;
    let mut text = String::new();
    let layout = (*is_column_major, stride.as_ref());
    let _ = write_attributes(&mut text, layout, equals.as_ref(), between.as_deref());
    let name = declared.name.as_deref().unwrap_or_default();
    let nullable = match nullability {
        Nullability::Unspecified => "",
        Nullability::Nullable => "_Nullable ",
        Nullability::Nonnull => "_Nonnull ",
    };
    let (CType::Pointer(pointer), [outermost, inner @ ..]) = (passed, &declared.extents[..]) else {
        let declarator = format!("{nullable}{name}");
        text.push_str(&declare_in(passed, false, declarator.trim_end(), in_record));
        return text;
    };
    let restrict = if pointer.is_restrict { "restrict " } else { "" };
    let declarator = if declared.is_sized && item.resolved() != &CType::Void {
        format!("*__sized_by({outermost}) {restrict}{nullable}{name}")
    } else {
        let mut declarator = format!("{name}[{restrict}{nullable}{outermost}]");
        for extent in inner {
            let _ = write!(declarator, "[{extent}]");
        }
        declarator
    };
    text.push_str(&declare_in(item, pointer.is_const, &declarator, in_record));
    text
}

fn parenthesise(declarator: &mut String, after_pointer: bool) {
    if after_pointer {
        declarator.insert(0, '(');
        declarator.push(')');
    }
}

fn base(ctype: &CType, in_record: bool) -> String {
    match ctype {
        CType::Void => "void".into(),
        CType::Bool => "_Bool".into(),
        CType::Integer(integer) => integer.name().into(),
        CType::Float(float) => float.name().into(),
        CType::Complex(float) => format!("{} _Complex", float.name()),
        CType::Enum(enumeration) => {
            if let Some(tag) = &enumeration.tag {
                format!("enum {tag}")
            } else {
                let values: Vec<_> = enumeration
                    .enumerators
                    .iter()
                    .map(|(name, value)| format!("{name} = {value}"))
                    .collect();
                let underlying = if enumeration.is_fixed {
                    format!(": {} ", enumeration.underlying.name())
                } else {
                    String::new()
                };
                format!("enum {underlying}{{ {} }}", values.join(", "))
            }
        }
        CType::Record(record) => record_text(record, in_record),
        CType::Typedef(typedef) => typedef.name.clone(),
        CType::Unsupported(unsupported) => unsupported.name.clone(),
        // `declare` handles these types before it calls this function.
        CType::Pointer(_) | CType::Array(_) | CType::Function(_) => ctype.to_string(),
    }
}

fn record_text(record: &Record, in_record: bool) -> String {
    let keyword = record.kind.keyword();
    match (&record.tag, &record.body) {
        (Some(tag), _) => format!("{keyword} {tag}"),
        (None, Body::Complete { members, .. }) if !in_record => {
            let mut text = format!("{keyword} {{ ");
            for member in members {
                let name = member.name.as_deref().unwrap_or_default();
                let _ = write!(text, "{}", declare_in(&member.ctype, false, name, true));
                if let Some(bits) = member.bits {
                    let _ = write!(text, " : {}", bits.width);
                }
                text.push_str("; ");
            }
            text.push('}');
            text
        }
        (None, _) => format!("{keyword} {{...}}"),
    }
}
