//! Loops of calls against one call at a time, for random signatures.

use std::fmt::Write;
use std::ops::Range;

use mapcall::call::{CallLoop, OperandKind, Stop, StridedPointer, Trampoline};
use mapcall::{CType, Declarations, Library, Prototype};
use tempfile::TempDir;

use crate::c_calls::signatures::check_random;
use crate::c_calls::{
    Numbers, Sample, aligned, compile, extension, libffi, open, symbol, trampoline_if_any, types,
};

/// Functions that write their arguments to consecutive addresses, and read their results from
/// consecutive addresses.
struct Functions {
    prototypes: Vec<Prototype>,
    library: Library,
    _folder: TempDir,
}

impl Functions {
    fn compile(declarations: &str) -> Self {
        let header = Declarations::parse(declarations);
        assert!(header.errors().is_empty(), "{:?}", header.errors());
        let parsed = header.functions().iter();
        let prototypes: Vec<_> = parsed.map(|f| f.prototype.clone().unwrap()).collect();
        let mut c = format!(
            "#include <errno.h>\n#include <string.h>\n{declarations}\n\
             unsigned char *to, *from;\nint calls, fails;\n"
        );
        for prototype in &prototypes {
            let _ = writeln!(c, "{prototype} {{ if (calls++ == fails) errno = 5;");
            for parameter in &prototype.parameters {
                let (name, size) = (&parameter.name, parameter.ctype.size().unwrap());
                let _ = writeln!(c, "memcpy(to, &{name}, {size}); to += {size};");
            }
            if prototype.returns != CType::Void {
                let result = prototype.returns.declare("result");
                let _ = writeln!(
                    c,
                    "{result}; memcpy(&result, from, sizeof result); from += sizeof result; \
                     return result;"
                );
            }
            c.push_str("}\n");
        }
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("loops.so");
        compile(&path, &c, "-O1");
        Self {
            prototypes,
            library: open(&path),
            _folder: folder,
        }
    }

    fn set<T>(&self, name: &str, value: T) {
        let address = symbol(&self.library, name).cast_mut().cast::<T>();
        // SAFETY: the variable is of this type, and no other thread uses it.
        unsafe { address.write(value) };
    }
}

/// Memory with items in it.
#[derive(Clone)]
struct Items {
    memory: Vec<u128>,
    start: usize,
    stride: isize,
    size: usize,
}

impl Items {
    /// Items of a type, any way apart, in memory full of other bytes.
    fn new(ctype: &CType, count: usize, numbers: &mut Numbers) -> Self {
        let (size, alignment) = (ctype.size().unwrap(), ctype.alignment().unwrap());
        let step = match numbers.next() % 4 {
            0 => 0,
            1 => size + alignment * (1 + numbers.next() as usize % 3),
            _ => size,
        };
        let mut start = 64;
        let mut stride = step.cast_signed();
        if numbers.next().is_multiple_of(3) {
            start += step * (count - 1);
            stride = -stride;
        }
        if matches!(ctype.resolved(), CType::Record(_)) && numbers.next().is_multiple_of(2) {
            // A record may stand anywhere.
            start += 1 + numbers.next() as usize % 7;
            stride += stride.signum() * 3;
            start += 3 * count;
        }
        let bytes = 256 + (step + 6) * count + size;
        let words =
            (0..bytes / 16).map(|_| u128::from(numbers.next()) << 64 | u128::from(numbers.next()));
        let mut items = Self {
            memory: words.collect(),
            start,
            stride,
            size,
        };
        for call in 0..count {
            let sample = Sample::new(ctype, numbers);
            items.item_mut(call).copy_from_slice(&sample.bytes);
        }
        items
    }

    fn range(&self, call: usize) -> Range<usize> {
        let start = self
            .start
            .checked_add_signed(self.stride * call.cast_signed())
            .unwrap();
        start..start + self.size
    }

    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.memory)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.memory)
    }

    fn item(&self, call: usize) -> &[u8] {
        &self.bytes()[self.range(call)]
    }

    fn item_mut(&mut self, call: usize) -> &mut [u8] {
        let range = self.range(call);
        &mut self.bytes_mut()[range]
    }

    fn pointer(&mut self) -> StridedPointer {
        let (start, stride) = (self.start, self.stride);
        StridedPointer {
            address: self.bytes_mut()[start..].as_mut_ptr(),
            stride,
        }
    }
}

/// What a number of calls is to do.
struct Case {
    kinds: Vec<OperandKind>,
    /// For each parameter; one item for those that are fixed.
    items: Vec<Items>,
    results: Items,
    answers: Vec<Vec<u8>>,
    mask: Vec<u8>,
    count: usize,
    stop: Stop,
    /// Which call is to stop it; `count` if none.
    stops: usize,
}

