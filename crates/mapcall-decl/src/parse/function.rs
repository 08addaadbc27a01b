//! Parses whole declarations: typedefs, and functions with the extents of their arrays.

use tree_sitter::Node;

use super::declarator::{Declarator, Derivation, is_const_typedef};
use super::expression::Names;
use super::types::Specifiers;
use super::{Item, ItemVisitor, Reader, Result};
use crate::ctype::{Body, CType};
use crate::error::PrototypeErrorKind as Kind;
use crate::extent::{Expr, Extent};
use crate::prototype::{Ownership, Parameter, Prototype};

/// The maximum number of parameters of a function; the C standard requires at least 127.
const MAX_PARAMETERS: usize = 1024;

/// A parameter whose extents are not parsed yet, as they may contain later parameters.
struct Pending<'t> {
    node: Node<'t>,
    name: Option<Node<'t>>,
    ctype: CType,
    is_const: bool,
    is_restrict: bool,
    extents: Vec<PendingExtent<'t>>,
}

enum PendingExtent<'t> {
    Unknown,
    Expression(Node<'t>),
    /// The length in a typedef.
    Length(usize),
}

impl<'t> Reader<'t> {
    /// Parses one declaration, and reports the functions that it declares.
    pub(super) fn declaration(
        &mut self,
        node: Node<'t>,
        visit: &mut ItemVisitor<'_, 't>,
    ) -> Result<()> {
        if let Some(error) = self.first_error(node) {
            return visit(self, Item::Error(error));
        }
        if matches!(
            node.kind(),
            "struct_specifier" | "union_specifier" | "enum_specifier"
        ) {
            return match self.definition(node) {
                Ok(()) => Ok(()),
                Err(error) => visit(self, Item::Error(error)),
            };
        }
        let is_typedef = node.kind() == "type_definition";
        let specifiers = match self.specifiers(node) {
            Ok(specifiers) => specifiers,
            Err(error) => return self.fail(node, is_typedef, error, visit),
        };
        for &declarator in &specifiers.declarators {
            self.depth = 0;
            let declarator = match self.declarator(Some(declarator)) {
                Ok(declarator) => declarator,
                Err(error) => {
                    visit(self, Item::Error(error))?;
                    continue;
                }
            };
            let Some(name) = declarator.name else {
                continue;
            };
            if is_typedef {
                if let Err(error) = self.type_definition(&specifiers, &declarator, name) {
                    visit(self, Item::Error(error))?;
                }
            } else if declares_function(&specifiers, &declarator) && self.is_own(name.start_byte())
            {
                let prototype = self.function(node, &specifiers, &declarator, name);
                visit(self, Item::Function(name, prototype))?;
            }
        }
        Ok(())
    }

    /// Handles a declaration whose type can't be parsed: its functions get the error, and its typedefs store
    /// the reason.
    fn fail(
        &mut self,
        node: Node<'t>,
        is_typedef: bool,
        error: crate::PrototypeError,
        visit: &mut ItemVisitor<'_, 't>,
    ) -> Result<()> {
        let mut cursor = node.walk();
        let declarators: Vec<_> = node
            .children_by_field_name("declarator", &mut cursor)
            .filter(|declarator| declarator.kind() != "gnu_asm_expression")
            .collect();
        let mut is_reported = false;
        for declarator in declarators {
            let Ok(declarator) = self.declarator(Some(declarator)) else {
                continue;
            };
            let Some(name) = declarator.name else {
                continue;
            };
            if is_typedef {
                let reason = error.kind.to_string();
                self.scope.define_unsupported(self.text(name), reason);
            } else if matches!(
                declarator.derivations.last(),
                Some(Derivation::Function { .. })
            ) && self.is_own(name.start_byte())
            {
                visit(self, Item::Function(name, Err(error.clone())))?;
                is_reported = true;
            }
        }
        if is_reported {
            Ok(())
        } else {
            visit(self, Item::Error(error))
        }
    }

