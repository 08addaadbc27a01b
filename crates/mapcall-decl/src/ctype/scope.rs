//! The names at file scope.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::{Body, CType, standard};

/// The typedefs, tags and enumerators of a text, and those of an enclosing header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    typedefs: HashMap<String, CType>,
    tags: HashMap<String, (&'static str, CType)>,
    enumerators: HashMap<String, i128>,
    outer: Option<Arc<Scope>>,
}

/// The error for a name that is already defined with another meaning.
pub(crate) struct Conflict;

impl Scope {
    /// Returns an empty scope inside another one, whose names are visible.
    pub(crate) fn within(outer: Arc<Self>) -> Self {
        Self {
            outer: Some(outer),
            ..Self::default()
        }
    }

    /// Returns the type of a typedef name, which may be defined in a scope or standard.
    pub(crate) fn typedef(&self, name: &str) -> Option<CType> {
        match self.own_typedef(name) {
            Some(ctype) => Some(self.completed(ctype).unwrap_or_else(|| ctype.clone())),
            None => standard::lookup(name),
        }
    }

    /// Returns whether a name is a typedef name.
    pub(crate) fn is_type(&self, name: &str) -> bool {
        self.own_typedef(name).is_some() || standard::is_known(name)
    }

    fn own_typedef(&self, name: &str) -> Option<&CType> {
        let outer = || self.outer.as_ref()?.own_typedef(name);
        self.typedefs.get(name).or_else(outer)
    }

    /// Returns the type of a tag of the given kind.
    pub(crate) fn tag(&self, keyword: &str, tag: &str) -> Option<CType> {
        let (kind, ctype) = self.own_tag(tag)?;
        (*kind == keyword).then(|| ctype.clone())
    }

    fn own_tag(&self, tag: &str) -> Option<&(&'static str, CType)> {
        let outer = || self.outer.as_ref()?.own_tag(tag);
        self.tags.get(tag).or_else(outer)
    }

    pub(crate) fn enumerator(&self, name: &str) -> Option<i128> {
        let outer = || self.outer.as_ref()?.enumerator(name);
        self.enumerators.get(name).copied().or_else(outer)
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
                Some(CType::typedef(&typedef.name, ctype, typedef.is_const))
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

    pub(crate) fn define_tag(
        &mut self,
        keyword: &'static str,
        tag: &str,
        ctype: &CType,
    ) -> Result<(), Conflict> {
        match self.own_tag(tag) {
            Some((kind, known)) if *kind != keyword || known != ctype => Err(Conflict),
            Some(_) => Ok(()),
            None => {
                self.tags.insert(tag.into(), (keyword, ctype.clone()));
                Ok(())
            }
        }
    }

    pub(crate) fn define_typedef(&mut self, name: &str, ctype: CType) -> Result<(), Conflict> {
        let differs = self.own_typedef(name).is_some_and(|known| {
            match (known, &ctype) {
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
        self.typedefs.insert(name.into(), ctype);
        Ok(())
    }

    /// Stores the reason why a typedef could not be parsed.
    pub(crate) fn define_unsupported(&mut self, name: &str, reason: String) {
        let ctype = CType::unsupported(name, reason);
        self.typedefs.insert(name.into(), ctype);
    }

    pub(crate) fn define_enumerator(&mut self, name: &str, value: i128) -> Result<(), Conflict> {
        let outer = self.outer.as_ref();
        if outer.is_some_and(|outer| outer.enumerator(name).is_some_and(|known| known != value)) {
            return Err(Conflict);
        }
        match self.enumerators.entry(name.into()) {
            Entry::Occupied(known) if *known.get() != value => Err(Conflict),
            entry => {
                entry.insert_entry(value);
                Ok(())
            }
        }
    }

    /// Returns the names of typedefs, for suggestions.
    pub(crate) fn typedef_names(&self) -> impl Iterator<Item = &str> {
        let outer = self.outer.iter().flat_map(|outer| outer.typedefs.keys());
        self.typedefs.keys().chain(outer).map(String::as_str)
    }

    /// Returns the defined structs and unions, by tag and by typedef name.
    pub(crate) fn structs(&self) -> HashMap<String, CType> {
        let is_defined = |ctype: &CType| match ctype.resolved() {
            CType::Record(record) => record.body != Body::Incomplete,
            _ => false,
        };
        let tags = self
            .tags
            .iter()
            .map(|(name, (_, ctype))| (name, ctype.clone()));
        let typedefs = self
            .typedefs
            .keys()
            .filter_map(|name| Some((name, self.typedef(name)?)));
        // A tag is preferred to a typedef of the same name, which is nearly always the same type.
        typedefs
            .chain(tags)
            .filter(|(_, ctype)| is_defined(ctype))
            .map(|(name, ctype)| (name.clone(), ctype))
            .collect()
    }
}
