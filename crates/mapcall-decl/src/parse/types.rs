//! Reads declaration specifiers: types, qualifiers and attributes before a declarator.

use std::sync::Arc;

use super::{Reader, Result};
use crate::ctype::standard;
use crate::ctype::{Body, CType, Enum, Float, Integer, MemberSpec, Record, Request, lay_out};
use crate::error::PrototypeErrorKind as Kind;
use crate::syntax::ast::{
    Argument, Attribute, EnumSpecifier, Expression, MemberDeclaration, RecordSpecifier, Specifiers,
    TypeName, TypeOrExpression, TypeSpecifier, Words,
};
use crate::syntax::lexer::Span;
use crate::syntax::packing::PackLimit;
use crate::syntax::parser::MAX_DEPTH;

/// The largest alignment that compilers accept, in bytes.
const MAX_ALIGNMENT: i128 = 1 << 28;

/// The alignment of `aligned` without a number, in bytes; 0 where it is not known.
const MAX_USEFUL_ALIGNMENT: usize = if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
    16
} else {
    0
};

/// The type that specifiers give, to which declarators add pointers, arrays and functions.
pub(super) struct Base {
    pub(super) ctype: CType,
    pub(super) is_const: bool,
    /// The alignment in bytes that `_Alignas` requests.
    pub(super) alignment: Option<usize>,
}

/// The effects of the attributes of a declaration.
#[derive(Default)]
pub(super) struct Attributes {
    pub(super) is_packed: bool,
    pub(super) alignment: Option<usize>,
    /// An attribute that changes the calling convention.
    pub(super) convention: Option<String>,
    /// An attribute that makes a type another one, and the size of that in bytes, if it is known.
    changes_type: Option<(String, Option<usize>)>,
    /// The size in bytes that `mode` gives an integer.
    mode: Option<usize>,
}

impl Attributes {
    /// Returns the type that the attributes make of another one.
    pub(super) fn applied(&self, ctype: CType) -> CType {
        let ctype = match (self.mode, ctype.resolved()) {
            (None, _) => ctype,
            (Some(size), CType::Integer(integer)) => {
                CType::Integer(Integer::of_size(size, integer.is_signed()))
            }
            (Some(_), _) => changed(&ctype, "mode", None),
        };
        match &self.changes_type {
            Some((attribute, size)) => changed(&ctype, attribute, *size),
            None => ctype,
        }
    }
}

/// Returns the type that an attribute or qualifier makes of another one: opaque bytes if its size is known.
fn changed(ctype: &CType, attribute: &str, size: Option<usize>) -> CType {
    let name = format!("{attribute} {ctype}");
    let reason = format!("`{attribute}` makes it another type");
    CType::opaque(&name, reason, size.map(|size| (size, size)))
}

/// Returns the size of a machine mode of integers in bytes (GCC internals, "Machine Modes").
fn mode_size(name: &str) -> Option<usize> {
    let name = name.strip_prefix("__").unwrap_or(name);
    match name.strip_suffix("__").unwrap_or(name) {
        "QI" | "byte" => Some(1),
        "HI" => Some(2),
        "SI" => Some(4),
        "DI" => Some(8),
        "word" | "pointer" | "unwind_word" => Some(size_of::<usize>()),
        _ => None,
    }
}