    fn type_definition(
        &mut self,
        specifiers: &Specifiers<'t>,
        declarator: &Declarator<'t>,
        name: Node<'t>,
    ) -> Result<()> {
        let text = self.text(name);
        let derived = self.derived(
            specifiers.ctype.clone(),
            specifiers.is_const,
            &declarator.derivations,
        );
        let (ctype, is_const) = match derived {
            Ok(derived) => derived,
            Err(error) => {
                let reason = error.kind.to_string();
                self.scope.define_unsupported(text, reason);
                return Err(error);
            }
        };
        let own = self.attributes(&declarator.attributes)?;
        let before = self.attributes(&specifiers.attributes)?;
        let changed = own.changes_type.or_else(|| {
            let alignment = own.alignment.or(before.alignment)?;
            Some(format!("aligned({alignment})"))
        });
        let ctype = match changed {
            Some(attribute) => {
                CType::unsupported(text, format!("`{attribute}` makes it another type"))
            }
            None => CType::typedef(text, ctype, is_const),
        };
        if ctype.depth() > super::MAX_DEPTH {
            return Err(self.too_deep(name));
        }
        self.define_typedef(text, ctype, name)
    }

    fn function(
        &mut self,
        node: Node<'t>,
        specifiers: &Specifiers<'t>,
        declarator: &Declarator<'t>,
        name: Node<'t>,
    ) -> Result<Prototype> {
        let function = self.text(name);
        if specifiers.is_static {
            let function = function.into();
            return Err(self.error(Kind::Static { function }, name));
        }
        let attributes = specifiers.attributes.iter().chain(&declarator.attributes);
        let attributes = self.attributes(attributes)?;
        if let Some(attribute) = attributes.convention {
            return Err(self.error(Kind::Convention { attribute }, name));
        }
        let is_variadic;
        let (returns, mut parameters) = match declarator.derivations.split_last() {
            Some((Derivation::Function { parameters, .. }, result)) => {
                let base = specifiers.ctype.clone();
                let (returns, _) = self.derived(base, specifiers.is_const, result)?;
                is_variadic = takes_more(*parameters);
                (returns, self.parameters(function, *parameters, node)?)
            }
            _ => {
                let function_type = specifiers.ctype.resolved();
                is_variadic =
                    matches!(function_type, CType::Function(function) if function.is_variadic);
                self.function_of_typedef(&specifiers.ctype, function, name)?
            }
        };
        for (ownership, number) in attributes.ownership {
            self.own(&mut parameters, ownership, number)?;
        }
        self.check_value(&returns, true, name)?;
        let label = declarator.label.or(specifiers.label);
        Ok(Prototype {
            name: function.into(),
            symbol: label.map(|label| self.strings(label)),
            returns,
            parameters,
            is_variadic,
        })
    }

    /// Stores the owner of the target of a parameter, which is given by its number from 1.
    fn own(
        &mut self,
        parameters: &mut [Parameter],
        ownership: Ownership,
        number: Node<'t>,
    ) -> Result<()> {
        let index = self.constant(number)?.checked_sub(1);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let parameter = index.and_then(|index| parameters.get_mut(index));
        let is_pointer = |parameter: &Parameter| {
            parameter.rank() > 0 || matches!(parameter.ctype.resolved(), CType::Pointer(_))
        };
        match parameter.filter(|parameter| is_pointer(parameter)) {
            Some(parameter) => {
                parameter.ownership = ownership;
                Ok(())
            }
            None => Err(self.syntax("the number of a pointer parameter, from 1", number)),
        }
    }

    /// Returns the result and parameters of a function declared by a typedef: `typedef int F(int); F f;`.
    fn function_of_typedef(
        &mut self,
        ctype: &CType,
        name: &str,
        node: Node<'t>,
    ) -> Result<(CType, Vec<Parameter>)> {
        let CType::Function(function) = ctype.resolved() else {
            return Err(self.syntax("a function", node));
        };
        // A function type `()` is read as one without parameters that takes any arguments.
        if function.is_variadic && function.parameters.is_empty() {
            let function = name.into();
            return Err(self.error(Kind::OldStyle { function }, node));
        }
        let mut parameters = Vec::new();
        for (position, ctype) in function.parameters.iter().enumerate() {
            self.check_value(ctype, false, node)?;
            let (is_const, is_restrict) = pointer_qualifiers(ctype);
            parameters.push(Parameter {
                name: format!("arg{position}"),
                ctype: ctype.clone(),
                extents: Vec::new(),
                is_const,
                is_restrict,
                is_inferred: false,
                ownership: Ownership::Kept,
            });
        }
        Ok((function.returns.clone(), parameters))
    }