impl Case {
    fn new(prototype: &Prototype, numbers: &mut Numbers) -> Self {
        let count = 1 + numbers.next() as usize % 13;
        let kind = |ctype: &CType| match (ctype.resolved(), numbers.next() % 3) {
            (_, 0) => OperandKind::Constant,
            (CType::Pointer(_), 1) => OperandKind::Pointer,
            _ => OperandKind::Strided,
        };
        let kinds: Vec<OperandKind> = types(prototype).map(kind).collect();
        let items = types(prototype).map(|ctype| Items::new(ctype, count, numbers));
        let items = items.collect();
        let returns = &prototype.returns;
        let is_judged = extension(returns, &[0; 8]).is_some();
        let stop = match numbers.next() % 4 {
            0 if is_judged => Stop::Zero,
            1 if is_judged => Stop::Nonzero,
            2 => Stop::Errno,
            _ => Stop::Never,
        };
        let stops = match stop {
            Stop::Never => count,
            _ => numbers.next() as usize % (count + 1),
        };
        let mut answer = |call| {
            let wants_zero = match stop {
                Stop::Zero => call == stops,
                Stop::Nonzero => call != stops,
                _ => return Sample::new(returns, numbers).bytes,
            };
            loop {
                let mut bytes = Sample::new(returns, numbers).bytes;
                if wants_zero {
                    bytes.fill(0);
                }
                if wants_zero || bytes.iter().any(|&byte| byte != 0) {
                    return bytes;
                }
            }
        };
        let answers = (0..count).map(&mut answer).collect();
        let mask = Sample::new(returns, numbers).mask;
        let results = match returns {
            CType::Void => Items::new(&CType::Bool, count, numbers),
            returns => Items::new(returns, count, numbers),
        };
        Self {
            kinds,
            items,
            results,
            answers,
            mask,
            count,
            stop,
            stops,
        }
    }

    /// A frame with the parameters of a call.
    fn fill(
        &self,
        prototype: &Prototype,
        trampoline: &Trampoline,
        call: usize,
        all: bool,
    ) -> Vec<[u64; 2]> {
        let layout = trampoline.layout();
        let mut frame = vec![[0x5555_5555_5555_5555_u64; 2]; layout.slots() / 2 + 1];
        let words = aligned(&mut frame);
        for (index, (items, kind)) in self.items.iter().zip(&self.kinds).enumerate() {
            let ctype = &prototype.parameters[index].ctype;
            let words = &mut words[layout.parameter(index)..];
            let call = match kind {
                OperandKind::Constant => 0,
                _ if !all => continue,
                OperandKind::Strided => call,
                OperandKind::Pointer => {
                    let moved = items.stride * call.cast_signed();
                    words[0] = moved.cast_unsigned() as u64;
                    continue;
                }
            };
            let bytes = items.item(call);
            words[0] = extension(ctype, bytes).unwrap_or(words[0]);
            bytemuck::cast_slice_mut::<u64, u8>(words)[..bytes.len()].copy_from_slice(bytes);
        }
        frame
    }

    /// Makes the calls with one loop, and the same one at a time.
    fn check(&self, functions: &Functions, prototype: &Prototype, trampoline: &Trampoline) {
        let what = format!(
            "{prototype} by {:?}, {:?} of {} calls, {:?} at {}",
            trampoline.engine(),
            self.kinds,
            self.count,
            self.stop,
            self.stops
        );
        let function = symbol(&functions.library, &prototype.name);
        let stores = prototype.returns != CType::Void && !self.count.is_multiple_of(3);
        let room: usize = types(prototype).map(|ctype| ctype.size().unwrap()).sum();
        let mut answers: Vec<u8> = self.answers.concat();
        let start = |log: &mut Vec<u8>, answers: &mut Vec<u8>| {
            functions.set("to", log.as_mut_ptr());
            functions.set("from", answers.as_mut_ptr());
            functions.set("calls", 0_i32);
            let fails = if self.stop == Stop::Errno {
                self.stops
            } else {
                self.count
            };
            functions.set("fails", i32::try_from(fails).unwrap());
        };

        // By the loop.
        let mut log = vec![0_u8; room * self.count + 1];
        start(&mut log, &mut answers);
        let (mut items, mut results) = (self.items.clone(), self.results.clone());
        let moving = items.iter_mut().zip(&self.kinds);
        let moving = moving.filter(|(_, kind)| **kind != OperandKind::Constant);
        let mut pointers: Vec<StridedPointer> = moving.map(|(items, _)| items.pointer()).collect();
        pointers.extend(stores.then(|| results.pointer()));
        let mut frame = self.fill(prototype, trampoline, 0, false);
        let frame = aligned(&mut frame);
        let calls = CallLoop::new(trampoline, &self.kinds, stores, self.stop);
        assert_eq!(calls.pointers(), pointers.len());
        // SAFETY: this thread's own.
        unsafe { *libc::__errno_location() = 0 };
        // SAFETY: the function is of the prototype's type, and the pointers are in their memory.
        let made = unsafe { calls.run(function, frame.as_mut_ptr(), &pointers, self.count) };
        assert_eq!(made, self.stops, "{what}");
        let layout = trampoline.layout();
        if made < self.count {
            let result = bytemuck::cast_slice(&frame[layout.result()..layout.slots()]);
            self.assert_answer(result, made, &what);
        }

        // One at a time.
        let mut expected_log = vec![0_u8; room * self.count + 1];
        start(&mut expected_log, &mut answers);
        let mut expected = self.results.clone();
        for call in 0..self.count.min(self.stops + 1) {
            let mut frame = self.fill(prototype, trampoline, call, true);
            let frame = aligned(&mut frame);
            for ((index, kind), items) in self.kinds.iter().enumerate().zip(&mut items) {
                if *kind == OperandKind::Pointer {
                    let word = &mut frame[layout.parameter(index)];
                    *word = word.wrapping_add(items.pointer().address.addr() as u64);
                }
            }
            // SAFETY: the function is of the prototype's type, and the frame is filled.
            unsafe { trampoline.call(function, frame.as_mut_ptr()) };
            let result: &[u8] = bytemuck::cast_slice(&frame[layout.result()..layout.slots()]);
            self.assert_answer(result, call, &what);
            if stores && call != self.stops {
                let size = expected.size;
                expected.item_mut(call).copy_from_slice(&result[..size]);
            }
        }
        Self::assert_logs(prototype, &log, &expected_log, &what);
        if stores {
            // Padding bytes may have any value. The bytes between items must not be written.
            for call in 0..self.count.min(self.stops) {
                for position in expected
                    .range(call)
                    .zip(&self.mask)
                    .filter(|(_, mask)| **mask == 0)
                {
                    let byte = results.bytes()[position.0];
                    expected.bytes_mut()[position.0] = byte;
                }
            }
        }
        assert!(
            results.bytes() == expected.bytes(),
            "{what}: results differ"
        );
        for (items, before) in items.iter().zip(&self.items) {
            assert!(
                items.bytes() == before.bytes(),
                "{what}: an argument was written"
            );
        }
    }

