//! C functions that record their arguments, and calls of them that compare.

pub(crate) mod signatures;

use std::ffi::c_void;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::ptr;
use std::sync::{Arc, Mutex};

use mapcall::call::{CallTypeError, Closure, Engine, Trampoline};
use mapcall::ctype::{Body, CType, Float};
use mapcall::{Declarations, Function, Library, Prototype};
use tempfile::TempDir;

/// Whether all values can be passed here; elsewhere unions and packed structs are refused.
pub(crate) const ALL_VALUES: bool = cfg!(abi_system_v);

/// Why some records have no one way to travel on x86-64.
pub(crate) const DISAGREE: &str = "C compilers disagree on arrays in such a small record";

/// Room for all arguments of a function in bytes.
pub(crate) const ROOM: usize = 1 << 14;

pub(crate) struct Functions {
    pub(crate) prototypes: Vec<Prototype>,
    pub(crate) library: Library,
    _folder: TempDir,
}

impl Functions {
    /// Compiles functions by their declarations. Each copies its arguments to `seen` and returns
    /// what is in `answer`; `call_` before its name is a function that calls one of its type.
    pub(crate) fn compile(declarations: &str) -> Self {
        let header = Declarations::parse(declarations);
        assert!(header.errors().is_empty(), "{:?}", header.errors());
        let parsed = header.functions().iter();
        let prototypes: Vec<_> = parsed.map(|f| f.prototype.clone().unwrap()).collect();
        let mut c = format!(
            "#include <string.h>\n#include <stddef.h>\n{declarations}\n\
             unsigned char seen[{ROOM}], answer[{ROOM}];\n"
        );
        for (name, ctype) in header.structs() {
            let (size, alignment) = (ctype.size().unwrap(), ctype.alignment().unwrap());
            let keyword = ctype.to_string();
            assert!(keyword.ends_with(name.as_str()));
            let _ = writeln!(
                c,
                "_Static_assert(sizeof({keyword}) == {size} && _Alignof({keyword}) == {alignment}, \"\");"
            );
        }
        for prototype in &prototypes {
            define(&mut c, prototype);
        }
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("functions.so");
        compile(&path, &c, "-O1");
        Self {
            prototypes,
            library: open(&path),
            _folder: folder,
        }
    }

    pub(crate) fn symbol(&self, name: &str) -> *mut u8 {
        symbol(&self.library, name).cast_mut().cast()
    }
}

/// The two functions for a prototype.
fn define(c: &mut String, prototype: &Prototype) {
    let name = &prototype.name;
    let is_void = prototype.returns == CType::Void;
    let (mut store, mut load, mut arguments, mut end) = (String::new(), String::new(), vec![], 0);
    let mut types = vec![];
    for (i, parameter) in prototype.parameters.iter().enumerate() {
        let declared = parameter.ctype.declare(&format!("a{i}"));
        let size = parameter.ctype.size().unwrap();
        let at = &parameter.name;
        let _ = write!(store, "memcpy(seen + {end}, &{at}, {size}); ");
        let _ = write!(load, "{declared}; memcpy(&a{i}, seen + {end}, {size}); ");
        arguments.push(format!("a{i}"));
        types.push(parameter.ctype.to_string());
        end += size;
    }
    let returned = if is_void {
        (String::new(), String::new())
    } else {
        let result = prototype.returns.declare("result");
        (
            format!("{result}; memcpy(&result, answer, sizeof result); return result;"),
            format!("{result} = "),
        )
    };
    let _ = writeln!(c, "{prototype} {{ {store}{} }}", returned.0);
    let types = if types.is_empty() {
        "void".to_owned()
    } else {
        types.join(", ")
    };
    let callback = prototype.returns.declare(&format!("(*f)({types})"));
    let copy = if is_void {
        ""
    } else {
        "memcpy(answer, &result, sizeof result);"
    };
    let _ = writeln!(
        c,
        "void call_{name}({callback}) {{ {load}{}f({}); {copy} }}",
        returned.1,
        arguments.join(", ")
    );
}

pub(crate) fn compile(library: &Path, c: &str, flags: &str) {
    let source = library.with_extension("c");
    fs::write(&source, c).unwrap();
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-w"])
        .args(flags.split(' '))
        .arg("-o")
        .arg(library)
        .arg(&source)
        .output()
        .expect("the system has a C compiler");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{c}");
}

pub(crate) fn open(path: &Path) -> Library {
    // SAFETY: the libraries of these tests have no initialisers.
    unsafe { Library::open(path) }.unwrap()
}

pub(crate) fn symbol(library: &Library, name: &str) -> *const c_void {
    // SAFETY: the libraries of these tests have no resolvers.
    unsafe { library.symbol(name) }.unwrap().as_ptr()
}

pub(crate) fn types(prototype: &Prototype) -> impl Iterator<Item = &CType> {
    prototype
        .parameters
        .iter()
        .map(|parameter| &parameter.ctype)
}

pub(crate) fn trampoline(prototype: &Prototype) -> Result<Trampoline, CallTypeError> {
    Trampoline::new(&prototype.returns, types(prototype))
}

