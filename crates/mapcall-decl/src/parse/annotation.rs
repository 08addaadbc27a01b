//! Reads what attributes say of parameters and of functions, beyond their types.

use super::expression::Names;
use super::types::plain_name;
use super::{Reader, Result};
use crate::ctype::{CType, FunctionParameter};
use crate::extent::{Expr, Extent};
use crate::prototype::{Access, Destructor, Nullability, Ownership, Parameter};
use crate::syntax::ast::{Argument, Attribute, Declarator, Derivation, Expression};
use crate::syntax::lexer::Span;
use crate::syntax::parser::MAX_DEPTH;

/// What the attributes of a parameter say of it. Expressions are not read yet, as they may contain later
/// parameters.
#[derive(Default)]
pub(super) struct ParameterAttributes<'a> {
    pub(super) nullability: Nullability,
    /// The extent of a pointer.
    pub(super) counted: Option<Counted<'a>>,
    is_column_major: bool,
    stride: Option<&'a Expression>,
    equals: Option<&'a Expression>,
    between: Option<[&'a Expression; 2]>,
}

/// What the attributes of a parameter say of its numbers and of its order in memory.
pub(super) struct Annotations {
    nullability: Nullability,
    is_column_major: bool,
    stride: Option<Expr>,
    equals: Option<Expr>,
    between: Option<Box<[Expr; 2]>>,
}

impl Annotations {
    /// Returns the parameter of a prototype with them.
    pub(super) fn of_parameter(self, parameter: Parameter) -> Parameter {
        Parameter {
            nullability: self.nullability,
            is_column_major: self.is_column_major,
            stride: self.stride,
            equals: self.equals,
            between: self.between,
            ..parameter
        }
    }

    /// Returns the parameter of a function type with them.
    pub(super) fn of_function_parameter(self, parameter: FunctionParameter) -> FunctionParameter {
        FunctionParameter {
            nullability: self.nullability,
            is_column_major: self.is_column_major,
            stride: self.stride,
            equals: self.equals,
            between: self.between,
            ..parameter
        }
    }
}

/// The extent of a pointer: `counted_by(length)`, `sized_by(size)`.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) extent: &'a Expression,
    /// Whether it counts bytes.
    is_sized: bool,
}

impl Counted<'_> {
    /// Returns whether the extent of a pointer to a type counts bytes: it always does for `void`, and for
    /// `char` it makes no difference.
    pub(super) fn counts_bytes(&self, target: &CType) -> bool {
        target.resolved() == &CType::Void || (self.is_sized && target.size() != Some(1))
    }
}

/// What the attributes of a function say of its result.
pub(super) struct ResultAttributes {
    pub(super) is_nonnull: bool,
    pub(super) destructors: Vec<Destructor>,
}