    fn assert_answer(&self, result: &[u8], call: usize, what: &str) {
        let answer = &self.answers[call];
        for ((&byte, &expected), &mask) in result.iter().zip(answer).zip(&self.mask) {
            assert_eq!(
                byte & mask,
                expected & mask,
                "{what}: the result of call {call}"
            );
        }
    }

    fn assert_logs(prototype: &Prototype, log: &[u8], expected: &[u8], what: &str) {
        let mask = types(prototype).flat_map(|ctype| Sample::new(ctype, &mut Numbers(0)).mask);
        let mask: Vec<u8> = mask.collect();
        let masked = |log: &[u8]| -> Vec<u8> {
            let bytes = log.iter().zip(mask.iter().cycle());
            bytes.map(|(byte, mask)| byte & mask).collect()
        };
        if !mask.is_empty() {
            assert_eq!(masked(log), masked(expected), "{what}");
        }
    }
}

fn check(declarations: &str, seed: u64) -> (usize, usize) {
    let functions = Functions::compile(declarations);
    let mut numbers = Numbers(seed);
    let mut chosen = (0, 0);
    for prototype in &functions.prototypes {
        let Some(trampoline) = trampoline_if_any(prototype) else {
            continue;
        };
        let libffi = libffi(prototype);
        let kinds: Vec<_> = types(prototype).map(|_| OperandKind::Strided).collect();
        let stores = prototype.returns != CType::Void;
        if CallLoop::new(&trampoline, &kinds, stores, Stop::Never).is_compiled() {
            chosen.0 += 1;
        } else {
            chosen.1 += 1;
        }
        assert!(!CallLoop::new(&libffi, &kinds, stores, Stop::Never).is_compiled());
        for _ in 0..6 {
            let case = Case::new(prototype, &mut numbers);
            case.check(&functions, prototype, &trampoline);
            case.check(&functions, prototype, &libffi);
        }
    }
    chosen
}

#[test]
fn a_loop_is_one_call_after_the_other() {
    check_random(24, 128, check);
}

#[test]
fn a_loop_with_the_wrong_number_of_lanes_calls_nothing() {
    let functions = Functions::compile("int f(int p0);");
    let trampoline = trampoline_if_any(&functions.prototypes[0]).unwrap();
    let calls = CallLoop::new(&trampoline, &[OperandKind::Strided], true, Stop::Never);
    let function = symbol(&functions.library, "f");
    let mut x = 0_i32;
    let pointer = StridedPointer {
        address: std::ptr::from_mut(&mut x).cast(),
        stride: 4,
    };
    for (pointers, count) in [(&[pointer][..], 1), (&[pointer, pointer], 0), (&[], 1)] {
        // SAFETY: nothing is called.
        let made = unsafe { calls.run(function, [0; 2].as_mut_ptr(), pointers, count) };
        assert_eq!(made, 0);
    }
    // It would have written to NULL.
    functions.set("to", std::ptr::null_mut::<u8>());
}