/// `None` for what has no one way to be passed here.
pub(crate) fn trampoline_if_any(prototype: &Prototype) -> Option<Trampoline> {
    match trampoline(prototype) {
        Err(CallTypeError::ByValue { .. }) if !ALL_VALUES => None,
        Err(CallTypeError::ByValue { reason, .. }) if reason == DISAGREE => None,
        other => Some(other.unwrap_or_else(|error| panic!("{prototype}: {error}"))),
    }
}

/// The same function by each engine that can call it.
pub(crate) fn engines(function: Function) -> Vec<Function> {
    let mut engines = vec![function.with_engine(Engine::Libffi).unwrap()];
    if function.trampoline().engine() == Engine::Cranelift {
        engines.push(function.with_engine(Engine::Cranelift).unwrap());
    }
    engines.push(function);
    engines
}

pub(crate) fn libffi(prototype: &Prototype) -> Trampoline {
    Trampoline::with_engine(&prototype.returns, types(prototype), Engine::Libffi).unwrap()
}

/// Numbers that look random, from a seed.
#[derive(Clone)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A value of a C type in memory, and which bits of it mean something.
pub(crate) struct Sample {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mask: Vec<u8>,
}

impl Sample {
    pub(crate) fn new(ctype: &CType, numbers: &mut Numbers) -> Self {
        let size = ctype.size().unwrap_or(0);
        let mut sample = Self {
            bytes: vec![0; size],
            mask: vec![0; size],
        };
        for (offset, scalar) in scalars(ctype) {
            sample.fill(offset, &scalar, numbers);
        }
        sample
    }

    /// Extremes as often as anything: all ones is -1 and a NaN, 0x7f then ones is a NaN as well.
    fn fill(&mut self, offset: usize, scalar: &CType, numbers: &mut Numbers) {
        let size = match scalar {
            // 80 bits, of which the highest of the fraction is always set.
            CType::Float(Float::LongDouble) if cfg!(x87_long_double) => 10,
            other => other.size().unwrap(),
        };
        let pattern = numbers.next() % 6;
        let bytes = &mut self.bytes[offset..offset + size];
        for byte in &mut *bytes {
            *byte = match pattern {
                0 => 0,
                1 | 2 => 0xff,
                3 => 0x80,
                _ => numbers.next().to_le_bytes()[0],
            };
        }
        match (pattern, scalar) {
            (_, CType::Bool) => bytes[0] &= 1,
            (_, CType::Enum(_)) => bytes.copy_from_slice(&(-1_i32).to_ne_bytes()),
            (2, _) => bytes[size - 1] = 0x7f,
            (3, _) => bytes[..size - 1].fill(0),
            _ => {}
        }
        if size == 10 {
            bytes[7] |= 0x80;
        }
        self.mask[offset..offset + size].fill(0xff);
    }

    #[track_caller]
    pub(crate) fn check(&self, seen: &[u8], what: &str) {
        let masked = |bytes: &[u8]| -> Vec<u8> {
            bytes.iter().zip(&self.mask).map(|(a, b)| a & b).collect()
        };
        assert_eq!(
            masked(&seen[..self.bytes.len()]),
            masked(&self.bytes),
            "{what}"
        );
    }
}

/// The scalars in a type with their offsets; `_Bool` last, so that in unions it is one.
fn scalars(ctype: &CType) -> Vec<(usize, CType)> {
    fn walk(ctype: &CType, offset: usize, found: &mut Vec<(usize, CType)>) {
        match ctype.resolved() {
            CType::Void => {}
            CType::Record(record) => {
                let Body::Complete { members, .. } = &record.body else {
                    panic!("{ctype} is complete")
                };
                for member in members {
                    walk(&member.ctype, offset + member.offset, found);
                }
            }
            CType::Array(array) => {
                for i in 0..array.length.unwrap() {
                    walk(&array.item, offset + i * array.item.size().unwrap(), found);
                }
            }
            CType::Complex(float) => {
                found.push((offset, CType::Float(*float)));
                found.push((offset + float.size(), CType::Float(*float)));
            }
            scalar => found.push((offset, scalar.clone())),
        }
    }
    let mut found = vec![];
    walk(ctype, 0, &mut found);
    found.sort_by_key(|(_, scalar)| *scalar == CType::Bool);
    found
}

/// The arguments of one call and its result.
pub(crate) struct Case {
    arguments: Vec<Sample>,
    result: Sample,
}

impl Case {
    pub(crate) fn new(prototype: &Prototype, numbers: &mut Numbers) -> Self {
        let sample = |ctype| Sample::new(ctype, numbers);
        Self {
            arguments: types(prototype).map(sample).collect(),
            result: Sample::new(&prototype.returns, numbers),
        }
    }

