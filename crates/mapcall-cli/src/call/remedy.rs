//! Remedies as texts of the command: values to type, and calls of NumPy on files.

use std::ffi::OsString;

use mapcall::array::DType;
use mapcall::contract::{
    Access, ArgumentError, Element, Form, Remedy, Replacement, Results, list, write_length,
};

use crate::value::split_name;

/// Returns the message of an argument that is refused, with a remedy for the command. `values` are the texts
/// `NAME=VALUE` of the call.
pub(crate) fn message(error: &ArgumentError, values: &[OsString]) -> String {
    let text = text(error, values);
    if !error.subject.can_convert {
        return error.message(&text);
    }
    // No file has a batch of items in Fortran order.
    if let Remedy::Replace(Replacement {
        form: Form::ColumnMajorItems { .. },
        ..
    }) = error.remedy()
    {
        return error.message(&"add --convert");
    }
    error.message(&format_args!("{text}, or add --convert"))
}

fn text(error: &ArgumentError, values: &[OsString]) -> String {
    let (name, remedy) = (&*error.parameter, error.remedy());
    let or_omit = |or_omit: bool| {
        if or_omit {
            format!(", or leave {name} out")
        } else {
            String::new()
        }
    };
    match remedy {
        Remedy::Replace(replacement) => replace(error, &replacement, values),
        Remedy::TakeComplex {
            ctype,
            dtype,
            is_only_read,
            ..
        } => {
            let declare = format!("write {ctype} for {name} in the prototype, if C takes that");
            match convert(name, values, &format!(".real.astype('{}')", dtype.name())) {
                Some(convert) if is_only_read => {
                    format!("{declare}, or drop the imaginary parts: {convert}")
                }
                _ => declare,
            }
        }
        Remedy::GiveField { name: field, dtype } => {
            let code = format!("['{field}'].astype('{}')", dtype.name());
            convert(name, values, &code).unwrap_or_else(|| format!("give {name} one of its fields"))
        }
        Remedy::Give => match (&error.subject.access, &error.subject.element) {
            _ if error.subject.range.is_some() => format!("give {name}=NUMBER"),
            (Access::None, _) => format!("give {name}=VALUE"),
            (_, Element::None) => format!("give {name}=NULL"),
            _ if error.expected == "text" => format!("give {name}=TEXT"),
            _ => format!("give {name}=FILE.npy"),
        },
        Remedy::GiveOrMeasure(lengths) => {
            format!("give {name}=FILE.npy, or {}", write_length(&lengths))
        }
        Remedy::Measure(lengths) => write_length(&lengths),
        Remedy::GiveArray { dtype, or_omit: or } => {
            format!("give a file of {}{}", dtype.name(), or_omit(or))
        }
        Remedy::GiveExtent => format!("give {name}=NUMBER"),
        Remedy::GiveText { .. } => format!("give {name}='TEXT'"),
        Remedy::GiveHandle { .. } => {
            "give NULL; a handle can be passed from Python and from Rust alone".into()
        }
        Remedy::GiveList(_) | Remedy::GiveStruct(_) | Remedy::GiveFunction => {
            "call it from Python or from Rust".into()
        }
        Remedy::BindConst | Remedy::KeepArgument => "call it from Python or from Rust".into(),
        Remedy::GiveFloat(value) => format!("give {name}={value}, which is rounded"),
        Remedy::GiveOneOf(options) => {
            let options: Vec<String> = { options.iter() }
                .map(|value| format!("{name}={value}"))
                .collect();
            format!("give {}", list(&options, "or"))
        }
        other => other.named(name).to_string(),
    }
}

/// Returns the remedy to give another array.
fn replace(error: &ArgumentError, replacement: &Replacement, values: &[OsString]) -> String {
    let name = replacement.of.as_deref().unwrap_or(&error.parameter);
    let (code, loss) = match &replacement.form {
        Form::Convert { to, loss } => (format!(".astype('{}')", to.name()), loss.words(to)),
        Form::Contiguous | Form::Copy => (".copy(order='C')".into(), String::new()),
        Form::ColumnMajor => (".copy(order='F')".into(), String::new()),
        Form::Reshape(shape) => {
            let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
            (format!(".reshape({})", shape.join(", ")), String::new())
        }
        Form::MakeArray(dtype) | Form::OfNumber { dtype, .. } => return give_file(error, dtype),
        _ => return replacement.to_string(),
    };
    // A copy of a file that C would write is written in its place.
    let or_omit = if replacement.or_omit {
        format!(", or leave {name} out, and add -o {name}=FILE.npy")
    } else {
        String::new()
    };
    let results = match replacement.results {
        Results::None => "",
        _ => ", which is written",
    };
    match convert(name, values, &code) {
        Some(convert) => format!("{convert}{loss}{results}{or_omit}"),
        None => format!("{replacement}"),
    }
}

fn give_file(error: &ArgumentError, dtype: &DType) -> String {
    let or_omit = match error.subject.access {
        Access::Output => format!(", or leave {} out", error.parameter),
        _ => String::new(),
    };
    format!("give a file of {}{or_omit}", dtype.name())
}

/// Returns the command that makes a new file of that of an argument, by code behind the array of NumPy; `None` if
/// the argument is no `.npy` file.
fn convert(name: &str, values: &[OsString], code: &str) -> Option<String> {
    let mut pairs = values.iter().filter_map(|text| split_name(text));
    let (_, file) = pairs.find(|(other, _)| *other == name)?;
    let file = file.to_str()?;
    let (path, range) = file.split_at(file.find('[').unwrap_or(file.len()));
    let stem = path.strip_suffix(".npy")?;
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+, :[]".contains(letter);
    if !file.chars().all(is_plain) {
        return None;
    }
    let new = format!("{stem}-new.npy");
    Some(format!(
        "give {name}={new} after python3 -c \"import numpy; numpy.save('{new}', \
         numpy.load('{path}'){range}{code})\""
    ))
}
