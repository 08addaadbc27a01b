//! Structs and unions, with the layout that C compilers give them.

use mapcall_array::DType;
use mapcall_array::dtype::Field;

use super::bit_field::{self, BitField, Part, Storage, StoredBits};
use super::{CType, NoDType};

/// `struct` or `union`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// `struct`: the members follow each other.
    Struct,
    /// `union`: all members have offset 0.
    Union,
}

impl RecordKind {
    /// Returns the keyword.
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Struct => "struct",
            Self::Union => "union",
        }
    }
}

/// A `struct` or `union`.
///
/// ```
/// use mapcall_decl::ctype::{Body, CType};
/// use mapcall_decl::Declarations;
///
/// let header = Declarations::parse("struct pair { char kind; long value; };");
/// let CType::Record(pair) = &header.structs()["pair"] else { panic!() };
/// let Body::Complete { members, size, .. } = &pair.body else { panic!() };
/// assert_eq!((members[1].name.as_deref(), members[1].offset), (Some("value"), align_of::<u64>()));
/// assert_eq!(*size, 16);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether it is a struct or a union.
    pub kind: RecordKind,
    /// The name behind the keyword.
    pub tag: Option<String>,
    /// The members, if they are known.
    pub body: Body,
    pub(super) depth: usize,
    /// The number of members, including those of nested records.
    members: usize,
    /// The reason why it can't be passed by value, though its layout is known.
    only_by_pointer: Option<String>,
    /// The dtype, computed once, as recomputing those of shared members could take exponential time.
    dtype: Result<DType, NoDType>,
}

/// The members of a record, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// The record is declared, but not defined; only pointers to it are possible.
    Incomplete,
    /// The record is defined, and its layout is known.
    Complete {
        /// The members, in the order of their definition.
        members: Vec<Member>,
        /// `sizeof`, in bytes.
        size: usize,
        /// `_Alignof`, in bytes.
        alignment: usize,
        /// Whether members may have offsets that are not multiples of their alignment, because of `packed`.
        is_packed: bool,
    },
    /// The record is defined, but its layout is not known.
    Unsupported {
        /// The reason.
        reason: String,
    },
}

/// A member of a struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The name; `None` for an unnamed struct or union.
    pub name: Option<String>,
    /// The type.
    pub ctype: CType,
    /// The offset in bytes from the start of the record; of a bit-field, that of the byte with its first bit.
    pub offset: usize,
    /// The bits of a bit-field.
    pub bits: Option<BitField>,
}

impl Record {
    pub(crate) fn new(kind: RecordKind, tag: Option<String>, body: Body) -> Self {
        let depth = match &body {
            Body::Complete { members, .. } => members.iter().map(|m| m.ctype.depth()).max(),
            _ => None,
        };
        let members = match &body {
            Body::Complete { members, .. } => {
                members.iter().map(|m| 1 + all_members(&m.ctype)).sum()
            }
            _ => 0,
        };
        let only_by_pointer = match &body {
            Body::Complete { members, .. } => members.iter().find_map(only_by_pointer),
            _ => None,
        };
        let dtype = dtype(kind, tag.as_deref(), &body);
        Self {
            kind,
            tag,
            body,
            depth: depth.unwrap_or(0) + 1,
            members,
            only_by_pointer,
            dtype,
        }
    }

    /// Returns the reason why a record can't be passed by value, though its layout is known.
    ///
    /// ```
    /// use mapcall_decl::ctype::CType;
    /// use mapcall_decl::Declarations;
    ///
    /// let header = Declarations::parse("struct wide { __int128 n; };");
    /// let CType::Record(wide) = &header.structs()["wide"] else { panic!() };
    /// assert_eq!(wide.only_by_pointer(), Some("its member `n` is of type `__int128`"));
    /// ```
    #[must_use]
    pub fn only_by_pointer(&self) -> Option<&str> {
        self.only_by_pointer.as_deref()
    }

    pub(super) fn dtype(&self) -> Result<DType, NoDType> {
        self.dtype.clone()
    }

    /// Returns a bit-field, which may be one of an unnamed struct or union in the record.
    #[must_use]
    pub fn bit_field(&self, name: &str) -> Option<StoredBits> {
        let Body::Complete { members, size, .. } = &self.body else {
            return None;
        };
        let storages = storage(self.kind, members, *size);
        let own = storages.iter().find_map(|storage| storage.find(name));
        own.or_else(|| {
            let unnamed = members.iter().filter(|member| member.name.is_none());
            { unnamed }.find_map(|member| match member.ctype.resolved() {
                CType::Record(record) => record.bit_field(name),
                _ => None,
            })
        })
    }

