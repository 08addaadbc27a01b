//! Reads whole declarations: typedefs, and functions with the extents of their arrays.

use super::annotation::{ParameterAttributes, attributes_of};
use super::declarator::is_const_typedef;
use super::expression::Names;
use super::types::Base;
use super::{Item, ItemVisitor, Reader, Result};
use crate::ctype::{Body, CType};
use crate::error::PrototypeErrorKind as Kind;
use crate::extent::{Expr, Extent};
use crate::prototype::{Parameter, Prototype, Variable, infer};
use crate::syntax::ast::{
    ArraySize, Declaration, Declarator, Derivation, Expression, ParameterDeclaration, Parameters,
    TypeSpecifier,
};
use crate::syntax::lexer::Span;
use crate::syntax::parser::MAX_DEPTH;

/// The maximum number of parameters of a function; the C standard requires at least 127.
const MAX_PARAMETERS: usize = 1024;

/// A parameter whose extents are not read yet, as they may contain later parameters.
pub(super) struct Pending<'a> {
    span: Span,
    pub(super) name: Option<Span>,
    pub(super) ctype: CType,
    pub(super) is_const: bool,
    pub(super) is_restrict: bool,
    pub(super) extents: Vec<PendingExtent<'a>>,
    /// Whether the extent counts bytes.
    pub(super) is_sized: bool,
    pub(super) attributes: ParameterAttributes<'a>,
}

pub(super) enum PendingExtent<'a> {
    Unknown,
    Expression(&'a Expression),
    /// The length in a typedef.
    Length(usize),
}

impl<'t> Reader<'t> {
    /// Reads one declaration, and reports the functions that it declares.
    pub(super) fn declaration(
        &mut self,
        declaration: &Declaration,
        visit: &mut ItemVisitor<'_, 't>,
    ) -> Result<()> {
        let specifiers = &declaration.specifiers;
        if declaration.declarators.is_empty() && !defines_type(&specifiers.ctype) {
            // A declaration without a body, such as `enum E;`, has no effect.
            return Ok(());
        }
        let base = match self.base(specifiers) {
            Ok(base) => base,
            Err(error) => return self.fail(declaration, error, visit),
        };
        for declarator in &declaration.declarators {
            let Some(name) = declarator.name else {
                continue;
            };
            if specifiers.is_typedef {
                if let Err(error) = self.type_definition(declaration, &base, declarator, name) {
                    visit(self, Item::Error(error))?;
                }
            } else if declares_function(&base, declarator) {
                let prototype = self.function(declaration, &base, declarator, name);
                visit(self, Item::Function(name, prototype))?;
            } else if !specifiers.is_static {
                let item = match self.variable(&base, declarator, name) {
                    Ok(variable) => Item::Variable(variable),
                    Err(error) => Item::Error(error),
                };
                visit(self, item)?;
            }
        }
        Ok(())
    }

