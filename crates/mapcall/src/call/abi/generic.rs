//! The calling conventions of all machines except x86-64 outside Windows: libffi implements them and is
//! given the C types.
//!
//! Compiled calls exist for Linux on 64-bit Arm, whose rules are in "Procedure Call Standard for the Arm
//! 64-bit Architecture" (AAPCS64).

use libffi_sys::ffi_type;

#[cfg(all(has_jit, abi_aapcs64))]
use super::Class;
use crate::call::ffi_types::Types;
use crate::call::value::{Kind, Value};
use crate::ctype::{Body, CType, Float, Integer, Record, RecordKind};

#[cfg(all(has_jit, abi_aapcs64))]
pub(in crate::call) const INTEGER_REGISTERS: usize = 8;
#[cfg(all(has_jit, abi_aapcs64))]
pub(in crate::call) const FLOAT_REGISTERS: usize = 8;

/// The size of the largest record that any machine passes in registers, in bytes: eight members of 16
/// bytes, in the 64-bit ELF V2 ABI of the Power architecture. For a larger record libffi needs only size
/// and alignment.
const MAX_IN_REGISTERS: usize = 128;

/// Returns the classes of the registers that a value is passed in while enough are free; `None` if it is
/// passed in another way, or compiled code doesn't implement the way.
///
/// AAPCS64 6.8.2, stages C.1 (floating-point values) and C.9 (integers and pointers), and for results
/// 6.9. On the stack each of them takes 8 bytes (stages C.5, C.6, C.14, C.16 and C.17). Records, which
/// stages B.3 to B.6, C.2, C.3, C.12 and C.15 are about, and values of 16 bytes are left to libffi.
#[cfg(all(has_jit, abi_aapcs64))]
pub(in crate::call) fn registers(value: &Value) -> Option<Vec<Class>> {
    match value.kind {
        Kind::Void => Some(Vec::new()),
        Kind::Integer { .. } => Some(vec![Class::Integer]),
        Kind::Float(_) if value.size <= 8 => Some(vec![Class::Float]),
        Kind::Float(_) | Kind::Complex(_) | Kind::Record(_) => None,
    }
}

/// Returns `None`: a variadic function gets its arguments like any other (AAPCS64 6.8.1), without their
/// number.
#[cfg(all(has_jit, abi_aapcs64))]
pub(in crate::call) fn vectors(_: &[Value]) -> Option<u8> {
    None
}

/// Returns the description of a value for libffi.
pub(in crate::call) fn describe(
    value: &Value,
    types: &mut Types,
) -> Result<*mut ffi_type, &'static str> {
    match &value.kind {
        Kind::Void => Ok(&raw mut libffi_sys::ffi_type_void),
        Kind::Integer { is_signed } => Ok(Types::integer(value.size, *is_signed)),
        // In a register it has the low bits of one (AAPCS64 6.8.2, stage C.1), and on the stack 8 bytes
        // (stage C.5), so that it is passed like a `double` with these bits.
        Kind::Float(Float::Float16) if cfg!(abi_aapcs64) => {
            Ok(&raw mut libffi_sys::ffi_type_double)
        }
        Kind::Float(Float::Float16) | Kind::Complex(Float::Float16) => Err(FLOAT16),
        Kind::Float(float) => Ok(Types::float(*float)),
        Kind::Complex(_) if cfg!(windows) => Err(COMPLEX),
        Kind::Complex(float) => Ok(types.complex(*float)),
        Kind::Record(record) => describe_record(record, types),
    }
}

const FLOAT16: &str = "how _Float16 travels on this machine is not known";
const COMPLEX: &str = "this system's C has no complex numbers";

fn describe_record(record: &Record, types: &mut Types) -> Result<*mut ffi_type, &'static str> {
    let Body::Complete {
        members,
        size,
        alignment,
        ..
    } = &record.body
    else {
        return Err("its members are not known");
    };
    if record.kind == RecordKind::Union {
        return Err("how unions travel on this machine is not known");
    }
    let (mut end, mut natural) = (0_usize, 1);
    let mut elements = Vec::new();
    for member in members {
        if member.bits.is_some() {
            return Err("how bit-fields travel on this machine is not known");
        }
        let (Some(bytes), Some(aligned)) = (member.ctype.size(), member.ctype.alignment()) else {
            return Err("its members are not known");
        };
        if member.offset != end.next_multiple_of(aligned) {
            return Err(UNNATURAL);
        }
        end = member.offset + bytes;
        natural = natural.max(aligned);
        if *size <= MAX_IN_REGISTERS {
            describe_member(&member.ctype, types, &mut elements)?;
        }
    }
    if natural != *alignment || end.next_multiple_of(natural) != *size {
        return Err(UNNATURAL);
    }
    if elements.is_empty() {
        elements.push(Types::integer(1, false));
    }
    Ok(types.record(*size, *alignment, elements))
}