    /// Calls the function and compares what it saw and what it answered.
    pub(crate) fn call(
        &self,
        functions: &Functions,
        prototype: &Prototype,
        trampoline: &Trampoline,
    ) {
        let what = format!("{prototype} by {:?}", trampoline.engine());
        let (seen, answer) = (functions.symbol("seen"), functions.symbol("answer"));
        let layout = trampoline.layout();
        let mut frame = vec![[0x5555_5555_5555_5555_u64; 2]; layout.slots() / 2 + 1];
        let frame: &mut [u64] = aligned(&mut frame);
        for (i, (sample, parameter)) in self.arguments.iter().zip(&prototype.parameters).enumerate()
        {
            let slots = &mut frame[layout.parameter(i)..];
            slots[0] = extension(&parameter.ctype, &sample.bytes).unwrap_or(slots[0]);
            // SAFETY: a parameter has room for its bytes.
            unsafe { copy(&sample.bytes, slots.as_mut_ptr().cast()) };
        }
        // SAFETY: `answer` has room for any value, and no other thread uses it.
        unsafe { copy(&self.result.bytes, answer) };
        // SAFETY: the function is of the prototype's type, and the frame is filled.
        unsafe {
            trampoline.call(
                symbol(&functions.library, &prototype.name),
                frame.as_mut_ptr(),
            );
        }
        let mut start = 0;
        for sample in &self.arguments {
            // SAFETY: the function has written so much.
            let bytes = unsafe { bytes(seen, start, sample.bytes.len()) };
            sample.check(&bytes, &what);
            start += sample.bytes.len();
        }
        self.result
            .check(&to_bytes(&frame[layout.result()..layout.slots()]), &what);
    }

    /// Has C call a closure and compares what that saw and what C got.
    pub(crate) fn call_back(&self, functions: &Functions, prototype: &Prototype) {
        let what = format!("{prototype} as a closure");
        let (seen, answer) = (functions.symbol("seen"), functions.symbol("answer"));
        let frames = Arc::new(Mutex::new(Vec::new()));
        let closure = {
            let (frames, result) = (Arc::clone(&frames), self.result.bytes.clone());
            Closure::new(
                &prototype.returns,
                types(prototype),
                Box::new(move |layout, frame| {
                    assert_eq!(frame.len(), layout.slots());
                    frames
                        .lock()
                        .unwrap()
                        .push((layout.clone(), frame.to_vec()));
                    let slots = &mut frame[layout.result()..];
                    // SAFETY: the result has room for its bytes.
                    unsafe { copy(&result, slots.as_mut_ptr().cast()) };
                }),
            )
        };
        let closure = closure.unwrap();
        let mut start = 0;
        for sample in &self.arguments {
            // SAFETY: `seen` has room for all arguments, and no other thread uses it.
            unsafe { copy(&sample.bytes, seen.add(start)) };
            start += sample.bytes.len();
        }
        let caller = Prototype::parse("void call(void (*f)(void));").unwrap();
        let caller_types = Trampoline::new(&caller.returns, types(&caller)).unwrap();
        let mut frame = [closure.address().expose_provenance() as u64];
        let call = symbol(&functions.library, &format!("call_{}", prototype.name));
        // SAFETY: it takes one pointer, to a function of the closure's type.
        unsafe { caller_types.call(call, frame.as_mut_ptr()) };

        let frames = frames.lock().unwrap();
        let [(layout, frame)] = &frames[..] else {
            panic!("called once")
        };
        for (i, (sample, parameter)) in self.arguments.iter().zip(&prototype.parameters).enumerate()
        {
            let slots = &frame[layout.parameter(i)..];
            sample.check(&to_bytes(slots), &what);
            if let Some(slot) = extension(&parameter.ctype, &sample.bytes) {
                assert_eq!(slots[0], slot, "{what}");
            }
        }
        // SAFETY: C has written so much.
        let bytes = unsafe { bytes(answer, 0, self.result.bytes.len()) };
        self.result.check(&bytes, &what);
    }
}

/// Returns the slot of an integer, sign- or zero-extended; `None` for other types.
pub(crate) fn extension(ctype: &CType, bytes: &[u8]) -> Option<u64> {
    let is_signed = match ctype.resolved() {
        CType::Bool | CType::Pointer(_) => false,
        other => other.integer()?.is_signed(),
    };
    let fill = if is_signed && bytes[bytes.len() - 1] & 0x80 != 0 {
        0xff
    } else {
        0
    };
    let mut slot = [fill; 8];
    slot[..bytes.len()].copy_from_slice(bytes);
    Some(u64::from_le_bytes(slot))
}

pub(crate) fn aligned(pairs: &mut [[u64; 2]]) -> &mut [u64] {
    let slots = pairs.as_flattened_mut();
    // A frame with 16-byte values must be aligned to 16 bytes, as large blocks of the allocator are.
    let skip = slots.as_ptr().align_offset(16);
    &mut slots[skip..]
}

fn to_bytes(slots: &[u64]) -> Vec<u8> {
    slots.iter().flat_map(|slot| slot.to_ne_bytes()).collect()
}

/// # Safety
///
/// There is room for so many bytes.
unsafe fn copy(bytes: &[u8], to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
}

/// # Safety
///
/// There are so many bytes.
unsafe fn bytes(from: *const u8, start: usize, length: usize) -> Vec<u8> {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(from.add(start), length) }.to_vec()
}