    fn parameters(
        &mut self,
        function: &str,
        list: Node<'t>,
        declaration: Node<'t>,
    ) -> Result<Vec<Parameter>> {
        let mut pending = Vec::new();
        let mut cursor = list.walk();
        for node in list.named_children(&mut cursor) {
            match node.kind() {
                "parameter_declaration" if pending.len() == MAX_PARAMETERS => {
                    let (function, limit) = (function.into(), MAX_PARAMETERS);
                    return Err(self.error(Kind::TooManyParameters { function, limit }, node));
                }
                "parameter_declaration" => pending.push(self.pending(node)?),
                "identifier" if is_old_style(declaration) => {
                    let function = function.into();
                    return Err(self.error(Kind::OldStyle { function }, list));
                }
                "identifier" => return Err(self.unknown_type(node)),
                _ => {}
            }
        }
        match &pending[..] {
            [] if takes_more(list) => return Ok(Vec::new()),
            [] => {
                let function = function.into();
                return Err(self.error(Kind::OldStyle { function }, list));
            }
            [only] if only.name.is_none() && only.ctype.resolved() == &CType::Void => {
                return Ok(Vec::new());
            }
            _ => {}
        }
        let mut named: Vec<(Option<String>, CType)> = Vec::with_capacity(pending.len());
        for parameter in &pending {
            let name = parameter.name.map(|name| self.text(name).to_owned());
            if let (Some(text), Some(node)) = (&name, parameter.name)
                && named.iter().any(|(known, _)| known.as_ref() == Some(text))
            {
                let name = text.clone();
                return Err(self.error(Kind::DuplicateParameter { name }, node));
            }
            // An array is not an integer, even if its elements are.
            let ctype = if parameter.extents.is_empty() {
                parameter.ctype.clone()
            } else {
                CType::pointer(parameter.ctype.clone(), parameter.is_const, false)
            };
            named.push((name, ctype));
        }
        let scope = Names {
            function,
            parameters: &named,
        };
        let mut parameters = Vec::with_capacity(pending.len());
        for (position, pending) in pending.into_iter().enumerate() {
            let name = match named.get(position) {
                Some((Some(name), _)) => name.clone(),
                _ => unnamed(position, &named),
            };
            parameters.push(self.parameter(name, pending, &scope)?);
        }
        let inferred: Vec<_> = parameters
            .iter()
            .flat_map(|parameter: &Parameter| &parameter.extents)
            .filter_map(Extent::parameter)
            .collect();
        for position in inferred {
            if let Some(parameter) = parameters.get_mut(position) {
                parameter.is_inferred = true;
            }
        }
        Ok(parameters)
    }

