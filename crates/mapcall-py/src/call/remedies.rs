//! Remedies as Python code.

use mapcall::array::DType;
use mapcall::contract::{
    Access, ArgumentError, Form, ListOf, Problem, Remedy, Replacement, Results, write_length,
};

use super::spelling;

/// Returns the remedy of an error as Python code on the argument, under the parameter's name.
pub(super) fn text(error: &ArgumentError) -> String {
    let remedy = without_conversion(error);
    if !error.subject.can_convert {
        return remedy;
    }
    let convert = spelling::option("convert", &error.subject.names);
    format!("{remedy}, or give {convert}=True")
}

#[expect(clippy::too_many_lines, reason = "an arm for each variant")]
fn without_conversion(error: &ArgumentError) -> String {
    let name = &*spelling::spelled(&error.parameter);
    let or_omit = |or_omit: bool| {
        if or_omit {
            format!(", or leave {} out", quoted_option(error, name))
        } else {
            String::new()
        }
    };
    match error.remedy() {
        Remedy::Replace(replacement) => replace(error, name, &replacement),
        Remedy::TakeComplex {
            ctype,
            dtype,
            view,
            is_only_read,
        } => {
            let declare = format!("write {ctype} for {name} in the prototype, if C takes that");
            match view {
                Some(view) => format!(
                    "pass {name}.view('{}'), where real and imaginary parts alternate, or {declare}",
                    view.name()
                ),
                None if is_only_read => format!(
                    "{declare}, or pass {name}.real.astype('{}') without the imaginary parts",
                    dtype.name()
                ),
                None => declare,
            }
        }
        Remedy::GiveField { name: field, dtype } => format!(
            "pass one of its fields, as numpy.ascontiguousarray({name}['{field}'], '{}')",
            dtype.name()
        ),
        Remedy::Unmask { by_copy: true } => {
            format!("pass {name}.filled(value), or {name}.data to have the masked elements count")
        }
        Remedy::Unmask { by_copy: false } => {
            format!("pass {name}.data, where the masked elements are written too")
        }
        Remedy::OpenFile {
            is_written: false, ..
        } => format!("open it with mapcall.open({name})"),
        Remedy::OpenFile { is_output, .. } => {
            let out = spelling::option("out", &error.subject.names);
            let map = format!("pass mapcall.open({name}, 'r+') to write a file that exists");
            match error.subject.outputs {
                1 if is_output => {
                    format!("leave {name} out and give {out}={name} for a new file, or {map}")
                }
                _ => map,
            }
        }
        Remedy::GiveList(ListOf::Texts { of_elements: true }) => format!("pass {name}.tolist()"),
        Remedy::GiveList(ListOf::Texts { .. }) => "give a list of str or bytes".into(),
        Remedy::GiveList(ListOf::Arrays { of_rows: true, .. }) => format!("pass list({name})"),
        Remedy::GiveList(ListOf::Arrays { dtype, .. }) => {
            format!("give a list of arrays of {}", dtype.name())
        }
        Remedy::GiveList(ListOf::Functions) => "give a list of bound functions or callables".into(),
        Remedy::GiveList(ListOf::Handles) => "give a list of handles or None".into(),
        Remedy::GiveRecords(_) => {
            let or_dicts = match error.subject.access {
                Access::Read => ", or a list of dicts",
                _ => "",
            };
            let dtype = struct_dtype(error);
            format!("give an array such as numpy.zeros(n, {dtype}) with its fields set{or_dicts}")
        }
        Remedy::GiveArray { dtype, or_omit: or } => format!(
            "give an array such as numpy.zeros(shape, {}){}",
            quoted(error, &dtype),
            or_omit(or)
        ),
        Remedy::GiveShape { shape, given } => {
            let shape = tuple(&shape);
            let or_omit = given.map_or(String::new(), |given| {
                format!(", or leave {} out", spelling::spelled(&given))
            });
            format!("give an array of shape {shape}{or_omit}")
        }
        Remedy::GiveBatch { shape, or_omit: or } => {
            let axes: Vec<String> = shape.iter().map(ToString::to_string).collect();
            let axes = axes.join(", ");
            format!(
                "give an array with the axes {axes} before its own{}",
                or_omit(or)
            )
        }
        Remedy::GiveText { or_array: false } => "give a str or bytes".into(),
        Remedy::GiveText { or_array: true } => "give a str, bytes or an array".into(),
        Remedy::CutText { length } => format!("pass {name}[:{length}]"),
        Remedy::GiveReal => format!("give {name}.real"),
        Remedy::GiveFloat(_) => format!("give float({name}), which rounds"),
        Remedy::GiveHandle { or_array: false } => "give a handle or None".into(),
        Remedy::GiveHandle { or_array: true } => "give an array, a handle or None".into(),
        Remedy::GivePointer { target } => format!("give library.handle('{target} *', {name})"),
        Remedy::GiveFunction => "give a bound function or a callable".into(),
        Remedy::GiveStruct(_) => {
            let dtype = struct_dtype(error);
            format!("give a dict of its members, or numpy.zeros((), {dtype}) with its fields set")
        }
        Remedy::GiveExtent => format!("give it by name, {name}=..."),
        Remedy::OmitInferred => "leave out the rest; inferred parameters are given by name".into(),
        Remedy::GiveOutputs { count } => {
            let out = spelling::option("out", &error.subject.names);
            match count {
                0 => format!("leave `{out}` out"),
                1 => format!("give an array or a path as `{out}`"),
                _ => format!(
                    "give a tuple of {count} as `{out}`, with None for an output that is to be \
                     allocated"
                ),
            }
        }
        Remedy::Measure(lengths) => {
            let (function, length) = (&error.function, write_length(&lengths));
            format!("{length}, or call {function}.unchecked(...)")
        }
        Remedy::BindVariant => {
            let function = &error.function;
            format!(
                "bind {function} by a prototype with a parameter for each argument, without a header"
            )
        }
        other => other.named(name).to_string(),
    }
}

