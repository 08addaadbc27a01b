//! Declarators: the pointers, arrays and functions around a name.

use tree_sitter::Node;

use super::{Reader, Result};
use crate::ctype::CType;
use crate::error::PrototypeErrorKind as Kind;

/// A parsed declarator.
pub(super) struct Declarator<'t> {
    pub(super) name: Option<Node<'t>>,
    /// The steps from the base type to the name: `float *x[3]` has a pointer, then an array.
    pub(super) derivations: Vec<Derivation<'t>>,
    pub(super) attributes: Vec<Node<'t>>,
    pub(super) label: Option<Node<'t>>,
}

/// One step of a declarator from a type to the next.
#[derive(Clone, Copy)]
pub(super) enum Derivation<'t> {
    Pointer {
        is_const: bool,
        is_restrict: bool,
    },
    Array {
        node: Node<'t>,
        size: Option<Node<'t>>,
        is_restrict: bool,
    },
    Function {
        node: Node<'t>,
        parameters: Node<'t>,
    },
}

impl<'t> Reader<'t> {
    pub(super) fn declarator(&mut self, node: Option<Node<'t>>) -> Result<Declarator<'t>> {
        let mut declarator = Declarator {
            name: None,
            derivations: Vec::new(),
            attributes: Vec::new(),
            label: None,
        };
        let mut next = node;
        while let Some(node) = next {
            if declarator.derivations.len() > super::MAX_DEPTH {
                return Err(self.too_deep(node));
            }
            next = match node.kind() {
                "identifier" | "type_identifier" | "field_identifier" | "primitive_type" => {
                    declarator.name = Some(node);
                    None
                }
                _ => self.derive(node, &mut declarator),
            };
        }
        Ok(declarator)
    }

    /// Adds the step of a declarator, and returns the inner declarator.
    fn derive(&mut self, node: Node<'t>, declarator: &mut Declarator<'t>) -> Option<Node<'t>> {
        let (mut inner, mut size, mut parameters) = (None, None, None);
        let (mut is_const, mut is_restrict, mut skip) = (false, false, false);
        let mut cursor = node.walk();
        let mut more = cursor.goto_first_child();
        while more {
            let child = cursor.node();
            match (cursor.field_name(), child.kind()) {
                (Some("declarator"), _) => inner = Some(child),
                // `[*]`
                (Some("size"), "*") => {}
                (Some("size"), _) => size = Some(child),
                (Some("parameters"), _) => parameters = Some(child),
                (_, "type_qualifier") => match self.word(child) {
                    "const" => is_const = true,
                    "restrict" => is_restrict = true,
                    _ => {}
                },
                (_, "attribute_specifier" | "attribute_declaration") => {
                    declarator.attributes.push(child);
                }
                (_, "gnu_asm_expression") => declarator.label = Some(child),
                // An initialiser of a variable is skipped.
                (_, "=") => skip = true,
                (None, _) if child.is_named() && !skip && !child.is_extra() => {
                    inner = inner.or(Some(child));
                }
                _ => {}
            }
            more = cursor.goto_next_sibling();
        }
        match node.kind() {
            "pointer_declarator" | "abstract_pointer_declarator" | "pointer_type_declarator" => {
                declarator.derivations.push(Derivation::Pointer {
                    is_const,
                    is_restrict,
                });
            }
            "array_declarator" | "abstract_array_declarator" => {
                declarator.derivations.push(Derivation::Array {
                    node,
                    size,
                    is_restrict,
                });
            }
            "function_declarator" | "abstract_function_declarator" => {
                let parameters = parameters?;
                if inner.is_none()
                    && let Some(name) = self.name_in_parentheses(parameters)
                {
                    declarator.name = Some(name);
                    return None;
                }
                declarator
                    .derivations
                    .push(Derivation::Function { node, parameters });
            }
            _ => {}
        }
        inner
    }