const UNNATURAL: &str = "`packed` or `_Alignas` moves its members";

fn describe_member(
    ctype: &CType,
    types: &mut Types,
    elements: &mut Vec<*mut ffi_type>,
) -> Result<(), &'static str> {
    let size = ctype.size().unwrap_or(0);
    let described = match ctype.resolved() {
        // A member without bytes isn't passed.
        _ if size == 0 => return Ok(()),
        CType::Array(array) => {
            let length = array.length.unwrap_or(0);
            return (0..length).try_for_each(|_| describe_member(&array.item, types, elements));
        }
        CType::Record(record) => describe_record(record, types)?,
        CType::Float(Float::Float16) | CType::Complex(Float::Float16) => return Err(FLOAT16),
        CType::Float(float) => Types::float(*float),
        CType::Complex(_) if cfg!(windows) => return Err(COMPLEX),
        // In a record it counts as two members, the real and the imaginary part.
        CType::Complex(float) => {
            elements.push(Types::float(*float));
            Types::float(*float)
        }
        other => Types::integer(size, other.integer().is_some_and(Integer::is_signed)),
    };
    elements.push(described);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code)]

    use super::*;
    use crate::Declarations;

    fn value(text: &str, name: &str) -> Value {
        let header = Declarations::parse(text);
        assert!(header.errors().is_empty(), "{:?}", header.errors());
        Value::of(&header.structs()[name]).unwrap()
    }

    /// Returns the offsets, the size and the alignment that libffi computes for a description.
    fn lay_out(described: *mut ffi_type, count: usize) -> (Vec<usize>, usize, u16) {
        let mut offsets = vec![0; count];
        // SAFETY: `described` is a struct's description with `count` elements before its null pointer,
        // and `offsets` has `count` elements.
        let status = unsafe {
            libffi_sys::ffi_get_struct_offsets(
                libffi_sys::ffi_abi_FFI_DEFAULT_ABI,
                described,
                offsets.as_mut_ptr(),
            )
        };
        assert_eq!(status, libffi_sys::ffi_status_FFI_OK);
        // SAFETY: `described` was just used by libffi, and the `Types` that own it live in the caller.
        let described = unsafe { &*described };
        (offsets, described.size, described.alignment)
    }

    #[test]
    fn libffi_lays_records_out_as_c_does() {
        let text = "struct in { char a; short b; };
            struct out { float x; struct in y; double z[2]; struct in w[2]; char c; };
            struct complex { char a; float _Complex z; _Bool b; void *p; };";
        for (name, expected) in [
            ("in", &[0, 2][..]),
            ("out", &[0, 4, 8, 16, 24, 28, 32]),
            ("complex", &[0, 4, 8, 12, 16]),
        ] {
            let value = value(text, name);
            let mut types = Types::default();
            let described = describe(&value, &mut types).unwrap();
            let (offsets, size, alignment) = lay_out(described, expected.len());
            assert_eq!((&offsets[..], size), (expected, value.size), "{name}");
            assert_eq!(usize::from(alignment), value.alignment, "{name}");
        }
    }

    #[test]
    fn a_large_record_is_described_by_its_size() {
        let value = value("struct large { struct { short n[3]; } m[5000]; };", "large");
        let mut types = Types::default();
        let described = describe(&value, &mut types).unwrap();
        // SAFETY: `types` owns the description and is alive.
        let described = unsafe { &*described };
        assert_eq!((described.size, described.alignment), (30_000, 2));
    }

    #[test]
    fn records_of_unknown_convention_are_refused() {
        let text = "struct __attribute__((packed)) tight { char a; double x; };
            struct wide { _Alignas(16) int n; };
            struct moved { char a; _Alignas(8) char b; };
            struct half { _Float16 x; };
            union either { float x; int n; };
            struct bits { int a : 3; };
            struct holds { union either e; };";
        for (name, reason) in [
            ("tight", UNNATURAL),
            ("wide", UNNATURAL),
            ("moved", UNNATURAL),
            ("half", FLOAT16),
            ("bits", "how bit-fields travel on this machine is not known"),
            ("holds", "how unions travel on this machine is not known"),
        ] {
            let value = value(text, name);
            assert_eq!(
                describe(&value, &mut Types::default()),
                Err(reason),
                "{name}"
            );
        }
    }
}
