//! Compares a prototype with what the library's own header declares.

use crate::ctype::{Body, CType, Enum, Function, Integer, Record, VisitedPairs};
use crate::prototype::Prototype;

impl Prototype {
    /// Returns how the prototype contradicts the declaration of the same function in a header; `None` if it
    /// does not.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let header = Prototype::parse("int put(void *buffer, unsigned long n, const char *mode)")?;
    /// let good = Prototype::parse("int put(const float x[n], size_t n, const uint8_t *mode)")?;
    /// assert_eq!(good.contradiction(&header), None);
    /// let bad = Prototype::parse("int put(const float x[n], int n, const char *mode)")?;
    /// assert_eq!(
    ///     bad.contradiction(&header).unwrap(),
    ///     "its parameter `n` is `int`, not `unsigned long`",
    /// );
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    ///
    /// A prototype may say more than the header, so these are no contradictions:
    ///
    /// - other names, extents and annotations, and an array for a pointer;
    /// - a pointer to an object for `void *`, also in the parameters of a callback, and `void *` for a pointer to a
    ///   struct or to bytes;
    /// - an added `const` of what a pointer points to, and any qualifier of a parameter itself;
    /// - `char`, `signed char` and `unsigned char` for each other;
    /// - integers that are the same for the machine, such as `long` and `long long` of 8 bytes, and an integer for
    ///   an enumeration of its size;
    /// - a struct of the same members, or one that only one of the two defines.
    #[must_use]
    pub fn contradiction(&self, declared: &Self) -> Option<String> {
        let (ours, theirs) = (self.passed_types(), declared.passed_types());
        if ours.len() != theirs.len() {
            let parameters = |count: usize| match count {
                1 => "1 parameter".to_owned(),
                count => format!("{count} parameters"),
            };
            let (ours, theirs) = (parameters(ours.len()), theirs.len());
            return Some(format!("it has {ours}, not {theirs}"));
        }
        if self.is_variadic != declared.is_variadic {
            let not = if self.is_variadic { "" } else { "not " };
            return Some(format!("it is {not}variadic"));
        }
        let mut comparison = Comparison::default();
        if !comparison.agree(&self.returns, &declared.returns) {
            let (ours, theirs) = shown(&self.returns, &declared.returns);
            return Some(format!("its result is `{ours}`, not `{theirs}`"));
        }
        let types = ours.iter().zip(&theirs).zip(&self.parameters);
        { types }.find_map(|((ours, theirs), parameter)| {
            if comparison.agree(ours, theirs) {
                return None;
            }
            let (ours, theirs) = shown(ours, theirs);
            let name = &parameter.name;
            Some(format!(
                "its parameter `{name}` is `{ours}`, not `{theirs}`"
            ))
        })
    }
}

/// Returns the text of two different types, without typedef names if the texts are the same otherwise.
fn shown(ours: &CType, theirs: &CType) -> (String, String) {
    let texts = (ours.to_string(), theirs.to_string());
    if texts.0 == texts.1 {
        (ours.resolved().to_string(), theirs.resolved().to_string())
    } else {
        texts
    }
}

/// The comparison of two types, and the pairs that it has visited.
#[derive(Default)]
struct Comparison(VisitedPairs);

impl Comparison {
    fn agree(&mut self, ours: &CType, theirs: &CType) -> bool {
        match (ours.resolved(), theirs.resolved()) {
            (CType::Pointer(ours), CType::Pointer(theirs)) => {
                let is_kept = ours.is_const || !theirs.is_const;
                is_kept
                    && (!self.0.begin(ours, theirs) || self.targets(&ours.target, &theirs.target))
            }
            // An array that a pointer leads to is at the address of its first item.
            (CType::Array(ours), CType::Array(theirs)) => {
                !self.0.begin(ours, theirs) || self.agree(&ours.item, &theirs.item)
            }
            (CType::Array(ours), theirs) => self.agree(&ours.item, theirs),
            (ours, CType::Array(theirs)) => self.agree(ours, &theirs.item),
            (CType::Function(ours), CType::Function(theirs)) => {
                !self.0.begin(ours, theirs) || self.functions(ours, theirs)
            }
            (CType::Record(ours), CType::Record(theirs)) => {
                !self.0.begin(ours, theirs) || self.records(ours, theirs)
            }
            (CType::Enum(ours), CType::Enum(theirs)) => are_same_enums(ours, theirs),
            (CType::Enum(one), CType::Integer(other))
            | (CType::Integer(other), CType::Enum(one)) => one.underlying.size() == other.size(),
            (CType::Integer(ours), CType::Integer(theirs)) => are_same_integers(*ours, *theirs),
            // A type that is not read may be any.
            (CType::Unsupported(ours), CType::Unsupported(theirs)) => {
                ours.name == theirs.name || ours.layout == theirs.layout
            }
            (ours, theirs) => ours.is_same(theirs),
        }
    }

    /// Compares what two pointers point to.
    fn targets(&mut self, ours: &CType, theirs: &CType) -> bool {
        let is_object = |ctype: &CType| !matches!(ctype.resolved(), CType::Function(_));
        match (ours.resolved(), theirs.resolved()) {
            (ours, CType::Void) => is_object(ours),
            (CType::Void, CType::Record(_)) => true,
            // A buffer of bytes: `const void src[n]`.
            (CType::Void, CType::Integer(theirs)) => theirs.size() == 1,
            _ => self.agree(ours, theirs),
        }
    }

    fn functions(&mut self, ours: &Function, theirs: &Function) -> bool {
        // `()` takes any arguments.
        let is_open = |function: &Function| function.is_variadic && function.parameters.is_empty();
        if !self.agree(&ours.returns, &theirs.returns) {
            return false;
        }
        let parameters = ours.parameters.iter().zip(&theirs.parameters);
        is_open(ours)
            || is_open(theirs)
            || (ours.is_variadic == theirs.is_variadic
                && ours.parameters.len() == theirs.parameters.len()
                && { parameters }.all(|(ours, theirs)| self.agree(ours, theirs)))
    }

    fn records(&mut self, ours: &Record, theirs: &Record) -> bool {
        if ours.kind != theirs.kind {
            return false;
        }
        if ours.tag.is_some() && ours.tag == theirs.tag {
            return true;
        }
        match (&ours.body, &theirs.body) {
            (
                Body::Complete {
                    members: ours,
                    size,
                    alignment,
                    ..
                },
                Body::Complete {
                    members: theirs,
                    size: their_size,
                    alignment: their_alignment,
                    ..
                },
            ) => {
                (size, alignment) == (their_size, their_alignment)
                    && ours.len() == theirs.len()
                    && ours.iter().zip(theirs).all(|(ours, theirs)| {
                        (ours.offset, ours.bits) == (theirs.offset, theirs.bits)
                            && self.agree(&ours.ctype, &theirs.ctype)
                    })
            }
            _ => false,
        }
    }
}

fn are_same_integers(ours: Integer, theirs: Integer) -> bool {
    let is_same = (ours.size(), ours.is_signed()) == (theirs.size(), theirs.is_signed());
    is_same || ours.size() == 1 && theirs.size() == 1
}

fn are_same_enums(ours: &Enum, theirs: &Enum) -> bool {
    let have_tags = ours.tag.is_some() && theirs.tag.is_some();
    ours.underlying.size() == theirs.underlying.size() && (!have_tags || ours.tag == theirs.tag)
}