    /// Handles `int (x)`, which the grammar parses as a function without a name.
    fn name_in_parentheses(&self, parameters: Node<'t>) -> Option<Node<'t>> {
        let only = parameters.named_child(0)?;
        let name = only.named_child(0)?;
        let is_name = parameters.named_child_count() == 1
            && only.kind() == "parameter_declaration"
            && only.named_child_count() == 1
            && name.kind() == "type_identifier"
            && self.scope.typedef(self.text(name)).is_none();
        is_name.then_some(name)
    }

    /// Applies the steps to a type; returns the resulting type, and whether it is `const`.
    pub(super) fn derived(
        &mut self,
        base: CType,
        is_const: bool,
        derivations: &[Derivation<'t>],
    ) -> Result<(CType, bool)> {
        let mut ctype = base;
        let mut is_const = is_const || is_const_typedef(&ctype);
        for &derivation in derivations {
            match derivation {
                Derivation::Pointer {
                    is_const: next,
                    is_restrict,
                } => {
                    ctype = CType::pointer(ctype, is_const, is_restrict);
                    is_const = next;
                }
                Derivation::Array { node, size, .. } => {
                    if matches!(ctype.resolved(), CType::Function(_)) {
                        let what = "arrays of functions";
                        return Err(self.error(Kind::Impossible { what }, node));
                    }
                    let length = match size {
                        Some(size) => Some(self.constant_extent(size)?),
                        None => None,
                    };
                    ctype = CType::array(ctype, length);
                }
                Derivation::Function { node, parameters } => {
                    let what = match ctype.resolved() {
                        CType::Array(_) => Some("functions that return arrays"),
                        CType::Function(_) => Some("functions that return functions"),
                        _ => None,
                    };
                    if let Some(what) = what {
                        return Err(self.error(Kind::Impossible { what }, node));
                    }
                    let (parameters, is_variadic) = self.parameter_types(parameters)?;
                    ctype = CType::function(ctype, parameters, is_variadic);
                    is_const = false;
                }
            }
            if ctype.depth() > super::MAX_DEPTH {
                return Err(self.too_deep_here());
            }
        }
        Ok((ctype, is_const))
    }

    /// Returns the parameter types of a function type.
    fn parameter_types(&mut self, list: Node<'t>) -> Result<(Vec<CType>, bool)> {
        self.enter(list)?;
        let mut types = Vec::new();
        // `()` gives no types; a pointer to such a function may point to any function.
        let mut is_variadic = list.named_child_count() == 0;
        let mut cursor = list.walk();
        for node in list.named_children(&mut cursor) {
            match node.kind() {
                "parameter_declaration" => {}
                "variadic_parameter" => {
                    is_variadic = true;
                    continue;
                }
                "identifier" => {
                    let name = self.text(node).into();
                    return Err(self.error(
                        Kind::UnknownType {
                            nearest: self.nearest_type(self.text(node)),
                            name,
                        },
                        node,
                    ));
                }
                _ => continue,
            }
            let specifiers = self.specifiers(node)?;
            let declarator = self.declarator(specifiers.declarators.first().copied())?;
            let mut derivations = declarator.derivations;
            if let Some(last) = derivations.last_mut()
                && let Derivation::Array { is_restrict, .. } = *last
            {
                // In a function type, extents over other parameters have no effect.
                *last = Derivation::Pointer {
                    is_const: false,
                    is_restrict,
                };
            }
            let base = specifiers.ctype;
            let (ctype, is_const) = self.derived(base, specifiers.is_const, &derivations)?;
            if ctype == CType::Void && list.named_child_count() == 1 {
                continue;
            }
            types.push(match ctype.resolved() {
                CType::Array(array) => CType::pointer(array.item.clone(), is_const, false),
                CType::Function(_) => CType::pointer(ctype, false, false),
                _ => ctype,
            });
        }
        self.leave();
        Ok((types, is_variadic))
    }
}

pub(super) fn is_const_typedef(ctype: &CType) -> bool {
    let mut ctype = ctype;
    while let CType::Typedef(typedef) = ctype {
        if typedef.is_const {
            return true;
        }
        ctype = &typedef.ctype;
    }
    false
}