impl Reader<'_> {
    /// Returns the type of declaration specifiers.
    pub(super) fn base(&mut self, specifiers: &Specifiers) -> Result<Base> {
        let mut alignment = None;
        for request in &specifiers.alignments {
            alignment = alignment.max(self.alignas(&request.argument)?);
        }
        let ctype = self.type_specifier(&specifiers.ctype, specifiers.span)?;
        let mut ctype = self.attributes(&specifiers.attributes)?.applied(ctype);
        if specifiers.qualifiers.is_atomic || matches!(specifiers.ctype, TypeSpecifier::Atomic(_)) {
            // A size that the machine has instructions for is also the alignment.
            let size = ctype.size();
            let size = size.filter(|size| size.is_power_of_two() && *size <= 16);
            ctype = changed(&ctype, "_Atomic", size);
        }
        let mut is_const = specifiers.qualifiers.is_const;
        if let TypeSpecifier::Typeof(argument, span) = &specifiers.ctype
            && let TypeOrExpression::Expression(expression) = &**argument
        {
            let is_unqualified = self.text(*span).contains("typeof_unqual");
            is_const |= !is_unqualified && self.is_const(expression, &[])?;
        }
        Ok(Base {
            ctype,
            is_const,
            alignment,
        })
    }

    /// Returns the type of a type name, as in `sizeof(…)`.
    pub(super) fn type_name(&mut self, name: &TypeName) -> Result<CType> {
        let base = self.base(&name.specifiers)?;
        self.derived(base.ctype, base.is_const, &name.declarator.derivations)
            .map(|(ctype, _)| ctype)
    }

    fn type_specifier(&mut self, specifier: &TypeSpecifier, span: Span) -> Result<CType> {
        match specifier {
            TypeSpecifier::Missing => Err(self.syntax("a type", span)),
            TypeSpecifier::Words(words) => self.words(words),
            TypeSpecifier::Name(name) => self
                .scope
                .typedef(self.text(*name))
                .ok_or_else(|| self.unknown_type(*name)),
            TypeSpecifier::Record(record) => self.record(record),
            TypeSpecifier::Enum(enumeration) => self.enumeration(enumeration),
            TypeSpecifier::Atomic(name) => self.type_name(name),
            TypeSpecifier::Typeof(argument, span) => match &**argument {
                TypeOrExpression::Type(name) => self.type_name(name),
                TypeOrExpression::Expression(expression) => {
                    let ctype = self.expression_type(expression, &[])?;
                    Ok(ctype.unwrap_or_else(|| {
                        let reason = "the type of its operand is not known";
                        CType::unsupported(self.text(*span), reason)
                    }))
                }
            },
            TypeSpecifier::BitInt(span) => Ok(CType::unsupported(
                self.text(*span),
                "NumPy has no numbers of that size",
            )),
        }
    }

    /// Returns the type of the words of an arithmetic type, such as `unsigned long int` or `double _Complex`.
    fn words(&self, words: &Words) -> Result<CType> {
        let no_type = || {
            let name = self.text(words.span).into();
            self.error(Kind::NoType { name }, words.span)
        };
        if words.is_contradictory {
            return Err(no_type());
        }
        let (long, sign, is_short, is_complex) =
            (words.longs, words.sign, words.is_short, words.is_complex);
        let base_span = words.base.unwrap_or_default();
        let base = words.base.map(|base| self.text(base));
        let signed = sign != Some(false);
        let integer = match (base, long, is_short, is_complex) {
            (None | Some("int"), 0, false, false) if signed => Integer::Int,
            (None | Some("int"), 0, false, false) => Integer::UInt,
            (None | Some("int"), 1, false, false) if signed => Integer::Long,
            (None | Some("int"), 1, false, false) => Integer::ULong,
            (None | Some("int"), 2, false, false) if signed => Integer::LongLong,
            (None | Some("int"), 2, false, false) => Integer::ULongLong,
            (None | Some("int"), 0, true, false) if signed => Integer::Short,
            (None | Some("int"), 0, true, false) => Integer::UShort,
            (Some("char"), 0, false, false) => match sign {
                None => Integer::Char,
                Some(true) => Integer::SChar,
                Some(false) => Integer::UChar,
            },
            (base, 0 | 1, false, _) if sign.is_none() => {
                let float = match (base, long, is_complex) {
                    (Some("float"), 0, _) => Some(Float::Float),
                    // GNU C accepts `_Complex` alone as `double _Complex`.
                    (Some("double"), 0, _) | (None, 0, true) => Some(Float::Double),
                    (Some("double"), 1, _) => Some(Float::LongDouble),
                    // `_Float32` and its like.
                    (Some(name), 0, true) => match self.scope.typedef(name) {
                        Some(CType::Float(float)) => Some(float),
                        Some(CType::Unsupported(_)) => {
                            let reason = "NumPy has no complex numbers of that size";
                            return Ok(CType::unsupported(self.text(words.span), reason));
                        }
                        _ => None,
                    },
                    _ => None,
                };
                return match (float, base) {
                    (Some(float), _) if is_complex => Ok(CType::Complex(float)),
                    (Some(float), _) => Ok(CType::Float(float)),
                    (None, Some("void")) if long == 0 && !is_complex => Ok(CType::Void),
                    (None, Some(name)) if long == 0 && !is_complex => self
                        .scope
                        .typedef(name)
                        .ok_or_else(|| self.unknown_type(base_span)),
                    _ => Err(no_type()),
                };
            }
            (Some("__int128"), 0, false, false) => {
                let reason = "NumPy has no numbers of that size";
                return Ok(CType::opaque(self.text(words.span), reason, Some((16, 16))));
            }
            _ => return Err(no_type()),
        };
        Ok(CType::Integer(integer))
    }

    fn record(&mut self, record: &RecordSpecifier) -> Result<CType> {
        let kind = record.kind;
        let tag = record.tag.map(|tag| self.text(tag));
        let Some(list) = &record.members else {
            let tag = tag.unwrap_or_default();
            let is_being_defined = self.being_defined.contains(&(kind, tag));
            let known = self.scope.tag(kind.keyword(), tag);
            if let Some(known) = known.filter(|_| !is_being_defined) {
                return Ok(known);
            }
            let record = Record::new(kind, Some(tag.into()), Body::Incomplete);
            return Ok(CType::Record(record.into()));
        };
        let attributes = self.attributes(&record.attributes)?;
        let mut reason = attributes
            .changes_type
            .map(|(attribute, _)| format!("`{attribute}` changes its layout"));
        let max_alignment = match record.pack_limit {
            PackLimit::None => None,
            PackLimit::Bytes(limit) => Some(usize::from(limit)),
            PackLimit::Unknown => {
                reason = Some("`#pragma pack` gives it a layout that is not known".into());
                None
            }
        };
        let mut members = Vec::new();
        self.being_defined.push((kind, tag.unwrap_or_default()));
        let read = list
            .iter()
            .try_for_each(|declaration| self.members(declaration, &mut members));
        self.being_defined.pop();
        read?;
        let body = if let Some(reason) = reason {
            Body::Unsupported { reason }
        } else {
            let request = Request {
                alignment: attributes.alignment,
                is_packed: attributes.is_packed,
                max_alignment,
            };
            lay_out(kind, members, request)
        };
        let ctype = CType::Record(Arc::new(Record::new(kind, tag.map(str::to_owned), body)));
        if ctype.depth() > MAX_DEPTH {
            return Err(self.too_deep(record.span));
        }
        if let Some(tag) = tag {
            return self.define_tag(kind.keyword(), tag, ctype, record.span);
        }
        Ok(ctype)
    }

    /// Adds the members of one declaration.
    fn members(
        &mut self,
        declaration: &MemberDeclaration,
        members: &mut Vec<MemberSpec>,
    ) -> Result<()> {
        let specifiers = &declaration.specifiers;
        let base = self.base(specifiers)?;
        let before = self.attributes(&specifiers.attributes)?;
        if let CType::Record(record) = &base.ctype
            && declaration.declarators.is_empty()
            && record.tag.is_none()
        {
            members.push(MemberSpec {
                name: None,
                ctype: base.ctype.clone(),
                alignment: base.alignment.max(before.alignment),
                is_packed: before.is_packed,
                width: None,
            });
        }
        for member in &declaration.declarators {
            let declarator = &member.declarator;
            let name = declarator.name.map(|name| self.text(name).to_owned());
            let width = match &member.width {
                Some(width) => {
                    let bits = self.constant(width)?;
                    let bits = u32::try_from(bits).map_err(|_| {
                        let expected = format!("the width of a bit-field, got {bits}");
                        self.syntax(&expected, width.span)
                    })?;
                    Some(bits)
                }
                None => None,
            };
            let own = self.attributes(&declarator.attributes)?;
            let (ctype, _) =
                self.derived(base.ctype.clone(), base.is_const, &declarator.derivations)?;
            members.push(MemberSpec {
                name,
                ctype: own.applied(ctype),
                alignment: base.alignment.max(before.alignment).max(own.alignment),
                is_packed: before.is_packed || own.is_packed,
                width,
            });
        }
        Ok(())
    }

    fn enumeration(&mut self, specifier: &EnumSpecifier) -> Result<CType> {
        let tag = specifier.tag.map(|tag| self.text(tag));
        let fixed = match &specifier.underlying {
            Some(name) => Some(self.type_name(name)?),
            None => None,
        };
        let Some(list) = &specifier.enumerators else {
            let tag = tag.unwrap_or_default();
            if let Some(known) = self.scope.tag("enum", tag) {
                return Ok(known);
            }
            let Some(fixed) = fixed else {
                let ctype = format!("enum {tag}");
                return Err(self.error(Kind::Incomplete { ctype }, specifier.span));
            };
            // An enumeration with a fixed type is complete without its enumerators (C23 6.7.2.2).
            let ctype = enumeration_of(Some(tag), Vec::new(), Some(&fixed), false);
            return self.define_tag("enum", tag, ctype, specifier.span);
        };
        let mut enumerators = Vec::new();
        let mut next = 0_i128;
        for enumerator in list {
            let name = self.text(enumerator.name);
            if let Some(value) = &enumerator.value {
                next = self.constant(value)?;
            }
            if !(i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&next) {
                let kind = Kind::Constant(crate::extent::ExtentError::Overflow.into());
                return Err(self.error(kind, enumerator.span));
            }
            self.define_enumerator(name, next, enumerator.name)?;
            enumerators.push((name.to_owned(), next));
            next += 1;
        }
        let is_packed = self.attributes(&specifier.attributes)?.is_packed;
        let ctype = enumeration_of(tag, enumerators, fixed.as_ref(), is_packed);
        if let Some(tag) = tag {
            return self.define_tag("enum", tag, ctype, specifier.span);
        }
        Ok(ctype)
    }

    fn alignas(&mut self, argument: &TypeOrExpression) -> Result<Option<usize>> {
        match argument {
            TypeOrExpression::Type(name) => Ok(self.type_name(name)?.alignment()),
            TypeOrExpression::Expression(expression) => self.alignment(expression),
        }
    }

    /// Returns an alignment in bytes; 0 has no effect.
    fn alignment(&mut self, expression: &Expression) -> Result<Option<usize>> {
        match self.constant(expression)? {
            0 => Ok(None),
            value if (1..=MAX_ALIGNMENT).contains(&value) && value & (value - 1) == 0 => {
                Ok(usize::try_from(value).ok())
            }
            value => {
                let expected = format!("an alignment that is a power of two, got {value}");
                Err(self.syntax(&expected, expression.span))
            }
        }
    }

    /// Returns the effects of attributes; those without an effect here are skipped.
    pub(super) fn attributes<'a>(
        &mut self,
        attributes: impl IntoIterator<Item = &'a Attribute>,
    ) -> Result<Attributes> {
        let mut found = Attributes::default();
        for attribute in attributes {
            let namespace = attribute.namespace.map(|name| self.text(name));
            let is_known = if attribute.is_standard {
                matches!(namespace, Some("gnu" | "__gnu__" | "clang" | "_Clang"))
            } else {
                true
            };
            if !is_known {
                continue;
            }
            let name = self.text(attribute.name);
            let name = plain_name(name);
            match (name, &attribute.arguments[..]) {
                ("packed", _) => found.is_packed = true,
                ("aligned" | "align", [argument, ..]) => {
                    let expression = self.argument(argument)?;
                    found.alignment = found.alignment.max(self.alignment(expression)?);
                }
                ("aligned", []) if MAX_USEFUL_ALIGNMENT > 0 => {
                    found.alignment = found.alignment.max(Some(MAX_USEFUL_ALIGNMENT));
                }
                ("vector_size", [argument, ..]) => {
                    let expression = self.argument(argument)?;
                    let size = self.alignment(expression)?;
                    found.changes_type = Some((name.into(), size));
                }
                ("mode", [argument]) => match mode_size(self.text(argument.span)) {
                    Some(size) => found.mode = Some(size),
                    None => found.changes_type = Some((name.into(), None)),
                },
                (
                    "aligned"
                    | "mode"
                    | "vector_size"
                    | "scalar_storage_order"
                    | "ms_struct"
                    | "transparent_union"
                    | "ext_vector_type"
                    | "address_space",
                    _,
                ) => found.changes_type = Some((name.into(), None)),
                (
                    "ms_abi" | "sysv_abi" | "stdcall" | "fastcall" | "thiscall" | "regparm"
                    | "regcall" | "vectorcall" | "pcs" | "sseregparm" | "preserve_all"
                    | "preserve_most" | "aarch64_vector_pcs" | "interrupt" | "__stdcall"
                    | "__fastcall" | "__thiscall" | "__vectorcall" | "__regcall" | "__pascal",
                    _,
                ) => found.convention = Some(name.into()),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Returns the expression of an argument that must be one.
    pub(super) fn argument<'a>(&self, argument: &'a Argument) -> Result<&'a Expression> {
        let expression = argument.expression.as_ref();
        expression.ok_or_else(|| self.syntax("an expression", argument.span))
    }

    pub(super) fn unknown_type(&self, span: Span) -> crate::PrototypeError {
        let name = self.text(span);
        let kind = Kind::UnknownType {
            name: name.into(),
            nearest: self.nearest_type(name),
        };
        self.error(kind, span)
    }

    pub(super) fn nearest_type(&self, name: &str) -> Option<String> {
        const KEYWORDS: [&str; 9] = [
            "char", "short", "int", "long", "unsigned", "signed", "float", "double", "void",
        ];
        let known = self.scope.typedef_names().chain(KEYWORDS);
        let known = known.chain(standard::names());
        self.nearest(name, known)
    }
}

