//! Writes what is known of a header, for the tests that compare it with libclang: one declaration on each line,
//! its fields separated by tabs, its types without typedef names and from the outside to the inside.
//!
//! ```console
//! $ cargo run --example declarations "stdio.h jpeglib.h" /usr/local/include
//! ```

#![allow(clippy::print_stdout, reason = "the output of the program")]

use std::env;
use std::error::Error;
use std::io::{self, BufWriter, Write};

use mapcall_decl::ctype::{Body, CType, Record};
use mapcall_decl::{Declarations, Header, Parameter};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let names = arguments.next().and_then(|names| names.into_string().ok());
    let names = names.ok_or("give the names of headers, and folders")?;
    let (first, more) = names.split_once(' ').unwrap_or((&names, ""));
    let header = more
        .split_whitespace()
        .fold(Header::new(first), Header::and);
    let header = arguments.fold(header, Header::include);
    let mut output = BufWriter::new(io::stdout().lock());
    write(&header.read()?, &mut output)?;
    Ok(output.flush()?)
}

fn write(header: &Declarations, output: &mut impl Write) -> Result<(), Box<dyn Error>> {
    for function in header.functions() {
        let name = &function.name;
        match &function.prototype {
            Ok(prototype) => {
                let mut types = vec![describe(&prototype.returns)];
                types.extend(prototype.parameters.iter().map(parameter));
                if prototype.is_variadic {
                    types.push("...".into());
                }
                writeln!(output, "function\t{name}\t{}", types.join("\t"))?;
            }
            Err(error) => writeln!(output, "unsupported\t{name}\t{}", one_line(&error.kind))?,
        }
    }
    let mut structs: Vec<_> = header.structs().iter().collect();
    structs.sort_by_key(|(name, _)| *name);
    for (name, ctype) in structs {
        let CType::Record(record) = ctype.resolved() else {
            continue;
        };
        match &record.body {
            Body::Complete {
                size, alignment, ..
            } => {
                let members = members(record, 0).join("\t");
                writeln!(output, "struct\t{name}\t{size}\t{alignment}\t{members}")?;
            }
            Body::Unsupported { reason } => {
                writeln!(output, "unsupported\t{name}\t{}", one_line(reason))?;
            }
            _ => {}
        }
    }
    for variable in header.variables() {
        let qualifier = if variable.is_const { "const " } else { "" };
        writeln!(
            output,
            "variable\t{}\t{qualifier}{}",
            variable.name,
            describe(&variable.ctype)
        )?;
    }
    for constant in header.constants()? {
        writeln!(output, "constant\t{}\t{}", constant.name, constant.value)?;
    }
    for error in header.errors() {
        writeln!(output, "error\t{}", one_line(error))?;
    }
    Ok(())
}

fn one_line(message: &impl ToString) -> String {
    message.to_string().replace(['\t', '\n'], " ")
}

/// Returns name, offset in bits and type of each member; those of an unnamed struct or union are members of the
/// one around it.
fn members(record: &Record, offset: usize) -> Vec<String> {
    let Body::Complete { members: all, .. } = &record.body else {
        return Vec::new();
    };
    let describe_member = |member: &mapcall_decl::ctype::Member| {
        let offset = offset + 8 * member.offset;
        let (offset, width) = match &member.bits {
            Some(bits) => (offset + bits.start as usize, format!(":{}", bits.width)),
            None => (offset, String::new()),
        };
        match (&member.name, member.ctype.resolved()) {
            (None, CType::Record(inner)) => members(inner, offset),
            (name, _) => {
                let name = name.as_deref().unwrap_or_default();
                vec![format!(
                    "{name} {offset}{width} {}",
                    describe(&member.ctype)
                )]
            }
        }
    };
    all.iter().flat_map(describe_member).collect()
}

/// Describes the type that is passed for a parameter: a pointer to the elements, or the rows, of an array.
fn parameter(parameter: &Parameter) -> String {
    let Some((_, inner)) = parameter.extents.split_first() else {
        return describe(&parameter.ctype);
    };
    let is_const = parameter.is_const || is_const_typedef(&parameter.ctype);
    let qualifier = if is_const { "const " } else { "" };
    let mut target = describe(&parameter.ctype);
    for extent in inner.iter().rev() {
        target = format!("array[{extent}]({target})");
    }
    format!("pointer({qualifier}{target})")
}

/// Describes a type from the outside to the inside: `pointer(const char)`, `function(int; double)`.
fn describe(ctype: &CType) -> String {
    match ctype.resolved() {
        CType::Pointer(pointer) => {
            // As for `const` typedef names of arrays, the elements are `const`.
            let is_const = pointer.is_const || is_const_typedef(&pointer.target);
            let qualifier = if is_const { "const " } else { "" };
            format!("pointer({qualifier}{})", describe(&pointer.target))
        }
        CType::Array(array) => {
            let length = array.length.map(|length| length.to_string());
            let length = length.unwrap_or_default();
            format!("array[{length}]({})", describe(&array.item))
        }
        CType::Function(function) => {
            let mut parameters: Vec<_> = function.parameters.iter().map(describe).collect();
            if function.is_variadic {
                parameters.push("...".into());
            }
            let returns = describe(&function.returns);
            format!("function({returns}; {})", parameters.join(", "))
        }
        CType::Enum(enumeration) => format!("enum({})", enumeration.underlying.size()),
        CType::Record(record) => {
            let keyword = record.kind.keyword();
            match &record.tag {
                Some(tag) => format!("{keyword} {tag}"),
                None => format!("{keyword}({})", ctype.size().unwrap_or_default()),
            }
        }
        ctype => ctype.to_string(),
    }
}

fn is_const_typedef(ctype: &CType) -> bool {
    matches!(ctype, CType::Typedef(typedef) if typedef.is_const || is_const_typedef(&typedef.ctype))
}
