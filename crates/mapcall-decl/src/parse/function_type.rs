//! Reads the parameters of function types, with the extents of their arrays.

use std::sync::Arc;

use super::expression::Names;
use super::function::Pending;
use super::{Reader, Result};
use crate::ctype::{CType, Function, FunctionParameter};
use crate::error::PrototypeErrorKind as Kind;
use crate::extent::{Expr, Extent};
use crate::syntax::ast::{Attribute, Derivation, ParameterDeclaration, Parameters};

/// The types of parameters, and their declarations if these say more.
pub(super) type ParameterTypes = (Vec<CType>, Option<Arc<[FunctionParameter]>>);

impl Reader<'_> {
    /// Reads parameters while their names are known as those of an enclosing function.
    pub(super) fn within<R>(
        &mut self,
        parameters: &Parameters,
        read: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        let before = self.enclosing.len();
        let names = parameters.list.iter();
        let names = names.filter_map(|parameter| parameter.declarator.name);
        self.enclosing.extend(names);
        let read = read(self);
        self.enclosing.truncate(before);
        read
    }

    /// Returns the parameter types of a function type, and whether it is variadic.
    pub(super) fn parameter_types(
        &mut self,
        parameters: &Parameters,
        attributes: &[Attribute],
    ) -> Result<(ParameterTypes, bool)> {
        let list = &parameters.list;
        let pending = self.within(parameters, |reader| {
            let pending = list.iter().map(|parameter| reader.pending(parameter));
            pending.collect::<Result<Vec<_>>>()
        })?;
        let is_void = |only: &Pending<'_>| {
            only.ctype == CType::Void && only.extents.is_empty() && parameters.ellipsis.is_none()
        };
        // `()` gives no types; a pointer to such a function may point to any function.
        let is_variadic = parameters.ellipsis.is_some() || list.is_empty();
        if matches!(&pending[..], [only] if is_void(only)) {
            return Ok(((Vec::new(), None), is_variadic));
        }
        let named: Vec<_> = pending.iter().map(|pending| self.named(pending)).collect();
        let names = Names {
            function: "the function pointer",
            parameters: &named,
        };
        let mut types = Vec::with_capacity(list.len());
        let mut declared = Vec::with_capacity(list.len());
        for (parameter, pending) in list.iter().zip(pending) {
            let annotations = self.annotations(&pending.attributes, &names)?;
            let (ctype, parameter) = self.parameter_type(parameter, pending, &names)?;
            types.push(ctype);
            declared.push(annotations.of_function_parameter(parameter));
        }
        self.measure(&mut declared, &types, attributes);
        Ok(((types, FunctionParameter::list(declared)), is_variadic))
    }

    /// Returns the name of a parameter, and its type as far as extents that name it need it.
    fn named(&self, pending: &Pending<'_>) -> (Option<String>, CType) {
        let name = pending.name.map(|name| self.text(name).to_owned());
        let ctype = pending.ctype.clone();
        if pending.extents.is_empty() {
            (name, ctype)
        } else {
            (name, CType::pointer(ctype, pending.is_const, false))
        }
    }

    /// Returns the type that is passed for a parameter, and its declaration without annotations.
    fn parameter_type(
        &mut self,
        parameter: &ParameterDeclaration,
        pending: Pending<'_>,
        names: &Names<'_>,
    ) -> Result<(CType, FunctionParameter)> {
        let name = pending.name.map(|name| self.text(name).to_owned());
        let scalar = |ctype: &CType| FunctionParameter::new(name.clone(), ctype.clone());
        if pending.extents.is_empty() {
            let declared = scalar(&pending.ctype);
            return Ok((pending.ctype, declared));
        }
        let derivations = &parameter.declarator.derivations;
        let is_pointer = matches!(derivations.last(), Some(Derivation::Pointer { .. }));
        if is_pointer && pending.attributes.counted.is_none() {
            // A pointer to an array, whose outermost extent is unknown.
            let base = self.base(&parameter.specifiers)?;
            let (ctype, _) = self.derived(base.ctype, base.is_const, derivations)?;
            let declared = scalar(&ctype);
            return Ok((ctype, declared));
        }
        let (item, is_const, is_restrict) = (pending.ctype, pending.is_const, pending.is_restrict);
        let extents = match self.extents(pending.extents, names) {
            Err(error) if self.is_enclosing(&error.kind) => Vec::new(),
            extents => extents?,
        };
        let mut target = item.clone();
        for extent in extents.iter().skip(1).rev() {
            target = match (extent, extent.constant()) {
                (Extent::Unknown, _) => CType::array(target, None),
                (_, Some(length)) => CType::array(target, Some(length)),
                // An array of variable length is passed as a pointer to its elements.
                (_, None) => target,
            };
        }
        let is_known = !extents.contains(&Extent::Unknown);
        let declared = FunctionParameter {
            extents: if is_known { extents } else { Vec::new() },
            is_sized: pending.is_sized,
            ..FunctionParameter::new(name, item)
        };
        Ok((CType::pointer(target, is_const, is_restrict), declared))
    }

    /// Returns whether an error is that of an extent which names a parameter of an enclosing function.
    fn is_enclosing(&self, kind: &Kind) -> bool {
        let Kind::UnknownParameter { name, .. } = kind else {
            return false;
        };
        { self.enclosing.iter() }.any(|known| self.text(*known) == name.as_str())
    }

    /// Returns a type of functions, or of pointers to functions, with the extents that attributes behind its
    /// declarator give the parameters; any other type is returned as it is.
    pub(super) fn measured_type(&mut self, ctype: CType, attributes: &[Attribute]) -> CType {
        let measured = match &ctype {
            CType::Function(function) => self.measured_function(function, attributes),
            CType::Pointer(pointer) => match &pointer.target {
                CType::Function(function) => self
                    .measured_function(function, attributes)
                    .map(|target| CType::pointer(target, pointer.is_const, pointer.is_restrict)),
                _ => None,
            },
            _ => None,
        };
        measured.unwrap_or(ctype)
    }

    /// Returns a function type with the extents of attributes; `None` if there are none.
    fn measured_function(
        &mut self,
        function: &Function,
        attributes: &[Attribute],
    ) -> Option<CType> {
        let types = &function.parameters;
        let mut declared = if let Some(declared) = &function.declared {
            declared.to_vec()
        } else {
            let unnamed = |ctype: &CType| FunctionParameter::new(None, ctype.clone());
            types.iter().map(unnamed).collect()
        };
        self.measure(&mut declared, types, attributes);
        let declared = FunctionParameter::list(declared)?;
        let parameters = (types.clone(), Some(declared));
        let returns = function.returns.clone();
        Some(CType::function(returns, parameters, function.is_variadic))
    }

    /// Gives pointers the extents that GNU's attribute `access` says they have.
    fn measure(
        &mut self,
        declared: &mut [FunctionParameter],
        types: &[CType],
        attributes: &[Attribute],
    ) {
        for (pointer, size) in self.measured(attributes) {
            let is_integer = types
                .get(size)
                .is_some_and(|ctype| ctype.integer().is_some());
            let Some(measuring) = declared.get_mut(size).filter(|_| is_integer) else {
                continue;
            };
            let name = { &mut measuring.name }.get_or_insert_with(|| format!("arg{size}"));
            let name = name.as_str().into();
            let (Some(parameter), Some(CType::Pointer(target))) = (
                declared.get_mut(pointer),
                types.get(pointer).map(CType::resolved),
            ) else {
                continue;
            };
            let is_void = target.target.resolved() == &CType::Void;
            if parameter.extents.is_empty() && (is_void || target.target.size().is_some()) {
                parameter.item = target.target.clone();
                parameter.is_sized = is_void;
                parameter.extents = vec![Extent::Dynamic(Expr::Parameter { index: size, name })];
            }
        }
    }
}
