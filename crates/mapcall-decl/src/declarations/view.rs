//! The names that a text sees: those of the header before it, and those of earlier texts.

use std::mem;
use std::sync::Arc;

use super::Shared;
use super::index::NameSpace;
use crate::ctype::CType;
use crate::ctype::scope::{Names, Outer, Scope};

/// The names that are defined before a piece of a text. Those that are looked up have been parsed.
#[derive(Debug)]
pub(super) struct View {
    pub(super) shared: Arc<Shared>,
    pub(super) limit: u32,
}

impl View {
    fn names(&self, name: &str, space: NameSpace) -> Option<&Names> {
        let defining = self.shared.defining(name, space, self.limit);
        debug_assert!(defining.is_ok(), "{name} is used and not parsed");
        Some(&defining.ok()??.names)
    }
}

impl Outer for View {
    fn typedef(&self, name: &str) -> Option<CType> {
        let names = self.names(name, NameSpace::Typedef)?;
        names.typedefs.get(name).cloned()
    }

    fn tag(&self, tag: &str) -> Option<(&'static str, CType)> {
        let names = self.names(tag, NameSpace::Tag)?;
        names.tags.get(tag).cloned()
    }

    fn enumerator(&self, name: &str) -> Option<i128> {
        let names = self.names(name, NameSpace::Enumerator)?;
        names.enumerators.get(name).copied()
    }

    fn object(&self, name: &str) -> Option<(CType, bool)> {
        let object = self.shared.object(name, self.limit);
        debug_assert!(object.is_ok(), "{name} is used and not parsed");
        object.ok()?
    }

    fn is_hidden(&self, _: &str) -> bool {
        false
    }

    fn typedef_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.shared.index.names(NameSpace::Typedef, self.limit))
    }
}

/// The typedefs, structs, unions and enums that texts of prototypes have defined.
///
/// ```
/// use mapcall_decl::Declarations;
/// use mapcall_decl::declarations::Definitions;
///
/// let header = Declarations::default();
/// let text = "typedef struct { float x, y; } point; void move(point *p);";
/// let (_, definitions) = header.prototype_after(text, &Definitions::default())?;
/// assert_eq!(definitions.structure("point").unwrap().size(), Some(8));
/// # Ok::<(), mapcall_decl::PrototypeError>(())
/// ```
///
/// Only the most recent names are kept, at least 4096 of them, so that a program which parses ever new
/// prototypes does not run out of memory.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    recent: Arc<Names>,
    older: Arc<Names>,
}

impl Definitions {
    /// The minimum number of names that are kept.
    const MIN_NAMES: usize = 4096;

    pub(super) fn of(names: Names) -> Self {
        Self {
            recent: Arc::new(names),
            older: Arc::default(),
        }
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recent.len() + self.older.len() == 0
    }

    /// Adds the definitions of a later text, which replace earlier ones of the same names.
    pub fn extend(&mut self, later: Self) {
        if self.recent.len() + later.recent.len() > Self::MIN_NAMES {
            self.older = mem::take(&mut self.recent);
        }
        let later = Arc::unwrap_or_clone(later.recent);
        let recent = Arc::make_mut(&mut self.recent);
        recent.typedefs.extend(later.typedefs);
        recent.tags.extend(later.tags);
        recent.enumerators.extend(later.enumerators);
    }

    /// Returns the struct or union of a tag or typedef name.
    #[must_use]
    pub fn structure(&self, name: &str) -> Option<CType> {
        Scope::within(Some(Arc::new(self.clone()))).structure(name)
    }

    /// Returns the scope of a text that sees these definitions and a header.
    pub(super) fn before(self, header: Arc<dyn Outer>) -> impl Outer {
        Layered {
            definitions: self,
            header,
        }
    }

    fn find<T>(&self, find: impl Fn(&Names) -> Option<T>) -> Option<T> {
        find(&self.recent).or_else(|| find(&self.older))
    }
}

impl Outer for Definitions {
    fn typedef(&self, name: &str) -> Option<CType> {
        self.find(|names| names.typedefs.get(name).cloned())
    }

    fn tag(&self, tag: &str) -> Option<(&'static str, CType)> {
        self.find(|names| names.tags.get(tag).cloned())
    }

    fn enumerator(&self, name: &str) -> Option<i128> {
        self.find(|names| names.enumerators.get(name).copied())
    }

    fn is_hidden(&self, name: &str) -> bool {
        let is_known = |names: &Names| {
            let is_type = names.typedefs.contains_key(name) || names.tags.contains_key(name);
            (is_type || names.enumerators.contains_key(name)).then_some(())
        };
        self.find(is_known).is_some()
    }

    fn typedef_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        let names = self
            .recent
            .typedefs
            .keys()
            .chain(self.older.typedefs.keys());
        Box::new(names.map(String::as_str))
    }
}

/// The definitions of earlier texts over those of a header.
#[derive(Debug)]
struct Layered {
    definitions: Definitions,
    header: Arc<dyn Outer>,
}

impl Outer for Layered {
    fn typedef(&self, name: &str) -> Option<CType> {
        let header = || self.header.typedef(name);
        self.definitions.typedef(name).or_else(header)
    }

    fn tag(&self, tag: &str) -> Option<(&'static str, CType)> {
        self.definitions.tag(tag).or_else(|| self.header.tag(tag))
    }

    fn enumerator(&self, name: &str) -> Option<i128> {
        let header = || self.header.enumerator(name);
        self.definitions.enumerator(name).or_else(header)
    }

    fn object(&self, name: &str) -> Option<(CType, bool)> {
        self.header.object(name)
    }

    /// A text may define again what an earlier text has defined, unless the header has.
    fn is_hidden(&self, name: &str) -> bool {
        self.definitions.is_hidden(name)
            && self.header.typedef(name).is_none()
            && self.header.tag(name).is_none()
            && self.header.enumerator(name).is_none()
    }

    fn typedef_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        let definitions = self.definitions.typedef_names();
        Box::new(definitions.chain(self.header.typedef_names()))
    }
}
