//! Applies the steps of a declarator to a type.

use super::{Reader, Result};
use crate::ctype::CType;
use crate::error::PrototypeErrorKind as Kind;
use crate::syntax::ast::{ArraySize, Derivation};
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
                    parameters,
                    span,
                    attributes,
                } => {
                    let what = match ctype.resolved() {
                        CType::Array(_) => Some("functions that return arrays"),
                        CType::Function(_) => Some("functions that return functions"),
                        _ => None,
                    };
                    if let Some(what) = what {
                        return Err(self.error(Kind::Impossible { what }, *span));
                    }
                    let (parameters, is_variadic) = self.parameter_types(parameters, attributes)?;
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