    /// Returns the type of a parameter, and its outermost arrays as extents.
    fn pending(&mut self, node: Node<'t>) -> Result<Pending<'t>> {
        let specifiers = self.specifiers(node)?;
        let declarator = self.declarator(specifiers.declarators.first().copied())?;
        let mut derivations = &declarator.derivations[..];
        let mut extents = Vec::new();
        let mut is_restrict = false;
        let mut base = specifiers.ctype;
        let base_const = specifiers.is_const || is_const_typedef(&base);
        // C adjusts `T x[][n]` to `T (*x)[n]`, so both are the same parameter.
        if let [
            inner @ ..,
            Derivation::Pointer {
                is_restrict: restrict,
                ..
            },
        ] = derivations
        {
            let is_to_array = match inner.last() {
                Some(derivation) => matches!(derivation, Derivation::Array { .. }),
                None => matches!(base.resolved(), CType::Array(_)),
            };
            if is_to_array {
                extents.push(PendingExtent::Unknown);
                is_restrict = *restrict;
                derivations = inner;
            }
        }
        while let [
            inner @ ..,
            Derivation::Array {
                size,
                is_restrict: restrict,
                ..
            },
        ] = derivations
        {
            is_restrict |= *restrict;
            extents.push(match size {
                Some(size) => PendingExtent::Expression(*size),
                None => PendingExtent::Unknown,
            });
            derivations = inner;
        }
        if derivations.is_empty() {
            // The typedef name itself may stand for an array.
            while let CType::Array(array) = base.resolved() {
                extents.push(match array.length {
                    Some(length) => PendingExtent::Length(length),
                    None => PendingExtent::Unknown,
                });
                base = array.item.clone();
            }
        }
        let (mut ctype, mut is_const) = self.derived(base, base_const, derivations)?;
        if extents.is_empty() {
            if matches!(ctype.resolved(), CType::Function(_)) {
                ctype = CType::pointer(ctype, false, false);
            }
            (is_const, is_restrict) = pointer_qualifiers(&ctype);
        }
        Ok(Pending {
            node,
            name: declarator.name,
            ctype,
            is_const,
            is_restrict,
            extents,
        })
    }

    fn parameter(
        &mut self,
        name: String,
        pending: Pending<'t>,
        names: &Names<'_>,
    ) -> Result<Parameter> {
        let position = pending.name.unwrap_or(pending.node);
        self.check_value(&pending.ctype, false, position)?;
        let mut extents = Vec::with_capacity(pending.extents.len());
        for extent in pending.extents {
            extents.push(match extent {
                PendingExtent::Unknown => Extent::Unknown,
                PendingExtent::Length(length) => {
                    let length = i128::try_from(length).unwrap_or(i128::MAX);
                    Extent::Dynamic(Expr::Constant(length))
                }
                PendingExtent::Expression(node) => {
                    let expression = self.expression(node, Some(names))?;
                    if matches!(expression, Expr::Constant(_)) {
                        self.extent_value(&expression, node)?;
                    }
                    Extent::Dynamic(expression)
                }
            });
        }
        Ok(Parameter {
            name,
            ctype: pending.ctype,
            extents,
            is_const: pending.is_const,
            is_restrict: pending.is_restrict,
            is_inferred: false,
            ownership: Ownership::Kept,
        })
    }

    /// Returns an error for a type that can't be passed or returned.
    fn check_value(&self, ctype: &CType, is_result: bool, node: Node<'t>) -> Result<()> {
        let text = || ctype.to_string();
        let kind = match ctype.resolved() {
            CType::Void if !is_result => Kind::Impossible {
                what: "values of type void",
            },
            CType::Array(_) => Kind::Impossible {
                what: "functions that return arrays",
            },
            CType::Function(_) => Kind::Impossible {
                what: "functions as values",
            },
            CType::Unsupported(unsupported) => Kind::UnsupportedType {
                ctype: text(),
                reason: unsupported.reason.clone(),
            },
            CType::Record(record) => match &record.body {
                Body::Incomplete => Kind::Incomplete { ctype: text() },
                Body::Unsupported { reason } => Kind::UnsupportedType {
                    ctype: text(),
                    reason: reason.clone(),
                },
                Body::Complete { .. } => return Ok(()),
            },
            _ => return Ok(()),
        };
        Err(self.error(kind, node))
    }

    /// Returns the text of the string literals in an `__asm__` label.
    fn strings(&self, label: Node<'t>) -> String {
        let mut text = String::new();
        let mut cursor = label.walk();
        loop {
            let node = cursor.node();
            if node.kind() == "string_content" {
                text.push_str(self.text(node));
            }
            if cursor.goto_first_child() {
                continue;
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return text;
                }
            }
        }
    }

    fn definition(&mut self, node: Node<'t>) -> Result<()> {
        // A declaration without a body, such as `enum E;`, has no effect.
        if node.child_by_field_name("body").is_none() {
            return Ok(());
        }
        self.type_specifier(node).map(|_| ())
    }
}

fn declares_function(specifiers: &Specifiers<'_>, declarator: &Declarator<'_>) -> bool {
    match declarator.derivations.last() {
        Some(Derivation::Function { .. }) => true,
        Some(_) => false,
        None => matches!(specifiers.ctype.resolved(), CType::Function(_)),
    }
}

/// Returns whether a list of parameters ends in `...`.
fn takes_more(list: Node<'_>) -> bool {
    let mut cursor = list.walk();
    list.named_children(&mut cursor)
        .any(|child| child.kind() == "variadic_parameter")
}

/// Returns whether the target of a pointer is `const`, and whether the pointer is `restrict`.
fn pointer_qualifiers(ctype: &CType) -> (bool, bool) {
    match ctype.resolved() {
        CType::Pointer(pointer) => (pointer.is_const, pointer.is_restrict),
        _ => (false, false),
    }
}

/// Returns whether this is an old-style definition, with the parameter types between the parentheses and the
/// body.
fn is_old_style(declaration: Node<'_>) -> bool {
    let mut cursor = declaration.walk();
    declaration.kind() == "function_definition"
        && declaration
            .named_children(&mut cursor)
            .any(|child| child.kind() == "declaration")
}

/// Returns a name that no other parameter has.
fn unnamed(position: usize, named: &[(Option<String>, CType)]) -> String {
    let mut name = format!("arg{position}");
    while named.iter().any(|(known, _)| known.as_ref() == Some(&name)) {
        name.push('_');
    }
    name
}