    /// Handles a declaration whose type can't be read: its functions get the error, and its typedefs store
    /// the reason.
    fn fail(
        &mut self,
        declaration: &Declaration,
        error: crate::PrototypeError,
        visit: &mut ItemVisitor<'_, 't>,
    ) -> Result<()> {
        let mut is_reported = false;
        for declarator in &declaration.declarators {
            let Some(name) = declarator.name else {
                continue;
            };
            if declaration.specifiers.is_typedef {
                let reason = error.kind.to_string();
                self.scope.define_unsupported(self.text(name), reason);
            } else if matches!(
                declarator.derivations.last(),
                Some(Derivation::Function { .. })
            ) {
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
        declaration: &Declaration,
        base: &Base,
        declarator: &Declarator,
        name: Span,
    ) -> Result<()> {
        let text = self.text(name);
        let derived = self.derived(base.ctype.clone(), base.is_const, &declarator.derivations);
        let (ctype, is_const) = match derived {
            Ok((ctype, is_const)) => (self.measured_type(ctype, &declarator.attributes), is_const),
            Err(error) => {
                let reason = error.kind.to_string();
                self.scope.define_unsupported(text, reason);
                return Err(error);
            }
        };
        let own = self.attributes(&declarator.attributes)?;
        let before = self.attributes(&declaration.specifiers.attributes)?;
        let ctype = CType::typedef(text, own.applied(ctype), is_const);
        let ctype = match own.alignment.max(before.alignment).max(base.alignment) {
            Some(alignment) => ctype.aligned_typedef(alignment),
            None => ctype,
        };
        if ctype.depth() > MAX_DEPTH {
            return Err(self.too_deep(name));
        }
        self.define_typedef(text, ctype, name)
    }

    fn variable(&mut self, base: &Base, declarator: &Declarator, name: Span) -> Result<Variable> {
        let derivations = &declarator.derivations;
        let (ctype, is_const) = self.derived(base.ctype.clone(), base.is_const, derivations)?;
        let is_labelled = !declarator.label.is_empty();
        Ok(Variable {
            name: self.text(name).into(),
            symbol: is_labelled.then(|| self.strings(&declarator.label)),
            ctype,
            is_const,
        })
    }

    fn function(
        &mut self,
        declaration: &Declaration,
        base: &Base,
        declarator: &Declarator,
        name: Span,
    ) -> Result<Prototype> {
        let specifiers = &declaration.specifiers;
        let function = self.text(name);
        if specifiers.is_static {
            let function = function.into();
            return Err(self.error(Kind::Static { function }, name));
        }
        let own = specifiers.attributes.iter().chain(&declarator.attributes);
        if let Some(attribute) = self.attributes(own.clone())?.convention {
            return Err(self.error(Kind::Convention { attribute }, name));
        }
        let (returns, mut parameters, is_variadic) =
            if let Some((Derivation::Function { parameters, .. }, result)) =
                declarator.derivations.split_last()
            {
                let (returns, _) = self.derived(base.ctype.clone(), base.is_const, result)?;
                let list = self.parameters(function, parameters, declaration.is_old_style)?;
                (returns, list, parameters.ellipsis.is_some())
            } else {
                let ctype = base.ctype.resolved();
                let is_variadic =
                    matches!(ctype, CType::Function(function) if function.is_variadic);
                let (returns, parameters) =
                    self.function_of_typedef(&base.ctype, function, name)?;
                (returns, parameters, is_variadic)
            };
        let steps = declarator.derivations.iter().rev().take(2);
        let attributes = own.chain(steps.flat_map(attributes_of));
        let result = self.annotate(function, &mut parameters, attributes)?;
        infer(&mut parameters);
        self.check_value(&returns, true, name)?;
        let is_labelled = !declarator.label.is_empty();
        Ok(Prototype {
            name: function.into(),
            symbol: is_labelled.then(|| self.strings(&declarator.label)),
            returns,
            parameters,
            is_variadic,
            returns_nonnull: result.is_nonnull,
            destructors: result.destructors,
        })
    }

    /// Returns the result and parameters of a function declared by a typedef: `typedef int F(int); F f;`.
    fn function_of_typedef(
        &self,
        ctype: &CType,
        name: &str,
        span: Span,
    ) -> Result<(CType, Vec<Parameter>)> {
        let CType::Function(function) = ctype.resolved() else {
            return Err(self.syntax("a function", span));
        };
        // A function type `()` is read as one without parameters that takes any arguments.
        if function.is_variadic && function.parameters.is_empty() {
            let function = name.into();
            return Err(self.error(Kind::OldStyle { function }, span));
        }
        for ctype in &function.parameters {
            self.check_value(ctype, false, span)?;
        }
        let Prototype {
            returns,
            parameters,
            ..
        } = Prototype::of_function(name, function);
        Ok((returns, parameters))
    }

    fn parameters(
        &mut self,
        function: &str,
        parameters: &Parameters,
        is_old_style: bool,
    ) -> Result<Vec<Parameter>> {
        let old_style = |reader: &Self| {
            let function = function.into();
            reader.error(Kind::OldStyle { function }, parameters.span)
        };
        if is_old_style {
            return Err(old_style(self));
        }
        if let Some(extra) = parameters.list.get(MAX_PARAMETERS) {
            let (function, limit) = (function.into(), MAX_PARAMETERS);
            return Err(self.error(Kind::TooManyParameters { function, limit }, extra.span));
        }
        let pending = self.within(parameters, |reader| {
            let mut pending = Vec::with_capacity(parameters.list.len());
            for parameter in &parameters.list {
                pending.push(reader.pending(parameter)?);
            }
            Ok(pending)
        })?;
        match &pending[..] {
            [] if parameters.ellipsis.is_some() => return Ok(Vec::new()),
            [] => return Err(old_style(self)),
            [only] if only.name.is_none() && only.ctype.resolved() == &CType::Void => {
                return Ok(Vec::new());
            }
            _ => {}
        }
        let mut named: Vec<(Option<String>, CType)> = Vec::with_capacity(pending.len());
        for parameter in &pending {
            let name = parameter.name.map(|name| self.text(name).to_owned());
            if let (Some(text), Some(span)) = (&name, parameter.name)
                && named.iter().any(|(known, _)| known.as_ref() == Some(text))
            {
                let name = text.clone();
                return Err(self.error(Kind::DuplicateParameter { name }, span));
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
        Ok(parameters)
    }

    /// Returns the type of a parameter, and its outermost arrays as extents.
    pub(super) fn pending<'a>(
        &mut self,
        parameter: &'a ParameterDeclaration,
    ) -> Result<Pending<'a>> {
        let Base {
            ctype: mut base,
            is_const: base_const,
            ..
        } = self.base(&parameter.specifiers)?;
        let declarator = &parameter.declarator;
        let mut derivations = &declarator.derivations[..];
        let mut extents = Vec::new();
        let mut is_restrict = false;
        let base_const = base_const || is_const_typedef(&base);
        // C adjusts `T x[][n]` to `T (*x)[n]`, so both are the same parameter.
        if let [inner @ .., Derivation::Pointer { qualifiers, .. }] = derivations {
            let is_to_array = match inner.last() {
                Some(derivation) => matches!(derivation, Derivation::Array { .. }),
                None => matches!(base.resolved(), CType::Array(_)),
            };
            if is_to_array {
                extents.push(PendingExtent::Unknown);
                is_restrict = qualifiers.is_restrict;
                derivations = inner;
            }
        }
        while let [
            inner @ ..,
            Derivation::Array {
                size, qualifiers, ..
            },
        ] = derivations
        {
            is_restrict |= qualifiers.is_restrict;
            extents.push(match size {
                ArraySize::Expression(size) => PendingExtent::Expression(size),
                ArraySize::Missing | ArraySize::Star => PendingExtent::Unknown,
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
        let attributes = self.parameter_attributes(&parameter.specifiers.attributes, declarator)?;
        let mut is_sized = ctype.resolved() == &CType::Void && extents.len() == 1;
        if extents.is_empty() {
            ctype = self.measured_type(ctype, &declarator.attributes);
            if matches!(ctype.resolved(), CType::Function(_)) {
                ctype = CType::pointer(ctype, false, false);
            }
            (is_const, is_restrict) = pointer_qualifiers(&ctype);
            if let Some(counted) = &attributes.counted
                && let CType::Pointer(pointer) = ctype.resolved()
            {
                extents.push(PendingExtent::Expression(counted.extent));
                let target = pointer.target.clone();
                is_sized = counted.counts_bytes(&target);
                ctype = target;
            }
        }
        Ok(Pending {
            span: parameter.span,
            name: declarator.name,
            ctype,
            is_const,
            is_restrict,
            extents,
            is_sized,
            attributes,
        })
    }

    fn parameter(
        &mut self,
        name: String,
        pending: Pending<'_>,
        names: &Names<'_>,
    ) -> Result<Parameter> {
        let position = pending.name.unwrap_or(pending.span);
        if !pending.is_sized {
            self.check_value(&pending.ctype, false, position)?;
        }
        let extents = self.extents(pending.extents, names)?;
        let annotations = self.annotations(&pending.attributes, names)?;
        Ok(annotations.of_parameter(Parameter {
            extents,
            is_const: pending.is_const,
            is_restrict: pending.is_restrict,
            is_sized: pending.is_sized,
            ..Parameter::new(name, pending.ctype)
        }))
    }

    /// Reads the extents of a parameter.
    pub(super) fn extents(
        &mut self,
        pending: Vec<PendingExtent<'_>>,
        names: &Names<'_>,
    ) -> Result<Vec<Extent>> {
        let mut extents = Vec::with_capacity(pending.len());
        for extent in pending {
            extents.push(match extent {
                PendingExtent::Unknown => Extent::Unknown,
                PendingExtent::Length(length) => {
                    let length = i128::try_from(length).unwrap_or(i128::MAX);
                    Extent::Dynamic(Expr::Constant(length))
                }
                PendingExtent::Expression(size) => {
                    let expression = self.expression(size, names)?;
                    if matches!(expression, Expr::Constant(_)) {
                        self.extent_value(&expression, size.span)?;
                    }
                    if expression.depth() > MAX_DEPTH {
                        return Err(self.too_deep(size.span));
                    }
                    Extent::Dynamic(expression)
                }
            });
        }
        Ok(extents)
    }

    /// Returns an error for a type that can't be passed or returned.
    fn check_value(&self, ctype: &CType, is_result: bool, span: Span) -> Result<()> {
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
                Body::Complete { .. } => match record.only_by_pointer() {
                    Some(reason) => Kind::UnsupportedType {
                        ctype: text(),
                        reason: reason.into(),
                    },
                    None if ctype.alignment() != ctype.resolved().alignment() => {
                        Kind::UnsupportedType {
                            ctype: text(),
                            reason: "`aligned` changes how it is passed".into(),
                        }
                    }
                    None => return Ok(()),
                },
            },
            _ => return Ok(()),
        };
        Err(self.error(kind, span))
    }

    /// Returns the text of the string literals in an `__asm__` label.
    fn strings(&self, literals: &[Span]) -> String {
        let texts = literals.iter().map(|literal| self.text(*literal));
        texts.map(|text| text.trim_matches('"')).collect()
    }
}

/// Returns whether specifiers without a declarator define a type.
fn defines_type(specifier: &TypeSpecifier) -> bool {
    match specifier {
        TypeSpecifier::Record(record) => record.members.is_some(),
        TypeSpecifier::Enum(enumeration) => {
            enumeration.enumerators.is_some() || enumeration.underlying.is_some()
        }
        _ => false,
    }
}

fn declares_function(base: &Base, declarator: &Declarator) -> bool {
    match declarator.derivations.last() {
        Some(Derivation::Function { .. }) => true,
        Some(_) => false,
        None => matches!(base.ctype.resolved(), CType::Function(_)),
    }
}

/// Returns whether the target of a pointer is `const`, and whether the pointer is `restrict`.
fn pointer_qualifiers(ctype: &CType) -> (bool, bool) {
    match ctype.resolved() {
        CType::Pointer(pointer) => (pointer.is_const, pointer.is_restrict),
        _ => (false, false),
    }
}

/// Returns a name that no other parameter has.
fn unnamed(position: usize, named: &[(Option<String>, CType)]) -> String {
    let mut name = format!("arg{position}");
    while named.iter().any(|(known, _)| known.as_ref() == Some(&name)) {
        name.push('_');
    }
    name
}
