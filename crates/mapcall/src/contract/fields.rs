//! The comparison of structured dtypes with the members of a struct.

use mapcall_array::DType;
use mapcall_array::dtype::Field;

use super::error::Problem;

/// Returns the problem with the fields of a structured dtype that is not the one of a struct.
pub(super) fn wrong_fields(expected: &DType, found: &DType) -> Option<Problem> {
    let (members, fields) = (expected.fields()?, found.fields()?);
    let field = |field: &str| fields.iter().any(|other| other.name == field);
    let has_all = fields.len() == members.len() && members.iter().all(|member| field(&member.name));
    let is_in_order =
        { members.iter().zip(fields) }.all(|(member, field)| member.name == field.name);
    let names = || {
        members
            .iter()
            .map(|member| member.name.to_string())
            .collect()
    };
    let names = has_all.then(|| if is_in_order { Vec::new() } else { names() });
    if let Some((path, member, field)) = first_wrong("", members, found) {
        return Some(match field {
            Some(field) if field.dtype == member.dtype && is_in_order => Problem::Packed {
                expected: expected.itemsize(),
                found: found.itemsize(),
                field: Some((path, member.offset, field.offset)),
                dtype: expected.clone(),
            },
            field => {
                let show =
                    |field: &Field| format!("{} at byte {}", field.dtype.name(), field.offset);
                Problem::Field {
                    field: path,
                    expected: match field {
                        Some(_) => show(member),
                        None => format!("a field of {}", member.dtype.name()),
                    },
                    found: field.map_or_else(|| "none of that name".into(), show),
                    dtype: expected.clone(),
                    names,
                }
            }
        });
    }
    (expected.itemsize() != found.itemsize()).then(|| Problem::Packed {
        expected: expected.itemsize(),
        found: found.itemsize(),
        field: None,
        dtype: expected.clone(),
    })
}

/// Returns the first member whose field is missing or differs, with its path and its field.
fn first_wrong<'a>(
    path: &str,
    members: &'a [Field],
    found: &'a DType,
) -> Option<(String, &'a Field, Option<&'a Field>)> {
    for member in members {
        let name = format!("{path}{}", member.name);
        let Some(field) = found.field(&member.name) else {
            return Some((name, member, None));
        };
        if let (Some(inner), Some(_)) = (member.dtype.fields(), field.dtype.fields())
            && let Some(wrong) = first_wrong(&format!("{name}."), inner, &field.dtype)
        {
            return Some(wrong);
        }
        if field.offset != member.offset || field.dtype != member.dtype {
            return Some((name, member, Some(field)));
        }
    }
    None
}