/// Returns the name of a parameter; that of an option in quotes, as `out` is a word.
fn quoted_option(error: &ArgumentError, name: &str) -> String {
    match error.subject.position {
        Some(_) => name.to_owned(),
        None => format!("`{name}`"),
    }
}

/// Returns a shape as code.
fn tuple(shape: &[usize]) -> String {
    let lengths: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    format!("({}{comma})", lengths.join(", "))
}

/// Returns the remedy to pass another array.
fn replace(error: &ArgumentError, name: &str, replacement: &Replacement) -> String {
    let of = replacement.of.as_deref().map(spelling::spelled);
    let of = of.as_deref().unwrap_or(name);
    let (verb, code, loss) = match &replacement.form {
        Form::Convert { to, loss } => (
            "convert it with",
            format!("{of}.astype('{}')", to.name()),
            loss.words(to),
        ),
        Form::ConvertFields { names, .. } => {
            let dtype = struct_dtype(error);
            let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
            let code = match &names[..] {
                [] => format!("{of}.astype({dtype})"),
                names => format!("{of}[[{}]].astype({dtype})", names.join(", ")),
            };
            ("convert it with", code, String::new())
        }
        Form::MakeArray(dtype) => {
            let code = format!("numpy.asarray({of}, {})", quoted(error, dtype));
            ("make it one with", code, String::new())
        }
        Form::OfNumber { dtype, rank } => {
            let shape = match rank {
                0 | 1 => "1".to_owned(),
                _ => format!("({})", vec!["1"; *rank].join(", ")),
            };
            let code = format!("numpy.full({shape}, {of}, '{}')", dtype.name());
            ("make it one with", code, String::new())
        }
        Form::Contiguous => (
            "copy it with",
            format!("numpy.ascontiguousarray({of})"),
            String::new(),
        ),
        Form::ColumnMajor => (
            "copy it with",
            format!("numpy.asfortranarray({of})"),
            String::new(),
        ),
        Form::ColumnMajorItems { rank } => {
            // The reversal of the last axes, which undoes itself.
            let reversed = |array: &str| {
                let from: Vec<String> = (1..=*rank).rev().map(|axis| format!("-{axis}")).collect();
                let to: Vec<String> = (1..=*rank).map(|axis| format!("-{axis}")).collect();
                let (from, to) = (from.join(", "), to.join(", "));
                format!("numpy.moveaxis({array}, [{from}], [{to}])")
            };
            let code = match rank {
                2 => format!("{of}.swapaxes(-2, -1).copy().swapaxes(-2, -1)"),
                _ => reversed(&format!("{}.copy()", reversed(of))),
            };
            ("copy it with", code, String::new())
        }
        Form::Copy => ("pass", format!("{of}.copy()"), String::new()),
        Form::Reshape(shape) => {
            let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
            let in_place = if error.subject.access.is_written() {
                ", copy=False"
            } else {
                ""
            };
            let code = format!("{of}.reshape({}{in_place})", shape.join(", "));
            ("pass", code, String::new())
        }
        _ => return replacement.to_string(),
    };
    let mut or_omit = if replacement.or_omit {
        format!(", or leave {} out", quoted_option(error, name))
    } else {
        String::new()
    };
    if matches!(error.problem, Problem::ReadOnly) {
        or_omit.push_str(", or open the map for writing");
    }
    let is_name = of
        .chars()
        .all(|letter| letter.is_alphanumeric() || letter == '_');
    let new = if is_name {
        format!("new_{of}")
    } else {
        "new".into()
    };
    match replacement.results {
        Results::None => format!("{verb} {code}{loss}"),
        Results::Stay => {
            format!("pass {new} = {code}{loss}, which has the results then{or_omit}")
        }
        Results::CopyBack => {
            format!("pass {new} = {code}, and do {of}[...] = {new} after the call{or_omit}")
        }
    }
}

/// Returns the code of a dtype: that of a struct by the function, any other by its name.
pub(super) fn quoted(error: &ArgumentError, dtype: &DType) -> String {
    match dtype.fields() {
        Some(_) => struct_dtype(error),
        None => format!("'{}'", dtype.name()),
    }
}

/// Returns the code of the dtype of the parameter's struct.
fn struct_dtype(error: &ArgumentError) -> String {
    match error.subject.position {
        Some(position) => format!("{}.parameters[{position}].dtype", error.function),
        None => "the struct's dtype".into(),
    }
}
