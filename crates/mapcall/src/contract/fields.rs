//! The comparison of structured dtypes with the members of a struct.

use mapcall_array::DType;
use mapcall_array::dtype::Field;

use super::error::Problem;

/// Checks that a structured dtype has the fields and the size of a struct.
///
/// # Errors
///
/// [`Problem::Packed`] if fields are at other places, or if the size differs; [`Problem::Field`] if a field is
/// missing, or has another dtype.
pub(super) fn check(expected: &DType, found: &DType) -> Result<(), Problem> {
    let (members, fields) = (
        expected.fields().unwrap_or_default(),
        found.fields().unwrap_or_default(),
    );
    let has = |name: &str| fields.iter().any(|field| &*field.name == name);
    let has_all = fields.len() == members.len() && members.iter().all(|member| has(&member.name));
    let mut pairs = members.iter().zip(fields);
    let is_in_order = has_all && pairs.all(|(member, field)| member.name == field.name);
    let names = || members.iter().map(|member| member.name.clone()).collect();
    let names = has_all.then(|| if is_in_order { Vec::new() } else { names() });
    let packed = |field| Problem::Packed {
        expected: expected.itemsize(),
        found: found.itemsize(),
        field,
        dtype: expected.clone(),
    };
    let show = |field: &Field| format!("{} at byte {}", field.dtype.name(), field.offset);
    match first_wrong("", members, found) {
        None if expected.itemsize() == found.itemsize() && fields.len() == members.len() => Ok(()),
        None => Err(packed(None)),
        Some((path, member, Some(field)))
            if is_same(&member.dtype, &field.dtype) && is_in_order =>
        {
            Err(packed(Some((path, member.offset, field.offset))))
        }
        Some((path, member, field)) => Err(Problem::Field {
            field: path,
            expected: match field {
                Some(_) => show(member),
                None => format!("a field of {}", member.dtype.name()),
            },
            found: field.map_or_else(|| "none of that name".into(), show),
            dtype: expected.clone(),
            names,
        }),
    }
}

/// Returns whether a field has the dtype of a member. The characters of a text may also be bytes.
fn is_same(member: &DType, field: &DType) -> bool {
    let (Some(length), text) = (text_length(member), member.shape()) else {
        return member == field;
    };
    let bytes = [DType::I8, DType::U8].contains(field.base())
        && field.shape().split_last() == Some((&length, text));
    member == field || bytes
}

/// Returns the length of a text, or of the texts of a sub-array; `None` for another dtype.
fn text_length(dtype: &DType) -> Option<usize> {
    let base = dtype.base();
    (base.kind_char() == 'S').then(|| base.itemsize())
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
        let has_fields = member.dtype.fields().is_some() && field.dtype.fields().is_some();
        let is_same = is_same(&member.dtype, &field.dtype)
            || (has_fields && member.dtype.itemsize() == field.dtype.itemsize());
        if field.offset != member.offset || !is_same {
            return Some((name, member, Some(field)));
        }
    }
    None
}
