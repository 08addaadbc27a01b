//! Applies the steps of a declarator to a type.

use super::{Reader, Result};
use crate::ctype::CType;
use crate::error::PrototypeErrorKind as Kind;
use crate::syntax::ast::{ArraySize, Derivation, Parameters};
use crate::syntax::parser::MAX_DEPTH;

impl Reader<'_> {
    /// Applies the steps to a type; returns the resulting type, and whether it is `const`.
    pub(super) fn derived(
        &mut self,
        base: CType,
        is_const: bool,
        derivations: &[Derivation],
    ) -> Result<(CType, bool)> {
        let mut ctype = base;
        let mut is_const = is_const || is_const_typedef(&ctype);
        for derivation in derivations {
            match derivation {
                Derivation::Pointer { qualifiers, .. } => {
                    ctype = CType::pointer(ctype, is_const, qualifiers.is_restrict);
                    is_const = qualifiers.is_const;
                }
                Derivation::Array { size, span, .. } => {
                    if matches!(ctype.resolved(), CType::Function(_)) {
                        let what = "arrays of functions";
                        return Err(self.error(Kind::Impossible { what }, *span));
                    }
                    let length = match size {
                        ArraySize::Expression(size) => Some(self.constant_extent(size)?),
                        ArraySize::Missing | ArraySize::Star => None,
                    };
                    ctype = CType::array(ctype, length);
                }
                Derivation::Function {
                    parameters, span, ..
                } => {
                    let what = match ctype.resolved() {
                        CType::Array(_) => Some("functions that return arrays"),
                        CType::Function(_) => Some("functions that return functions"),
                        _ => None,
                    };
                    if let Some(what) = what {
                        return Err(self.error(Kind::Impossible { what }, *span));
                    }
                    let (parameters, is_variadic) = self.parameter_types(parameters)?;
                    ctype = CType::function(ctype, parameters, is_variadic);
                    is_const = false;
                }
            }
            if ctype.depth() > MAX_DEPTH {
                return Err(self.too_deep_here());
            }
        }
        Ok((ctype, is_const))
    }

    /// Returns the parameter types of a function type.
    fn parameter_types(&mut self, parameters: &Parameters) -> Result<(Vec<CType>, bool)> {
        let list = &parameters.list;
        let mut types = Vec::with_capacity(list.len());
        for parameter in list {
            let base = self.base(&parameter.specifiers)?;
            let derivations = &parameter.declarator.derivations[..];
            let (ctype, is_const) = match derivations {
                // In a function type, extents over other parameters have no effect.
                [inner @ .., Derivation::Array { qualifiers, .. }] => {
                    let (item, is_const) = self.derived(base.ctype, base.is_const, inner)?;
                    (
                        CType::pointer(item, is_const, qualifiers.is_restrict),
                        false,
                    )
                }
                _ => self.derived(base.ctype, base.is_const, derivations)?,
            };
            if ctype == CType::Void && list.len() == 1 && parameters.ellipsis.is_none() {
                continue;
            }
            types.push(match ctype.resolved() {
                CType::Array(array) => CType::pointer(array.item.clone(), is_const, false),
                CType::Function(_) => CType::pointer(ctype, false, false),
                _ => ctype,
            });
        }
        // `()` gives no types; a pointer to such a function may point to any function.
        let is_variadic = parameters.ellipsis.is_some() || list.is_empty();
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
