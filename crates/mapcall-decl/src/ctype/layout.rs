//! The layout that C compilers give structs and unions.
//!
//! Bit-fields are laid out as GCC and Clang do on systems of the System V ABI (psABI x86-64 3.1.2, "Bit-Fields";
//! AAPCS64 10.1.8): in the storage of their type, of which they never cross a boundary unless they are packed.

use super::bit_field::BitField;
use super::record::{Body, Member, RecordKind, all_members};
use super::{CType, Integer};

/// The maximum number of members of a record with a known layout. Members of nested records are counted each
/// time that they occur, as nested records with a short text can have exponentially many members.
const MAX_MEMBERS: usize = 1 << 14;

/// Whether bit-fields without a name count for the alignment of the record (AAPCS64 10.1.8.2).
const UNNAMED_ALIGN: bool = cfg!(all(
    any(target_arch = "aarch64", target_arch = "arm"),
    not(target_vendor = "apple")
));

/// Whether the system's compiler is GCC, where Clang differs from it.
const IS_GCC: bool = cfg!(not(any(target_vendor = "apple", target_os = "freebsd")));

/// A member whose offset is not computed yet.
pub(crate) struct MemberSpec {
    pub(crate) name: Option<String>,
    pub(crate) ctype: CType,
    /// The alignment in bytes that `_Alignas` or `aligned` request.
    pub(crate) alignment: Option<usize>,
    pub(crate) is_packed: bool,
    /// The width of a bit-field in bits.
    pub(crate) width: Option<u32>,
}

/// What a definition says of the layout of a record, beside its members.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request {
    /// The alignment in bytes that `aligned` requests.
    pub(crate) alignment: Option<usize>,
    /// Whether it is `packed`.
    pub(crate) is_packed: bool,
    /// The limit of `#pragma pack` for the alignment of members, in bytes.
    pub(crate) max_alignment: Option<usize>,
}

/// Computes the offsets of the members, or returns the reason why the layout is unknown.
pub(crate) fn lay_out(kind: RecordKind, specs: Vec<MemberSpec>, request: Request) -> Body {
    match try_lay_out(kind, specs, request) {
        Ok(body) => body,
        Err(reason) => Body::Unsupported { reason },
    }
}

/// The layout of the members so far, in bits.
struct Layout {
    kind: RecordKind,
    request: Request,
    end: u128,
    size: u128,
    /// The alignment of the record in bytes.
    alignment: usize,
}

fn try_lay_out(kind: RecordKind, specs: Vec<MemberSpec>, request: Request) -> Result<Body, String> {
    let too_large = || "it is larger than the memory".to_owned();
    let count: usize = specs.iter().map(|spec| 1 + all_members(&spec.ctype)).sum();
    if count > MAX_MEMBERS {
        return Err(format!(
            "it has more than {MAX_MEMBERS} members, those of its members included"
        ));
    }
    let mut layout = Layout {
        kind,
        request,
        end: 0,
        size: 0,
        alignment: 1,
    };
    let mut is_packed = request.is_packed || request.max_alignment.is_some();
    let mut members = Vec::with_capacity(specs.len());
    let last = specs.len().saturating_sub(1);
    for (index, spec) in specs.into_iter().enumerate() {
        is_packed |= spec.is_packed;
        let start = match spec.width {
            Some(width) => layout.bit_field(&spec, width)?,
            None => layout.member(&spec, index == last && index > 0)?,
        };
        let offset = usize::try_from(start / 8).map_err(|_| too_large())?;
        let bits = spec.width.map(|width| BitField {
            // Less than 8.
            start: u32::try_from(start % 8).unwrap_or_default(),
            width,
            is_signed: is_signed(&spec.ctype),
        });
        if spec.width != Some(0) {
            members.push(Member {
                name: spec.name,
                ctype: spec.ctype,
                offset,
                bits,
            });
        }
    }
    let alignment = layout.alignment.max(request.alignment.unwrap_or(1));
    let size = usize::try_from(layout.size.div_ceil(8)).ok();
    let size = size.and_then(|size| size.checked_next_multiple_of(alignment));
    let size = size.filter(|&size| isize::try_from(size).is_ok());
    Ok(Body::Complete {
        members,
        size: size.ok_or_else(too_large)?,
        alignment,
        is_packed,
    })
}

/// Returns whether the values of a bit-field are signed: an enumeration's only if it has negative ones.
fn is_signed(ctype: &CType) -> bool {
    match ctype.resolved() {
        CType::Enum(enumeration) if !enumeration.is_fixed => {
            let mut values = enumeration.enumerators.iter();
            values.any(|(_, value)| *value < 0)
        }
        other => other.integer().is_some_and(Integer::is_signed),
    }
}