/// Returns the name of an attribute or of its argument without the underscores around it.
pub(super) fn plain_name(name: &str) -> &str {
    name.strip_prefix("__")
        .and_then(|name| name.strip_suffix("__"))
        .unwrap_or(name)
}

/// Returns the enumeration with these enumerators, with the type that compilers give it.
fn enumeration_of(
    tag: Option<&str>,
    enumerators: Vec<(String, i128)>,
    fixed: Option<&CType>,
    is_packed: bool,
) -> CType {
    const SMALL: [Integer; 4] = [
        Integer::UChar,
        Integer::SChar,
        Integer::UShort,
        Integer::Short,
    ];
    const USUAL: [Integer; 4] = [Integer::Int, Integer::UInt, Integer::Long, Integer::ULong];
    let fits = |integer: &Integer| {
        let mut values = enumerators.iter();
        values.all(|(_, value)| integer.contains(*value))
    };
    let underlying = if let Some(fixed) = fixed {
        let Some(integer) = fixed.integer() else {
            let name = format!("enum {}", tag.unwrap_or_default());
            return CType::unsupported(&name, format!("`{fixed}` is no integer type"));
        };
        integer
    } else {
        let small = SMALL.into_iter().filter(|_| is_packed);
        let mut all = small.chain(USUAL);
        all.find(fits).unwrap_or(Integer::LongLong)
    };
    CType::Enum(Arc::new(Enum {
        tag: tag.map(str::to_owned),
        underlying,
        is_fixed: fixed.is_some(),
        enumerators,
    }))
}
