//! Parses declaration specifiers: the type, qualifiers and attributes before a declarator.

use std::sync::Arc;

use tree_sitter::Node;

use super::{Reader, Result, spelling};
use crate::ctype::standard;
use crate::ctype::{Body, CType, Enum, Float, Integer, MemberSpec, Record, RecordKind, lay_out};
use crate::error::PrototypeErrorKind as Kind;
use crate::prototype::{Access, Ownership};

/// The largest alignment that compilers accept, in bytes.
const MAX_ALIGNMENT: i128 = 1 << 28;

/// The parsed specifiers of a declaration.
pub(super) struct Specifiers<'t> {
    pub(super) ctype: CType,
    pub(super) is_const: bool,
    pub(super) is_static: bool,
    pub(super) alignment: Option<usize>,
    pub(super) attributes: Vec<Node<'t>>,
    pub(super) declarators: Vec<Node<'t>>,
    pub(super) label: Option<Node<'t>>,
    bit_field: Option<Node<'t>>,
}

/// The effects of the attributes of a declaration.
#[derive(Default)]
pub(super) struct Attributes<'t> {
    pub(super) is_packed: bool,
    pub(super) alignment: Option<usize>,
    /// An attribute that changes the calling convention.
    pub(super) convention: Option<String>,
    /// An attribute that changes a type.
    pub(super) changes_type: Option<String>,
    /// The owners of the targets of parameters, which are given by their numbers from 1.
    pub(super) ownership: Vec<(Ownership, Node<'t>)>,
    /// The accesses to the targets of parameters: the mode, and the numbers of the pointer and of its size.
    pub(super) access: Vec<(Access, Node<'t>, Option<Node<'t>>)>,
    /// The numbers of the parameters of each `nonnull`; none stands for all.
    pub(super) nonnull: Vec<Vec<Node<'t>>>,
    pub(super) returns_nonnull: bool,
    /// The functions that destroy the result, with the number of the parameter.
    pub(super) destructors: Vec<(String, Option<Node<'t>>)>,
    pub(super) equals: Option<Node<'t>>,
    pub(super) between: Option<[Node<'t>; 2]>,
    pub(super) stride: Option<Node<'t>>,
    pub(super) is_column_major: bool,
    /// The extent of a pointer.
    pub(super) counted: Option<Counted<'t>>,
}

/// The extent of a pointer, as an attribute gives it.
#[derive(Clone, Copy)]
pub(super) struct Counted<'t> {
    pub(super) extent: Node<'t>,
    /// Whether it counts bytes.
    pub(super) is_sized: bool,
    /// Whether the pointer may be null.
    pub(super) or_null: bool,
}

impl<'t> Attributes<'t> {
    /// Stores the parameters of an ownership attribute, whose numbers follow the kind of the objects.
    fn own(&mut self, ownership: Ownership, arguments: Option<Node<'t>>) {
        let Some(arguments) = arguments else {
            return;
        };
        let mut cursor = arguments.walk();
        let arguments = arguments.named_children(&mut cursor);
        let numbers = arguments.filter(|node| !node.is_extra()).skip(1);
        self.ownership
            .extend(numbers.map(|number| (ownership, number)));
    }
}

impl<'t> Reader<'t> {
    /// Parses the specifiers of a declaration, and finds its declarators.
    pub(super) fn specifiers(&mut self, node: Node<'t>) -> Result<Specifiers<'t>> {
        let mut specifiers = Specifiers {
            ctype: CType::Void,
            is_const: false,
            is_static: false,
            alignment: None,
            attributes: Vec::new(),
            declarators: Vec::new(),
            label: None,
            bit_field: None,
        };
        let mut type_node = None;
        let mut is_atomic = false;
        let mut cursor = node.walk();
        let mut more = cursor.goto_first_child();
        while more {
            let child = cursor.node();
            match (cursor.field_name(), child.kind()) {
                (Some("type"), _) => type_node = Some(child),
                (_, "gnu_asm_expression") => specifiers.label = Some(child),
                (Some("declarator"), _) => specifiers.declarators.push(child),
                (_, "storage_class_specifier") => {
                    specifiers.is_static |= self.word(child) == "static";
                }
                (_, "attribute_specifier" | "attribute_declaration") => {
                    specifiers.attributes.push(child);
                }
                (_, "bitfield_clause") => specifiers.bit_field = Some(child),
                (_, "type_qualifier") => match self.word(child) {
                    "const" => specifiers.is_const = true,
                    "_Atomic" => is_atomic = true,
                    _ => {
                        if let Some(inner) = child.named_child(0)
                            && inner.kind() == "alignas_qualifier"
                        {
                            let alignment = self.alignas(inner)?;
                            specifiers.alignment = specifiers.alignment.max(alignment);
                        }
                    }
                },
                _ => {}
            }
            more = cursor.goto_next_sibling();
        }
        let Some(type_node) = type_node else {
            return Err(self.syntax("a type", node));
        };
        specifiers.ctype = self.type_specifier(type_node)?;
        let attributes = self.attributes(&specifiers.attributes)?;
        let changed = attributes.changes_type;
        if let Some(attribute) = changed.or(is_atomic.then(|| "_Atomic".into())) {
            let name = format!("{attribute} {}", specifiers.ctype);
            let reason = format!("`{attribute}` makes it another type");
            specifiers.ctype = CType::unsupported(&name, reason);
        }
        Ok(specifiers)
    }

    /// Parses a type name, as in `sizeof(…)`: specifiers, with or without an abstract declarator.
    pub(super) fn type_name(&mut self, node: Node<'t>) -> Result<CType> {
        let specifiers = self.specifiers(node)?;
        let declarator = self.declarator(specifiers.declarators.first().copied())?;
        let derivations = declarator.derivations;
        self.derived(specifiers.ctype, specifiers.is_const, &derivations)
            .map(|(ctype, _)| ctype)
    }

    pub(super) fn type_specifier(&mut self, node: Node<'t>) -> Result<CType> {
        match node.kind() {
            "primitive_type" | "sized_type_specifier" => self.words(node),
            "type_identifier" => {
                let name = self.text(node);
                self.scope
                    .typedef(name)
                    .ok_or_else(|| self.unknown_type(node))
            }
            "struct_specifier" => self.record(node, RecordKind::Struct),
            "union_specifier" => self.record(node, RecordKind::Union),
            "enum_specifier" => self.enumeration(node),
            _ => {
                let name = self.text(node);
                Ok(CType::unsupported(name, "mapcall doesn't know its size"))
            }
        }
    }

    /// Parses the keywords of an arithmetic type in any order, such as `unsigned long int` or `double
    /// _Complex`.
    fn words(&mut self, node: Node<'t>) -> Result<CType> {
        let text = self.whole_words(node);
        let (mut long, mut sign, mut is_short, mut is_complex) = (0, None, false, false);
        let mut base = None;
        for word in text.split_ascii_whitespace() {
            match word {
                "long" => long += 1,
                "short" => is_short = true,
                "signed" | "__signed" | "__signed__" => sign = Some(true),
                "unsigned" => sign = Some(false),
                word if spelling::is_complex(word) => is_complex = true,
                word if base.is_none() => base = Some(word),
                _ => return Err(self.no_type(node)),
            }
        }
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
                    (Some("_Float16"), 0, true) => Some(Float::Float16),
                    _ => None,
                };
                return match (float, base) {
                    (Some(float), _) if is_complex => Ok(CType::Complex(float)),
                    (Some(float), _) => Ok(CType::Float(float)),
                    (None, Some("void")) if long == 0 && !is_complex => Ok(CType::Void),
                    (None, Some(name)) if long == 0 && !is_complex => self
                        .scope
                        .typedef(name)
                        .ok_or_else(|| self.unknown_type(node)),
                    _ => Err(self.no_type(node)),
                };
            }
            (Some("__int128"), 0, false, false) => {
                return Ok(CType::unsupported(
                    text,
                    "NumPy has no numbers of that size",
                ));
            }
            _ => return Err(self.no_type(node)),
        };
        Ok(CType::Integer(integer))
    }

    /// Returns the original text of a node whose last word may have been replaced by a shorter one.
    fn whole_words(&self, node: Node<'t>) -> &'t str {
        let (text, range) = (self.source, node.byte_range());
        let behind = text.get(range.end..).unwrap_or_default();
        let replaced = self.plain.get(range.end..).unwrap_or_default();
        let more = behind
            .bytes()
            .zip(replaced.bytes())
            .take_while(|(written, plain)| !written.is_ascii_whitespace() && *plain == b' ')
            .count();
        text.get(range.start..range.end + more).unwrap_or_default()
    }

    fn no_type(&self, node: Node<'t>) -> crate::PrototypeError {
        let name = self.text(node).into();
        self.error(Kind::NoType { name }, node)
    }

    fn record(&mut self, node: Node<'t>, kind: RecordKind) -> Result<CType> {
        let tag = node.child_by_field_name("name").map(|tag| self.text(tag));
        let Some(list) = node.child_by_field_name("body") else {
            let tag = tag.unwrap_or_default();
            if let Some(known) = self.scope.tag(kind.keyword(), tag) {
                return Ok(known);
            }
            let record = Record::new(kind, Some(tag.into()), Body::Incomplete);
            return Ok(CType::Record(record.into()));
        };
        self.enter(node)?;
        let mut nodes = Vec::new();
        let mut cursor = node.walk();
        nodes.extend(
            node.named_children(&mut cursor)
                .filter(|child| child.kind() == "attribute_specifier"),
        );
        let attributes = self.attributes(&nodes)?;
        let mut reason = attributes
            .changes_type
            .map(|attribute| format!("`{attribute}` changes its layout"));
        if self.packing.is_packed() {
            reason = Some("`#pragma pack` changes its layout".into());
        }
        let mut members = Vec::new();
        let mut cursor = list.walk();
        for child in list.named_children(&mut cursor) {
            match child.kind() {
                "field_declaration" => {
                    if let Some(why) = self.members(child, &mut members)? {
                        reason = reason.or(Some(why));
                    }
                }
                "comment" => {}
                "preproc_call" if !self.text(child).contains("pack") => {}
                _ if child.is_extra() => {}
                _ => reason = reason.or(Some("a preprocessor directive is in it".into())),
            }
        }
        let body = match reason {
            Some(reason) => Body::Unsupported { reason },
            None => lay_out(kind, members, attributes.alignment, attributes.is_packed),
        };
        self.leave();
        let record = Record::new(kind, tag.map(str::to_owned), body);
        let ctype = CType::Record(Arc::new(record));
        if ctype.depth() > super::MAX_DEPTH {
            return Err(self.too_deep(node));
        }
        if let Some(tag) = tag {
            self.define_tag(kind.keyword(), tag, &ctype, node)?;
        }
        Ok(ctype)
    }

    /// Adds the members of one declaration; returns the reason if their layout is unknown.
    fn members(&mut self, node: Node<'t>, members: &mut Vec<MemberSpec>) -> Result<Option<String>> {
        let specifiers = self.specifiers(node)?;
        if specifiers.bit_field.is_some() {
            let name = specifiers.declarators.first().map(|name| self.text(*name));
            let name = name.filter(|name| !name.is_empty());
            return Ok(Some(match name {
                Some(name) => format!("its member `{name}` is a bit-field"),
                None => "it has a bit-field".into(),
            }));
        }
        let CType::Record(record) = &specifiers.ctype else {
            return self.named_members(&specifiers, members);
        };
        if specifiers.declarators.is_empty() && record.tag.is_none() {
            let attributes = self.attributes(&specifiers.attributes)?;
            members.push(MemberSpec {
                name: None,
                ctype: specifiers.ctype.clone(),
                alignment: specifiers.alignment.max(attributes.alignment),
                is_packed: attributes.is_packed,
            });
        }
        self.named_members(&specifiers, members)
    }

    fn named_members(
        &mut self,
        specifiers: &Specifiers<'t>,
        members: &mut Vec<MemberSpec>,
    ) -> Result<Option<String>> {
        for &node in &specifiers.declarators {
            let declarator = self.declarator(Some(node))?;
            let nodes = specifiers.attributes.iter().chain(&declarator.attributes);
            let attributes = self.attributes(nodes)?;
            if let Some(attribute) = attributes.changes_type {
                return Ok(Some(format!("`{attribute}` changes its layout")));
            }
            let (ctype, _) = self.derived(
                specifiers.ctype.clone(),
                specifiers.is_const,
                &declarator.derivations,
            )?;
            members.push(MemberSpec {
                name: declarator.name.map(|name| self.text(name).into()),
                ctype,
                alignment: specifiers.alignment.max(attributes.alignment),
                is_packed: attributes.is_packed,
            });
        }
        Ok(None)
    }

    fn enumeration(&mut self, node: Node<'t>) -> Result<CType> {
        let tag = node.child_by_field_name("name").map(|tag| self.text(tag));
        let Some(list) = node.child_by_field_name("body") else {
            let tag = tag.unwrap_or_default();
            return self.scope.tag("enum", tag).ok_or_else(|| {
                let ctype = format!("enum {tag}");
                self.error(Kind::Incomplete { ctype }, node)
            });
        };
        let mut enumerators = Vec::new();
        let mut next = 0_i128;
        let mut cursor = list.walk();
        for child in list.named_children(&mut cursor) {
            if child.kind() != "enumerator" {
                continue;
            }
            let name = self.text(self.field(child, "name")?);
            if let Some(value) = child.child_by_field_name("value") {
                next = self.constant(value)?;
            }
            if !(i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&next) {
                let kind = Kind::Constant(crate::extent::ExtentError::Overflow.into());
                return Err(self.error(kind, child));
            }
            self.define_enumerator(name, next, child)?;
            enumerators.push((name.to_owned(), next));
            next += 1;
        }
        let fits = |integer: &Integer| {
            enumerators
                .iter()
                .all(|(_, value)| integer.contains(*value))
        };
        let underlying = [Integer::Int, Integer::UInt, Integer::Long, Integer::ULong]
            .into_iter()
            .find(fits)
            .unwrap_or(Integer::LongLong);
        let mut cursor = node.walk();
        let nodes: Vec<_> = node
            .named_children(&mut cursor)
            .filter(|child| child.kind() == "attribute_specifier")
            .collect();
        let has_type = node.child_by_field_name("underlying_type").is_some();
        let ctype = if has_type || self.attributes(&nodes)?.is_packed {
            let name = format!("enum {}", tag.unwrap_or_default());
            CType::unsupported(&name, "its size is not that of an int")
        } else {
            CType::Enum(Arc::new(Enum {
                tag: tag.map(str::to_owned),
                underlying,
                enumerators,
            }))
        };
        if let Some(tag) = tag {
            self.define_tag("enum", tag, &ctype, node)?;
        }
        Ok(ctype)
    }

    fn alignas(&mut self, node: Node<'t>) -> Result<Option<usize>> {
        let Some(argument) = node.named_child(0) else {
            return Ok(None);
        };
        if argument.kind() == "type_descriptor" {
            return Ok(self.type_name(argument)?.alignment());
        }
        // The grammar parses the name of a type as an expression.
        if argument.kind() == "identifier"
            && let Some(ctype) = self.scope.typedef(self.text(argument))
        {
            return Ok(ctype.alignment());
        }
        self.alignment(argument)
    }

    /// Parses an alignment in bytes; 0 has no effect.
    fn alignment(&mut self, node: Node<'t>) -> Result<Option<usize>> {
        match self.constant(node)? {
            0 => Ok(None),
            value if (1..=MAX_ALIGNMENT).contains(&value) && value & (value - 1) == 0 => {
                Ok(usize::try_from(value).ok())
            }
            value => {
                let expected = format!("an alignment that is a power of two, got {value}");
                Err(self.syntax(&expected, node))
            }
        }
    }

    pub(super) fn attributes<'n>(
        &mut self,
        nodes: impl IntoIterator<Item = &'n Node<'t>>,
    ) -> Result<Attributes<'t>>
    where
        't: 'n,
    {
        let mut found = Attributes::default();
        for &node in nodes {
            // The list is that of `[[a, b(1)]]` or of `__attribute__((a, b(1)))`.
            let list = if node.kind() == "attribute_declaration" {
                node
            } else if let Some(list) = argument_list(node) {
                list
            } else {
                continue;
            };
            let mut cursor = list.walk();
            for attribute in list.named_children(&mut cursor) {
                let name = attribute
                    .child_by_field_name("function")
                    .or_else(|| attribute.child_by_field_name("name"))
                    .unwrap_or(attribute);
                let name = self.text(name);
                let name = plain_name(name);
                let arguments = argument_list(attribute);
                let argument = arguments.and_then(|arguments| arguments.named_child(0));
                match (name, argument) {
                    ("packed", _) => found.is_packed = true,
                    ("access", Some(mode)) => {
                        let mode = Access::named(plain_name(self.text(mode)));
                        let reference = arguments.and_then(|list| list.named_child(1));
                        let size = arguments.and_then(|list| list.named_child(2));
                        found.access.extend(
                            mode.zip(reference)
                                .map(|(mode, reference)| (mode, reference, size)),
                        );
                    }
                    ("nonnull", _) => found.nonnull.push(named(arguments)),
                    ("returns_nonnull", _) => found.returns_nonnull = true,
                    ("malloc", Some(function)) => {
                        let function = self.text(function);
                        let function = function.strip_prefix("__builtin_").unwrap_or(function);
                        let number = arguments.and_then(|list| list.named_child(1));
                        found.destructors.push((function.to_owned(), number));
                    }
                    ("equals", Some(value)) => found.equals = Some(value),
                    ("between", Some(least)) => {
                        let most = arguments.and_then(|list| list.named_child(1));
                        found.between = most.map(|most| [least, most]);
                    }
                    ("stride", Some(stride)) => found.stride = Some(stride),
                    ("column_major", _) => found.is_column_major = true,
                    (
                        "counted_by" | "sized_by" | "counted_by_or_null" | "sized_by_or_null",
                        Some(extent),
                    ) => {
                        found.counted = Some(Counted {
                            extent,
                            is_sized: name.starts_with("sized"),
                            or_null: name.ends_with("_or_null"),
                        });
                    }
                    ("ownership_takes", _) => {
                        found.own(Ownership::Taken, arguments);
                    }
                    ("ownership_holds", _) => {
                        found.own(Ownership::Held, arguments);
                    }
                    ("aligned", Some(argument)) => {
                        found.alignment = found.alignment.max(self.alignment(argument)?);
                    }
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
                    ) => found.changes_type = Some(name.into()),
                    (
                        "ms_abi" | "sysv_abi" | "stdcall" | "fastcall" | "thiscall" | "regparm"
                        | "regcall" | "vectorcall" | "pcs" | "sseregparm" | "preserve_all"
                        | "preserve_most" | "aarch64_vector_pcs" | "interrupt",
                        _,
                    ) => found.convention = Some(name.into()),
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    pub(super) fn unknown_type(&self, node: Node<'t>) -> crate::PrototypeError {
        let name = self.text(node);
        let kind = Kind::UnknownType {
            name: name.into(),
            nearest: self.nearest_type(name),
        };
        self.error(kind, node)
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
fn plain_name(name: &str) -> &str {
    name.strip_prefix("__")
        .and_then(|name| name.strip_suffix("__"))
        .unwrap_or(name)
}

fn named(list: Option<Node<'_>>) -> Vec<Node<'_>> {
    let Some(list) = list else {
        return Vec::new();
    };
    let mut cursor = list.walk();
    let nodes = list.named_children(&mut cursor);
    nodes.filter(|node| !node.is_extra()).collect()
}

fn argument_list(node: Node<'_>) -> Option<Node<'_>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor)
        .find(|child| child.kind() == "argument_list")
}