impl Layout {
    /// Returns the position of a member in bits.
    fn member(&mut self, spec: &MemberSpec, may_be_flexible: bool) -> Result<u128, String> {
        let (bytes, natural) = match (spec.ctype.resolved(), spec.ctype.layout()) {
            (_, Some(layout)) => layout,
            (CType::Array(array), None) if array.length.is_none() && may_be_flexible => {
                let alignment = array.item.alignment();
                (0, alignment.ok_or("a member has no size")?)
            }
            _ => {
                let name = spec.name.as_deref().unwrap_or_default();
                return Err(format!("its member `{name}` has no size"));
            }
        };
        let is_packed = self.request.is_packed || spec.is_packed;
        let natural = if is_packed { 1 } else { natural };
        let alignment = self.limited(natural.max(spec.alignment.unwrap_or(1)));
        self.alignment = self.alignment.max(alignment);
        let start = self.place(alignment)?;
        self.take(start, 8 * wide(bytes))
    }

    /// Returns the position of a bit-field in bits.
    fn bit_field(&mut self, spec: &MemberSpec, width: u32) -> Result<u128, String> {
        let name = spec.name.as_deref().unwrap_or_default();
        if cfg!(target_endian = "big") {
            return Err(format!("its member `{name}` is a bit-field"));
        }
        let is_integer =
            spec.ctype.integer().is_some() || matches!(spec.ctype.resolved(), CType::Bool);
        let layout = spec.ctype.layout().filter(|_| is_integer);
        let Some((bytes, natural)) = layout else {
            return Err(format!("its bit-field `{name}` is no integer"));
        };
        let max_width = match spec.ctype.resolved() {
            CType::Bool => 1,
            _ => 8 * bytes,
        };
        let has_width = usize::try_from(width).is_ok_and(|width| width <= max_width);
        if !has_width || width == 0 && spec.name.is_some() {
            return Err(format!("its bit-field `{name}` can't have {width} bits"));
        }
        let counts = spec.name.is_some() || UNNAMED_ALIGN;
        if width == 0 {
            // It ends the storage of the bit-fields before it, also if they are packed.
            let alignment = natural.max(spec.alignment.unwrap_or(1));
            if counts {
                self.alignment = self.alignment.max(natural);
            }
            let start = self.place(alignment)?;
            return self.take(start, 0);
        }
        let is_packed = self.request.is_packed || spec.is_packed;
        let requested = spec.alignment.map(|alignment| self.limited(alignment));
        if counts {
            // GCC prefers `#pragma pack` to `packed` here, Clang the other way round.
            let is_natural = !is_packed || IS_GCC && self.request.max_alignment.is_some();
            let own = if is_natural { self.limited(natural) } else { 1 };
            self.alignment = self.alignment.max(own).max(requested.unwrap_or(1));
        }
        let mut start = match (self.kind, requested) {
            (RecordKind::Struct, Some(alignment)) => self.place(alignment)?,
            _ => self.end,
        };
        let (unit, storage) = (8 * wide(natural), 8 * wide(bytes));
        let crosses = (start % unit + u128::from(width)).div_ceil(unit) > storage / unit;
        if crosses && !is_packed && self.request.max_alignment.is_none() {
            start = self.place(natural)?;
        }
        self.take(start, u128::from(width))
    }

    /// Returns an alignment within the limit of `#pragma pack`.
    fn limited(&self, alignment: usize) -> usize {
        alignment.min(self.request.max_alignment.unwrap_or(usize::MAX))
    }

    /// Moves the end to a multiple of an alignment in bytes.
    fn place(&mut self, alignment: usize) -> Result<u128, String> {
        let aligned = self.end.checked_next_multiple_of(8 * wide(alignment));
        self.end = aligned.ok_or("it is larger than the memory")?;
        Ok(self.end)
    }

    /// Puts a number of bits at a position, which is returned.
    fn take(&mut self, start: u128, bits: u128) -> Result<u128, String> {
        let end = start.checked_add(bits);
        let end = end.filter(|end| *end / 8 <= wide(usize::MAX));
        let end = end.ok_or("it is larger than the memory")?;
        self.size = self.size.max(end);
        if self.kind == RecordKind::Struct {
            self.end = end;
        }
        Ok(start)
    }
}

fn wide(bytes: usize) -> u128 {
    // A `usize` has at most 64 bits.
    u128::try_from(bytes).unwrap_or(u128::MAX >> 8)
}