impl Reader<'_> {
    /// Returns the name of an attribute without underscores, and whether it is one of mapcall's; `None` for
    /// attributes of other namespaces.
    fn attribute_name(&self, attribute: &Attribute) -> Option<(&str, bool)> {
        let name = plain_name(self.text(attribute.name));
        let namespace = attribute.namespace.map(|name| self.text(name));
        match namespace {
            None if attribute.is_standard => None,
            None | Some("gnu" | "__gnu__" | "clang" | "_Clang") => Some((name, false)),
            Some("mapcall") => Some((name, true)),
            Some(_) => None,
        }
    }

    /// Returns what attributes say of a parameter: those before it and behind its name, and those of its
    /// pointer or brackets.
    pub(super) fn parameter_attributes<'a>(
        &self,
        before: &'a [Attribute],
        declarator: &'a Declarator,
    ) -> Result<ParameterAttributes<'a>> {
        let derivations = declarator.derivations.iter().rev();
        let arrays = derivations.take_while(|step| matches!(step, Derivation::Array { .. }));
        let arrays = arrays.flat_map(attributes_of);
        let pointer = declarator.derivations.last();
        let pointer = pointer.filter(|step| matches!(step, Derivation::Pointer { .. }));
        let all = before
            .iter()
            .chain(&declarator.attributes)
            .chain(arrays)
            .chain(pointer.into_iter().flat_map(attributes_of));
        let mut found = ParameterAttributes::default();
        for attribute in all {
            let Some((name, is_own)) = self.attribute_name(attribute) else {
                continue;
            };
            match (is_own, name, &attribute.arguments[..]) {
                (false, "_Nullable" | "_Nullable_result", _) => {
                    found.nullability = Nullability::Nullable;
                }
                (false, "_Nonnull", _) => found.nullability = Nullability::Nonnull,
                (
                    false,
                    "counted_by"
                    | "sized_by"
                    | "counted_by_or_null"
                    | "sized_by_or_null"
                    | "__counted_by"
                    | "__sized_by"
                    | "__counted_by_or_null"
                    | "__sized_by_or_null",
                    [extent, ..],
                ) => {
                    found.counted = Some(Counted {
                        extent: self.argument(extent)?,
                        is_sized: name.contains("sized_by"),
                    });
                    if name.ends_with("_or_null") {
                        found.nullability = Nullability::Nullable;
                    }
                }
                (true, "equals", [value]) => found.equals = Some(self.argument(value)?),
                (true, "between", [least, most]) => {
                    found.between = Some([self.argument(least)?, self.argument(most)?]);
                }
                (true, "stride", [stride]) => found.stride = Some(self.argument(stride)?),
                (true, "column_major", []) => found.is_column_major = true,
                (true, _, _) => return Err(self.unknown_annotation(attribute)),
                _ => {}
            }
        }
        Ok(found)
    }

    fn unknown_annotation(&self, attribute: &Attribute) -> crate::PrototypeError {
        self.syntax(
            "`equals(value)`, `between(least, most)`, `stride(elements)` or `column_major`",
            attribute.span,
        )
    }

    /// Reads what the attributes of a parameter say of its numbers and of its order in memory.
    pub(super) fn annotations(
        &mut self,
        attributes: &ParameterAttributes<'_>,
        names: &Names<'_>,
    ) -> Result<Annotations> {
        let mut expression = |expression: &Expression| {
            let value = self.expression(expression, names)?;
            if value.depth() > MAX_DEPTH {
                return Err(self.too_deep(expression.span));
            }
            Ok(value)
        };
        Ok(Annotations {
            nullability: attributes.nullability,
            is_column_major: attributes.is_column_major,
            stride: attributes.stride.map(&mut expression).transpose()?,
            equals: attributes.equals.map(&mut expression).transpose()?,
            between: match attributes.between {
                Some([least, most]) => Some([expression(least)?, expression(most)?].into()),
                None => None,
            },
        })
    }

    /// Stores what the attributes of a function say of its parameters, which they give by their numbers
    /// from 1. Returns what they say of its result.
    pub(super) fn annotate<'a>(
        &mut self,
        function: &str,
        parameters: &mut [Parameter],
        attributes: impl IntoIterator<Item = &'a Attribute>,
    ) -> Result<ResultAttributes> {
        let mut result = ResultAttributes {
            is_nonnull: false,
            destructors: Vec::new(),
        };
        for attribute in attributes {
            let Some((name, is_own)) = self.attribute_name(attribute) else {
                continue;
            };
            if is_own {
                return Err(self.syntax("an attribute of a parameter", attribute.span));
            }
            match (name, &attribute.arguments[..]) {
                ("ownership_takes" | "ownership_holds", [_, numbers @ ..]) => {
                    let ownership = if name == "ownership_takes" {
                        Ownership::Taken
                    } else {
                        Ownership::Held
                    };
                    for number in numbers {
                        self.pointer(parameters, number)?.ownership = ownership;
                    }
                }
                ("nonnull", []) => {
                    let pointers = parameters.iter_mut().filter(|other| is_pointer(other));
                    pointers.for_each(|pointer| pointer.nullability = Nullability::Nonnull);
                }
                ("nonnull", numbers) => {
                    for number in numbers {
                        // GCC warns of the number of another parameter, and ignores it.
                        let (index, _) = self.number_of(number)?;
                        let parameter = parameters.get_mut(index).filter(|other| is_pointer(other));
                        if let Some(pointer) = parameter {
                            pointer.nullability = Nullability::Nonnull;
                        }
                    }
                }
                ("returns_nonnull" | "_Nonnull", _) => result.is_nonnull = true,
                ("access", [mode, number, size @ ..]) => {
                    let Some(access) = Access::named(plain_name(self.text(mode.span))) else {
                        continue;
                    };
                    let extent = match size.first() {
                        Some(size) => Some(self.size(parameters, size)?),
                        None => None,
                    };
                    let pointer = self.pointer(parameters, number)?;
                    pointer.access = Some(access);
                    if let Some(extent) = extent {
                        measure(pointer, extent);
                    }
                }
                ("malloc", [destructor, number @ ..]) => {
                    let destructor = self.text(destructor.span);
                    let destructor = destructor.strip_prefix("__builtin_").unwrap_or(destructor);
                    let argument = match number.first() {
                        Some(number) => self.number_of(number)?.0,
                        None => 0,
                    };
                    // A function such as `realloc` takes over the object that it reallocates.
                    if destructor == function
                        && let Some(parameter) = parameters.get_mut(argument)
                        && is_pointer(parameter)
                    {
                        parameter.ownership = Ownership::Taken;
                    }
                    result.destructors.push(Destructor {
                        function: destructor.to_owned(),
                        argument: argument.saturating_add(1),
                    });
                }
                _ => {}
            }
        }
        Ok(result)
    }

    /// Returns the positions of the pointers, and of the parameters that are their extents, by the attributes
    /// `access` of a function type. Numbers that the compiler would warn of are ignored.
    pub(super) fn measured(&mut self, attributes: &[Attribute]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for attribute in attributes {
            if let Some(("access", false)) = self.attribute_name(attribute)
                && let [_, pointer, size] = &attribute.arguments[..]
                && let (Ok((pointer, _)), Ok((size, _))) =
                    (self.number_of(pointer), self.number_of(size))
            {
                found.push((pointer, size));
            }
        }
        found
    }

    /// Returns the position from 0 of a parameter whose number from 1 is the argument of an attribute.
    fn number_of(&mut self, argument: &Argument) -> Result<(usize, Span)> {
        let expression = self.argument(argument)?;
        let index = self.constant(expression)?.checked_sub(1);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let expected = "the number of a parameter, from 1";
        let index = index.ok_or_else(|| self.syntax(expected, argument.span))?;
        Ok((index, argument.span))
    }

    /// Returns the pointer parameter of a number from 1.
    fn pointer<'p>(
        &mut self,
        parameters: &'p mut [Parameter],
        number: &Argument,
    ) -> Result<&'p mut Parameter> {
        let (index, span) = self.number_of(number)?;
        let parameter = parameters.get_mut(index).filter(|other| is_pointer(other));
        parameter.ok_or_else(|| self.syntax("the number of a pointer parameter, from 1", span))
    }

    /// Returns the integer parameter of a number from 1, as the extent of a pointer.
    fn size(&mut self, parameters: &[Parameter], number: &Argument) -> Result<Expr> {
        let (index, span) = self.number_of(number)?;
        let size = parameters.get(index);
        match size.filter(|size| size.rank() == 0 && size.ctype.integer().is_some()) {
            Some(size) => Ok(Expr::Parameter {
                index,
                name: size.name.as_str().into(),
            }),
            None => Err(self.syntax("the number of an integer parameter, from 1", span)),
        }
    }
}

/// Returns the attributes of a step of a declarator.
pub(super) fn attributes_of(step: &Derivation) -> &[Attribute] {
    match step {
        Derivation::Pointer { attributes, .. }
        | Derivation::Array { attributes, .. }
        | Derivation::Function { attributes, .. } => attributes,
    }
}

fn is_pointer(parameter: &Parameter) -> bool {
    parameter.rank() > 0 || matches!(parameter.ctype.resolved(), CType::Pointer(_))
}

/// Gives a pointer an extent, unless it has one, or leads to no data.
fn measure(parameter: &mut Parameter, extent: Expr) {
    let CType::Pointer(pointer) = parameter.ctype.resolved() else {
        return;
    };
    let target = pointer.target.clone();
    let is_void = target.resolved() == &CType::Void;
    if parameter.rank() == 0 && (is_void || target.size().is_some()) {
        parameter.extents.push(Extent::Dynamic(extent));
        parameter.is_sized = is_void;
        parameter.ctype = target;
    }
}
