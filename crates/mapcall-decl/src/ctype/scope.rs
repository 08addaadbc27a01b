//! The names at file scope.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Debug;
use std::sync::Arc;

use super::compare::are_same_definitions;
use super::{Body, CType, standard};

/// The typedefs, tags and enumerators of a text, and those that are defined outside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    names: Names,
    outer: Option<Arc<dyn Outer>>,
}

/// The typedefs, tags and enumerators that a text defines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) typedefs: HashMap<String, CType>,
    pub(crate) tags: HashMap<String, (&'static str, CType)>,
    pub(crate) enumerators: HashMap<String, i128>,
}

impl Names {
    pub(crate) fn len(&self) -> usize {
        self.typedefs.len() + self.tags.len() + self.enumerators.len()
    }
}

/// The names that are defined outside a text and visible in it.
pub(crate) trait Outer: Debug + Send + Sync {
    /// Returns the type of a typedef name, as it was defined.
    fn typedef(&self, name: &str) -> Option<CType>;

    /// Returns the type of a tag, and its keyword.
    fn tag(&self, tag: &str) -> Option<(&'static str, CType)>;

    /// Returns the value of an enumerator.
    fn enumerator(&self, name: &str) -> Option<i128>;

    /// Returns the type of a variable or function, and whether a variable is `const`.
    fn object(&self, _name: &str) -> Option<(CType, bool)> {
        None
    }

    /// Returns whether the text may define the name with another meaning.
    fn is_hidden(&self, name: &str) -> bool;

    /// Returns the names of typedefs, for suggestions.
    fn typedef_names(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

/// The error for a name that is already defined with another meaning.
pub(crate) struct Conflict;

/// Returns whether the definition of an enumeration completes its declaration with a type: `enum e : short;`.
fn is_completed(declared: &CType, defined: &CType) -> bool {
    match (declared, defined) {
        (CType::Enum(declared), CType::Enum(defined)) => {
            declared.is_fixed
                && declared.enumerators.is_empty()
                && defined.is_fixed
                && declared.underlying == defined.underlying
        }
        _ => false,
    }
}

impl Scope {
    /// Returns an empty scope inside another one, whose names are visible.
    pub(crate) fn within(outer: Option<Arc<dyn Outer>>) -> Self {
        Self {
            names: Names::default(),
            outer,
        }
    }

    /// Returns the names that have been defined in this scope.
    pub(crate) fn into_names(self) -> Names {
        self.names
    }

    /// Returns the type of a typedef name, which may be defined in a scope or standard.
    pub(crate) fn typedef(&self, name: &str) -> Option<CType> {
        match self.defined_typedef(name) {
            Some(ctype) => Some(self.completed(&ctype).unwrap_or(ctype)),
            None => standard::lookup(name),
        }
    }

    fn defined_typedef(&self, name: &str) -> Option<CType> {
        let outer = || self.outer.as_ref()?.typedef(name);
        self.names.typedefs.get(name).cloned().or_else(outer)
    }

    /// Returns whether a name is a typedef name.
    pub(crate) fn is_type(&self, name: &str) -> bool {
        self.defined_typedef(name).is_some() || standard::is_known(name)
    }

    /// Returns the type of a tag of the given kind.
    pub(crate) fn tag(&self, keyword: &str, tag: &str) -> Option<CType> {
        let (kind, ctype) = self.defined_tag(tag)?;
        (kind == keyword).then_some(ctype)
    }

    fn defined_tag(&self, tag: &str) -> Option<(&'static str, CType)> {
        let outer = || self.outer.as_ref()?.tag(tag);
        self.names.tags.get(tag).cloned().or_else(outer)
    }

    pub(crate) fn enumerator(&self, name: &str) -> Option<i128> {
        let outer = || self.outer.as_ref()?.enumerator(name);
        self.names.enumerators.get(name).copied().or_else(outer)
    }

    /// Returns the type of a variable or function that is declared outside this scope, and whether a variable is
    /// `const`.
    pub(crate) fn outer_object(&self, name: &str) -> Option<(CType, bool)> {
        self.outer.as_ref()?.object(name)
    }

    /// Returns whether a definition of the name in this scope hides one outside it.
    fn hides(&self, name: &str) -> bool {
        self.outer
            .as_ref()
            .is_some_and(|outer| outer.is_hidden(name))
    }

    /// Returns the type with structs that have been defined since it was parsed; `None` if nothing has
    /// changed.
    fn completed(&self, ctype: &CType) -> Option<CType> {
        match ctype {
            CType::Record(record) if record.body == Body::Incomplete => {
                self.tag(record.kind.keyword(), record.tag.as_deref()?)
            }
            CType::Typedef(typedef) => {
                let ctype = self.completed(&typedef.ctype)?;
                let ctype = CType::typedef(&typedef.name, ctype, typedef.is_const);
                Some(match typedef.alignment {
                    Some(alignment) => ctype.aligned_typedef(alignment),
                    None => ctype,
                })
            }
            CType::Pointer(pointer) => {
                let target = self.completed(&pointer.target)?;
                Some(CType::pointer(
                    target,
                    pointer.is_const,
                    pointer.is_restrict,
                ))
            }
            _ => None,
        }
    }

    /// Defines a tag. Returns its type: that of an earlier definition if it says the same, since types of which each
    /// had pointers to the one before would nest ever deeper.
    pub(crate) fn define_tag(
        &mut self,
        keyword: &'static str,
        tag: &str,
        ctype: CType,
    ) -> Result<CType, Conflict> {
        let ctype = match self.defined_tag(tag) {
            Some((kind, known)) if kind == keyword && are_same_definitions(&known, &ctype) => known,
            Some((kind, known))
                if !(kind == keyword && is_completed(&known, &ctype))
                    && (self.names.tags.contains_key(tag) || !self.hides(tag)) =>
            {
                return Err(Conflict);
            }
            _ => ctype,
        };
        let defined = (keyword, ctype.clone());
        self.names.tags.insert(tag.into(), defined);
        Ok(ctype)
    }

    pub(crate) fn define_typedef(&mut self, name: &str, ctype: CType) -> Result<(), Conflict> {
        let known = match self.names.typedefs.get(name) {
            None if self.hides(name) => None,
            _ => self.defined_typedef(name),
        };
        let differs = known.is_some_and(|known| {
            match (&known, &ctype) {
                // A struct may have been completed in between; its text is the same.
                (CType::Typedef(known), CType::Typedef(ctype)) => {
                    let (known, ctype) = (&known.ctype, &ctype.ctype);
                    let sizes = known.size().zip(ctype.size());
                    known.to_string() != ctype.to_string()
                        || sizes.is_some_and(|(known, size)| known != size)
                }
                _ => false,
            }
        });
        if differs {
            return Err(Conflict);
        }
        self.names.typedefs.insert(name.into(), ctype);
        Ok(())
    }

    /// Stores the reason why a typedef could not be parsed.
    pub(crate) fn define_unsupported(&mut self, name: &str, reason: String) {
        let ctype = CType::unsupported(name, reason);
        self.names.typedefs.insert(name.into(), ctype);
    }

    pub(crate) fn define_enumerator(&mut self, name: &str, value: i128) -> Result<(), Conflict> {
        let known = match self.names.enumerators.entry(name.into()) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(_) => {
                let outer = self.outer.as_ref().filter(|outer| !outer.is_hidden(name));
                outer.and_then(|outer| outer.enumerator(name))
            }
        };
        if known.is_some_and(|known| known != value) {
            return Err(Conflict);
        }
        self.names.enumerators.insert(name.into(), value);
        Ok(())
    }

    /// Returns the names of typedefs, for suggestions.
    pub(crate) fn typedef_names(&self) -> impl Iterator<Item = &str> {
        let outer = self.outer.iter().flat_map(|outer| outer.typedef_names());
        self.names.typedefs.keys().map(String::as_str).chain(outer)
    }

    /// Returns the structs and unions that are defined in this scope, by tag and by typedef name.
    #[cfg(test)]
    pub(crate) fn structs(&self) -> HashMap<String, CType> {
        let tags = self
            .names
            .tags
            .iter()
            .map(|(name, (_, ctype))| (name, ctype.clone()));
        let typedefs = self
            .names
            .typedefs
            .keys()
            .filter_map(|name| Some((name, self.typedef(name)?)));
        // A tag is preferred to a typedef of the same name, which is nearly always the same type.
        typedefs
            .chain(tags)
            .filter(|(_, ctype)| is_complete_record(ctype))
            .map(|(name, ctype)| (name.clone(), ctype))
            .collect()
    }

    /// Returns the struct or union of a tag or typedef name, if it is defined.
    pub(crate) fn structure(&self, name: &str) -> Option<CType> {
        let tag = self.defined_tag(name).map(|(_, ctype)| ctype);
        tag.filter(is_complete_record)
            .or_else(|| self.typedef(name).filter(is_complete_record))
    }
}

fn is_complete_record(ctype: &CType) -> bool {
    match ctype.resolved() {
        CType::Record(record) => record.body != Body::Incomplete,
        _ => false,
    }
}

/// Returns the tag of a struct or union that a type needs to be complete, as
/// [`completed`](Scope::completed) looks it up.
pub(crate) fn incomplete_tag(ctype: &CType) -> Option<&str> {
    match ctype {
        CType::Record(record) if record.body == Body::Incomplete => record.tag.as_deref(),
        CType::Typedef(typedef) => incomplete_tag(&typedef.ctype),
        CType::Pointer(pointer) => incomplete_tag(&pointer.target),
        _ => None,
    }
}