    /// Returns the named members, with their types, their offsets in bytes, and the bits of bit-fields. The
    /// members of unnamed structs and unions are among them.
    ///
    /// ```
    /// use mapcall_decl::{CType, Declarations};
    ///
    /// let header = Declarations::parse("struct s { char c; union { int n; float x; }; };");
    /// let CType::Record(record) = &header.structs()["s"] else { panic!() };
    /// let members = record.named_members();
    /// let members: Vec<_> = members.iter().map(|(name, _, offset, _)| (*name, *offset)).collect();
    /// assert_eq!(members, [("c", 0), ("n", 4), ("x", 4)]);
    /// ```
    #[must_use]
    pub fn named_members(&self) -> Vec<(&str, &CType, usize, Option<BitField>)> {
        let Body::Complete { members, .. } = &self.body else {
            return Vec::new();
        };
        let mut all = Vec::with_capacity(members.len());
        for member in members {
            match (&member.name, member.ctype.resolved()) {
                (Some(name), _) => {
                    all.push((name.as_str(), &member.ctype, member.offset, member.bits));
                }
                (None, CType::Record(inner)) => {
                    let inner = inner.named_members().into_iter();
                    all.extend(
                        inner
                            .map(|(name, ctype, at, bits)| (name, ctype, member.offset + at, bits)),
                    );
                }
                (None, _) => {}
            }
        }
        all
    }
}

/// Returns the reason why a record with a member can't be passed by value.
fn only_by_pointer(member: &Member) -> Option<String> {
    let mut ctype = member.ctype.resolved();
    while let CType::Array(array) = ctype {
        ctype = array.item.resolved();
    }
    match ctype {
        CType::Record(record) => record.only_by_pointer.clone(),
        CType::Unsupported(_) => {
            let name = member.name.as_deref().unwrap_or_default();
            Some(format!("its member `{name}` is of type `{}`", member.ctype))
        }
        _ => None,
    }
}

/// Returns the number of members in a value of a type.
pub(super) fn all_members(ctype: &CType) -> usize {
    let mut ctype = ctype.resolved();
    while let CType::Array(array) = ctype {
        ctype = array.item.resolved();
    }
    match ctype {
        CType::Record(record) => record.members,
        _ => 0,
    }
}

/// Returns the storage of the bit-fields of a record.
fn storage(kind: RecordKind, members: &[Member], size: usize) -> Vec<Storage<'_>> {
    let parts = members.iter().map(|member| Part {
        name: member.name.as_deref(),
        ctype: &member.ctype,
        offset: member.offset,
        bits: member.bits,
    });
    bit_field::storage(kind == RecordKind::Union, &parts.collect::<Vec<_>>(), size)
}

fn dtype(kind: RecordKind, tag: Option<&str>, body: &Body) -> Result<DType, NoDType> {
    let fail = |reason: String| NoDType {
        ctype: format!("{} {}", kind.keyword(), tag.unwrap_or("{...}")),
        reason,
    };
    let (members, size, is_packed) = match body {
        Body::Incomplete => return Err(fail("its members are not known".into())),
        Body::Unsupported { reason } => return Err(fail(reason.clone())),
        Body::Complete {
            members,
            size,
            is_packed,
            ..
        } => (members, *size, *is_packed),
    };
    let mut fields = Vec::with_capacity(members.len());
    let mut storages = storage(kind, members, size).into_iter().peekable();
    for (index, member) in members.iter().enumerate() {
        if member.bits.is_some() {
            // The field of bit-fields that share storage stands in the place of the first one.
            let own = storages.next_if(|storage| storage.first == index);
            fields.extend(own.and_then(|storage| storage.field()));
            continue;
        }
        if matches!(member.ctype.resolved(), CType::Array(array) if array.length.is_none()) {
            return Err(fail("it ends in an array without a length".into()));
        }
        let dtype = member.ctype.member_dtype()?;
        match (&member.name, dtype.fields()) {
            (Some(name), _) => fields.push(Field::new(name.as_str(), dtype).at(member.offset)),
            (None, Some(inner)) => {
                for field in inner {
                    let mut field = field.clone();
                    field.offset += member.offset;
                    fields.push(field);
                }
            }
            (None, None) => {}
        }
    }
    DType::structured_with_offsets(fields.clone(), Some(size), !is_packed)
        // If an unnamed or over-aligned member has packed members itself, the dtype can't be an aligned one.
        .or_else(|_| DType::structured_with_offsets(fields, Some(size), false))
        .map_err(|error| fail(error.to_string()))
}
