//! Batches by vector variants of a function, which compilers and libraries export, against its scalar calls.

#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use std::ops::ControlFlow;
use std::sync::LazyLock;

use mapcall::array::Element;
use mapcall::batch::Simd;
use mapcall::call::{CallLoop, Isa, OperandKind, Stop, StridedPointer, VectorLoop, VectorName};
use mapcall::ctype::CType;
use mapcall::{Arg, CallError, Function, Library, SimdRefusal, Success};
use tempfile::TempDir;

use crate::c_calls::{compile, open};

const PROTOTYPES: &[&str] = &[
    "double axpy(double a, double x, double y)",
    "float axpyf(float a, float x, float y)",
    "float wide(float x, double y)",
    "double narrow(double x, float y, int32_t n)",
    "int32_t add32(int32_t x, uint32_t y)",
    "int64_t add64(int64_t x, uint64_t y)",
    "int16_t add16(int16_t x, int16_t y)",
    "uint8_t add8(uint8_t x, uint8_t y)",
    "double uniform(double x, double scale, int32_t shift)",
    "float uniformf(float x, float scale)",
    "double looked_up(const double table[4], int64_t i)",
    "void moved(const double x[1], double y[1])",
    "void stepped(const float x[1], float y[1])",
    "void scattered(double x, double y[1])",
    "double counted(double x, int32_t i)",
    "int64_t counted_down(int64_t i, int64_t x)",
    "double every_second(const double table[200], uint8_t i)",
    "float counted_masked(const float table[200], int16_t i, float x)",
    "double masked(double x, double y)",
    "float maskedf(float x)",
    "int32_t masked32(int32_t x)",
    "void masked_moved(double x, double y[1])",
    "void masked_scattered(float x, float y[1])",
    "double eight(double a, double b, double c, double d, double e, double f, double g, double h)",
];

const IS_AARCH64: bool = cfg!(target_arch = "aarch64");

struct Fixture {
    library: Library,
    _folder: TempDir,
}

/// The library of `simd.c`, which is compiled once for all tests.
static FIXTURE: LazyLock<Fixture> = LazyLock::new(Fixture::compiled);

impl Fixture {
    fn new() -> &'static Self {
        &FIXTURE
    }

    fn compiled() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("simd.so");
        compile(
            &path,
            concat!(include_str!("simd.c"), include_str!("simd_sve.c")),
            "-O2 -fopenmp-simd -ffp-contract=off",
        );
        Self {
            library: open(&path),
            _folder: folder,
        }
    }

    fn bind(&self, prototype: &str) -> Function {
        // SAFETY: the tests write the prototypes of the functions in `simd.c`.
        unsafe { self.library.function(prototype) }.unwrap()
    }
}

/// The memory of one operand, with its values somewhere in the middle.
struct Memory {
    bytes: Vec<u8>,
    pointer: StridedPointer,
}

impl Memory {
    /// Small values of a type, which all functions compute exactly; those of a linear integer grow by a step.
    fn new(ctype: &CType, stride: isize, seed: usize, step: Option<i64>) -> Self {
        const LENGTH: usize = 2 * 24 * 67;
        let ctype = pointee(ctype).unwrap_or(ctype);
        let size = ctype.size().unwrap();
        let name = ctype.to_string();
        let mut bytes = vec![0; LENGTH];
        for (index, item) in bytes.chunks_exact_mut(size).enumerate() {
            let value = match step {
                Some(step) => step * (index as i64 - (LENGTH / 2 / size) as i64),
                None => ((index + seed) * 7 % 51) as i64 - 20,
            };
            match name.as_str() {
                "double" => item.copy_from_slice(&(value as f64).to_le_bytes()),
                "float" => item.copy_from_slice(&(value as f32).to_le_bytes()),
                _ => item.copy_from_slice(&value.to_le_bytes()[..size]),
            }
        }
        let middle = bytes.as_mut_ptr().wrapping_add(LENGTH / 2);
        let pointer = StridedPointer {
            address: middle,
            stride,
        };
        Self { bytes, pointer }
    }
}

/// Makes calls by a variant, and the rest, by the function, as a batch does. Returns the memory of all operands.
fn called(
    function: &Function,
    vector: Option<&VectorLoop>,
    kinds: &[OperandKind],
    strides: &[isize],
    count: usize,
) -> Vec<Vec<u8>> {
    let prototype = function.prototype();
    let stores = *prototype.returns.resolved() != CType::Void;
    let passed = prototype.passed_types();
    let types = passed.iter();
    let types: Vec<&CType> = types.chain(stores.then_some(&prototype.returns)).collect();
    let mut memory: Vec<Memory> = types
        .iter()
        .zip(strides)
        .enumerate()
        .map(|(seed, (ctype, &stride))| {
            let parameter = prototype.parameters.get(seed);
            let step = parameter.and_then(|parameter| step(function.name(), &parameter.name));
            Memory::new(ctype, stride, seed, step)
        })
        .collect();
    let layout = function.trampoline().layout().clone();
    let mut frame = vec![0_u64; layout.slots()];
    let parameters = memory
        .iter()
        .zip(&types)
        .zip(kinds)
        .zip(layout.parameters());
    for (((memory, ctype), _), &slot) in
        parameters.filter(|((_, kind), _)| **kind == OperandKind::Constant)
    {
        let address = memory.pointer.address;
        frame[slot] = match pointee(ctype) {
            Some(_) => address.expose_provenance() as u64,
            // SAFETY: the memory has more than 8 bytes behind the pointer.
            None => unsafe { address.cast::<u64>().read_unaligned() },
        };
    }
    let kind = |index: usize| kinds.get(index).copied().unwrap_or(OperandKind::Strided);
    let moving = memory
        .iter()
        .enumerate()
        .filter(|(index, _)| kind(*index) != OperandKind::Constant);
    let pointers: Vec<StridedPointer> = moving.map(|(_, memory)| memory.pointer).collect();
    let calls = CallLoop::new(function.trampoline(), kinds, stores, Stop::Never);
    // SAFETY: the memory has room for `count` calls to both sides, and the frame has the constants.
    let made = vector.map_or(0, |vector| unsafe {
        vector.run(frame.as_ptr(), &pointers, count)
    });
    let rest: Vec<StridedPointer> = pointers
        .iter()
        .map(|pointer| StridedPointer {
            address: pointer
                .address
                .wrapping_offset(pointer.stride * made as isize),
            ..*pointer
        })
        .collect();
    // SAFETY: the memory has room for `count` calls to both sides, and the frame has the constants.
    let by_one = unsafe {
        calls.run(
            function.address().as_ptr(),
            frame.as_mut_ptr(),
            &rest,
            count - made,
        )
    };
    assert_eq!(by_one, count - made);
    if let Some(vector) = vector {
        // A variant with pointers or linear integers leaves calls out, if it has no mask or if they are not linear.
        let may_leave_out = ["moved", "stepped", "scattered"]
            .iter()
            .any(|name| function.name().ends_with(name))
            || step(function.name(), "i").is_some();
        assert!(made == count || may_leave_out, "{}", vector.name());
    }
    memory.drain(..).map(|memory| memory.bytes).collect()
}

/// The step of a linear integer parameter.
fn step(function: &str, parameter: &str) -> Option<i64> {
    match (function, parameter) {
        ("counted" | "counted_masked", "i") => Some(1),
        ("counted_down", "i") => Some(-3),
        ("every_second", "i") => Some(2),
        _ => None,
    }
}

/// The type that a pointer points to.
fn pointee(ctype: &CType) -> Option<&CType> {
    match ctype.resolved() {
        CType::Pointer(pointer) => Some(&pointer.target),
        _ => None,
    }
}

/// The kinds that an operand of a type may have.
fn kinds_of(ctype: &CType, name: &str) -> &'static [OperandKind] {
    match (pointee(ctype), name) {
        (Some(_), "table") => &[OperandKind::Constant],
        (Some(_), _) => &[OperandKind::Pointer],
        (None, _) => &[OperandKind::Strided, OperandKind::Constant],
    }
}

#[test]
fn variants_compute_what_the_function_does() {
    let fixture = Fixture::new();
    let names = fixture.library.vector_variants().unwrap();
    for prototype in PROTOTYPES {
        let function = fixture.bind(prototype);
        let variants: Vec<&VectorName> = names
            .iter()
            .filter(|name| name.function() == function.name())
            .collect();
        // On AArch64, GCC makes them for one or two registers' widths, and for parameters of one size only; there is one for
        // SVE.
        assert!(
            variants.len() == 4 || (IS_AARCH64 && (1..=3).contains(&variants.len())),
            "{prototype}: one for each instruction set"
        );
        let passed = function.prototype().passed_types();
        let parameters = function.prototype().parameters.iter().zip(&passed);
        let target = |ctype: &CType| pointee(ctype).and_then(CType::size).unwrap_or(0);
        let targets: Vec<usize> = passed.iter().map(target).collect();
        let stores = *function.prototype().returns.resolved() != CType::Void;
        let mut combinations = vec![Vec::new()];
        for (parameter, ctype) in parameters {
            let kinds = kinds_of(ctype, &parameter.name);
            combinations = combinations
                .into_iter()
                .flat_map(|before: Vec<OperandKind>| {
                    kinds
                        .iter()
                        .map(move |kind| [before.as_slice(), &[*kind]].concat())
                })
                .collect();
        }
        let mut fitting = Vec::new();
        let constants = |kinds: &&Vec<OperandKind>| {
            kinds
                .iter()
                .filter(|kind| **kind == OperandKind::Constant)
                .count()
        };
        for kinds in combinations
            .iter()
            .filter(|kinds| kinds.len() < 8 || constants(kinds) == 0)
        {
            for &name in variants.iter().filter(|name| name.isa().is_available()) {
                // SAFETY: the tests may run the code of the fixture.
                let address = unsafe { fixture.library.symbol(name.symbol()) }.unwrap();
                // SAFETY: the address is that of the variant, and the library stays loaded.
                let vector = unsafe {
                    VectorLoop::new(
                        name,
                        address,
                        function.trampoline(),
                        kinds,
                        &targets,
                        stores,
                    )
                };
                let Some(vector) = vector else { continue };
                fitting.push(name.isa());
                compare(&function, &vector, kinds);
            }
        }
        // The integers of AVX, in registers of half the width, are left to AVX2; and bytes need 32 lanes there.
        let least = [Isa::Sse, Isa::Avx2, Isa::Avx512, Isa::Sve, Isa::Neon];
        let exists = |isa| variants.iter().any(|name| name.isa() == isa);
        assert!(
            least
                .into_iter()
                .all(|isa| fitting.contains(&isa) || !isa.is_available() || !exists(isa)),
            "{prototype}: {fitting:?}"
        );
    }
}

/// Compares the memory of all operands after calls by a variant and by the function.
fn compare(function: &Function, vector: &VectorLoop, kinds: &[OperandKind]) {
    let prototype = function.prototype();
    let passed = prototype.passed_types();
    let types = passed.iter();
    let types = types.chain([&prototype.returns]);
    let size = |ctype: &CType| pointee(ctype).unwrap_or(ctype).size().unwrap_or(0) as isize;
    let sizes: Vec<isize> = types.map(size).collect();
    let contiguous = match function.name() {
        "stepped" => vec![2 * sizes[0], -sizes[1]],
        _ => sizes.clone(),
    };
    let some = |step: isize| {
        move |(index, size): (usize, &isize)| if index % 2 == 0 { size * step } else { *size }
    };
    let alternating = |step| sizes.iter().enumerate().map(some(step)).collect::<Vec<_>>();
    let spread: Vec<isize> = sizes.iter().map(|size| size * 3).collect();
    for strides in [
        contiguous,
        alternating(2),
        alternating(-1),
        alternating(0),
        spread,
    ] {
        // The result of the next call is not to be written over that of this one.
        let is_output = |&index: &usize| {
            sizes.get(index).is_some_and(|size| *size > 0) && index + 1 == sizes.len()
        };
        if (0..sizes.len())
            .filter(is_output)
            .any(|index| strides[index] == 0)
        {
            continue;
        }
        if strides
            .iter()
            .zip(kinds)
            .any(|(stride, kind)| *stride == 0 && *kind == OperandKind::Pointer)
        {
            continue;
        }
        for count in [1, 8, 66] {
            let expected = called(function, None, kinds, &strides, count);
            let found = called(function, Some(vector), kinds, &strides, count);
            assert!(
                expected == found,
                "{}: {kinds:?}, strides {strides:?}, {count} calls",
                vector.name()
            );
        }
    }
}

/// Returns what the variant with the widest registers adds to the argument of `marked`.
fn mark() -> f64 {
    let sets = [
        (Isa::Avx512, 3000.0),
        (Isa::Avx2, 2000.0),
        (Isa::Sse, 1000.0),
        (Isa::Neon, 1000.0),
        (Isa::Sve, 4000.0),
    ];
    // The first one of those with registers of the same width.
    let sets = sets.into_iter().rev().filter(|(isa, _)| isa.is_available());
    sets.max_by_key(|(isa, _)| isa.register()).unwrap().1
}

#[test]
fn a_batch_takes_the_widest_variant_if_told_to() {
    let fixture = Fixture::new();
    let marked = fixture.bind("double marked(double x)");
    let x: Vec<f64> = (0..100_003).map(f64::from).collect();
    for (simd, added) in [
        (Simd::Off, 0.0),
        (Simd::Auto, mark()),
        (Simd::Required, mark()),
    ] {
        for threads in [1, 2] {
            let mut y = vec![0.0; x.len()];
            marked
                .map(&[Arg::from(&x)], &mut [Arg::from(&mut y)])
                .simd(simd)
                .threads(threads)
                .run()
                .unwrap();
            assert!(x.iter().zip(&y).all(|(x, y)| x + added == *y), "{simd:?}");
        }
    }
}

#[test]
fn linear_integers_are_compared_with_the_step() {
    let fixture = Fixture::new();
    let marked_at = fixture.bind("double marked_at(double x, int64_t i)");
    let name = VectorName::parse(if IS_AARCH64 {
        "_ZGVnN2vl_marked_at"
    } else {
        "_ZGVbN2vl_marked_at"
    })
    .unwrap();
    // SAFETY: the tests may run the code of the fixture.
    let address = unsafe { fixture.library.symbol(name.symbol()) }.unwrap();
    let kinds = [OperandKind::Strided; 2];
    // SAFETY: the address is that of the variant, and the library stays loaded.
    let vector = unsafe {
        VectorLoop::new(
            &name,
            address,
            marked_at.trampoline(),
            &kinds,
            &[0; 2],
            true,
        )
    }
    .unwrap();
    // The number of calls from the first one on that the variant makes, two at once.
    for (mut i, made) in [
        ([0_i64, 1, 2, 3, 4, 5, 6, 7, 8], 8),
        ([5, 6, 7, 8, 9, 9, 10, 11, 12], 4),
        ([5, 6, 7, 9, 10, 11, 12, 13, 14], 2),
        ([i64::MAX, 1, 2, 3, 4, 5, 6, 7, 8], 0),
    ] {
        let (mut x, mut y) = ([0.5; 9], [0.0; 9]);
        let pointers = [
            x.as_mut_ptr().cast::<u8>(),
            i.as_mut_ptr().cast(),
            y.as_mut_ptr().cast(),
        ]
        .map(|address| StridedPointer { address, stride: 8 });
        // SAFETY: the arrays have 9 items, and no operand is constant.
        let found = unsafe { vector.run([].as_ptr(), &pointers, 9) };
        assert_eq!(found, made, "{i:?}");
        let expected = |n: usize| 1000.5 + i[n] as f64;
        assert!((0..made).all(|n| y[n] == expected(n)), "{i:?}: {y:?}");

        marked_at
            .map(&[Arg::from(&x), Arg::from(&i)], &mut [Arg::from(&mut y)])
            .simd(Simd::Required)
            .run()
            .unwrap();
        let by_one = |n: usize| 0.5 + i[n] as f64;
        assert!(
            (0..9).all(|n| y[n] == expected(n) || y[n] == by_one(n)),
            "{i:?}: {y:?}"
        );
    }
}

/// Returns the loops for the variants of a function that this processor can run.
fn loops(function: &Function, kinds: &[OperandKind], targets: &[usize]) -> Vec<VectorLoop> {
    let library = &Fixture::new().library;
    let names = library.vector_variants().unwrap();
    let names = names
        .iter()
        .filter(|name| name.function() == function.name());
    let stores = *function.prototype().returns.resolved() != CType::Void;
    let new = |name: &VectorName| {
        // SAFETY: the tests may run the code of the fixture.
        let address = unsafe { library.symbol(name.symbol()) }.unwrap();
        // SAFETY: the address is that of the variant, and the library stays loaded.
        unsafe { VectorLoop::new(name, address, function.trampoline(), kinds, targets, stores) }
    };
    names.filter_map(new).collect()
}

#[test]
fn a_parameter_holds_the_step() {
    use OperandKind::{Constant, Pointer, Strided};
    let fixture = Fixture::new();
    let counted = fixture.bind("double counted_by(double x, int64_t i, int32_t step)");
    let moved = fixture.bind("void moved_by(const double x[1], double y[1], int64_t step)");
    let mut x: Vec<f64> = (0..400).map(f64::from).collect();
    let address = |values: &mut [f64], index: usize| values[index..].as_mut_ptr().cast::<u8>();
    for step in [1_i64, -2, 0, 3] {
        let mut i: Vec<i64> = (0..100).map(|index| 5 + index * step).collect();
        for vector in loops(&counted, &[Strided, Strided, Constant], &[0; 3]) {
            let mut y = vec![-1.0; 100];
            let pointers = [
                address(&mut x, 0),
                i.as_mut_ptr().cast(),
                address(&mut y, 0),
            ]
            .map(|address| StridedPointer { address, stride: 8 });
            // The bytes behind a small integer are anything.
            let frame = |step: i64| [0, 0, 0xdead_beef << 32 | (step as u64 & 0xffff_ffff)];
            // SAFETY: the arrays have 100 items, and the frame has the step.
            let made = unsafe { vector.run(frame(step).as_ptr(), &pointers, 100) };
            // That for SVE has a mask for the last calls.
            let lanes = vector.name().lanes().unwrap_or(100);
            assert_eq!(made, 100 / lanes * lanes, "{}", vector.name());
            assert!(
                (0..made).all(|n| y[n] == x[n] + i[n] as f64),
                "{step}: {y:?}"
            );
            // SAFETY: the arrays have 100 items, and the frame has a step.
            let made = unsafe { vector.run(frame(step + 1).as_ptr(), &pointers, 100) };
            assert!(made <= 1, "{}", vector.name());
        }
        for vector in loops(&moved, &[Pointer, Pointer, Constant], &[8, 8, 0]) {
            let mut y = vec![-1.0; 100];
            let pointers = [
                StridedPointer {
                    address: address(&mut x, 200),
                    stride: 8 * step as isize,
                },
                StridedPointer {
                    address: address(&mut y, 0),
                    stride: 8,
                },
            ];
            let frame = |step: i64| [0, 0, step as u64];
            // SAFETY: the arrays have the items, and the frame has the step.
            let made = unsafe { vector.run(frame(step).as_ptr(), &pointers, 60) };
            assert!(made >= 48, "{}: {made}", vector.name());
            let expected = |n: usize| (200 + step * n as i64) as f64;
            assert!((0..made).all(|n| y[n] == expected(n)), "{step}: {y:?}");
            // SAFETY: the arrays have the items, and the frame has a step.
            let made = unsafe { vector.run(frame(step + 1).as_ptr(), &pointers, 60) };
            assert_eq!(made, 0, "{}", vector.name());
        }
        let (mut y, count) = (vec![0.0; 100], [step as i32; 1]);
        counted
            .map(
                &[Arg::from(&x[..100]), Arg::from(&i), Arg::from(count[0])],
                &mut [Arg::from(&mut y)],
            )
            .simd(if IS_AARCH64 {
                Simd::Auto
            } else {
                Simd::Required
            })
            .run()
            .unwrap();
        assert!(
            (0..100).all(|n| y[n] == x[n] + i[n] as f64),
            "{step}: {y:?}"
        );
    }
    // A step that differs from call to call is none.
    assert!(loops(&counted, &[Strided; 3], &[0; 3]).is_empty());
    // The size of an item has to be known.
    assert!(loops(&moved, &[Pointer, Pointer, Constant], &[0; 3]).is_empty());
}

#[test]
fn pointers_are_aligned_where_the_variant_expects_it() {
    use OperandKind::{Constant, Pointer, Strided};
    #[repr(align(16))]
    struct Aligned([f64; 64]);

    let fixture = Fixture::new();
    let aligned = fixture.bind("void aligned(const double x[1], double y[1])");
    let table = fixture.bind("double aligned_table(const double table[4], int64_t i)");
    let mut x = Aligned(std::array::from_fn(|index| index as f64));
    let mut i: Vec<i64> = (0..32).collect();
    for offset in 0..4 {
        let address = x.0[offset..].as_mut_ptr().cast::<u8>();
        let is_aligned = offset % 2 == 0;
        for vector in loops(&aligned, &[Pointer; 2], &[8; 2]) {
            let mut y = [0.0; 32];
            let pointers = [address, y.as_mut_ptr().cast()]
                .map(|address| StridedPointer { address, stride: 8 });
            // SAFETY: the arrays have 32 items, and no operand is constant.
            let made = unsafe { vector.run([].as_ptr(), &pointers, 32) };
            assert_eq!(made, if is_aligned { 32 } else { 0 }, "{}", vector.name());
            assert!((0..made).all(|n| y[n] == x.0[offset + n]));
        }
        for vector in loops(&table, &[Constant, Strided], &[8, 0]) {
            let mut y = [0.0; 32];
            let pointers = [i.as_mut_ptr().cast::<u8>(), y.as_mut_ptr().cast()]
                .map(|address| StridedPointer { address, stride: 8 });
            let frame = [address.expose_provenance() as u64, 0];
            // SAFETY: the arrays have 32 items, and the frame has the address of the table.
            let made = unsafe { vector.run(frame.as_ptr(), &pointers, 32) };
            assert_eq!(made, if is_aligned { 32 } else { 0 }, "{}", vector.name());
            assert!((0..made).all(|n| y[n] == x.0[offset + n % 4]));
        }
    }
}

#[test]
fn the_number_of_lanes_in_a_name_is_that_of_the_processor() {
    let fixture = Fixture::new();
    let marked = fixture.bind("double marked(double x)");
    let lanes = Isa::Sve.register() / 8;
    for (number, is_taken) in [(lanes, Isa::Sve.is_available()), (lanes + 1, false)] {
        let name = VectorName::parse(&format!("_ZGVsM{number}v_marked")).unwrap();
        let kinds = [OperandKind::Strided];
        let address = marked.address().cast();
        // SAFETY: the loop is not run.
        let vector =
            unsafe { VectorLoop::new(&name, address, marked.trampoline(), &kinds, &[0], true) };
        assert_eq!(vector.is_some(), is_taken, "{name}");
    }
}

#[test]
fn masks_and_files_compose_with_variants() {
    let fixture = Fixture::new();
    let marked = fixture.bind("double marked(double x)");
    let x: Vec<f64> = (0..1000).map(f64::from).collect();
    let mask: Vec<u8> = (0..1000).map(|index| u8::from(index % 7 < 4)).collect();
    let mut y = vec![-1.0; 1000];
    let only = Arg::from(&mask);
    marked
        .map(&[Arg::from(&x)], &mut [Arg::from(&mut y)])
        .only(&only)
        .simd(Simd::Required)
        .run()
        .unwrap();
    let expected = |index: usize| {
        if mask[index] == 0 {
            -1.0
        } else {
            x[index] + mark()
        }
    };
    assert!(y.iter().enumerate().all(|(index, y)| *y == expected(index)));

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("y.npy");
    marked
        .map(&[Arg::from(&x)], &mut [Arg::from(path.as_path())])
        .simd(Simd::Required)
        .run()
        .unwrap();
    // SAFETY: no other program changes the file.
    let file = unsafe { mapcall::array::MapOptions::new().open(&path) }.unwrap();
    let file = file.view::<f64>().unwrap();
    assert!(x.iter().zip(&file).all(|(x, y)| x + mark() == *y));
}

#[test]
fn what_no_variant_can_make_is_refused_or_called_one_by_one() {
    let fixture = Fixture::new();
    let x = [1.5; 5];
    let mut y = [0.0; 5];
    let without = fixture.bind("double without(double x)");
    let error = without
        .map(&[Arg::from(&x)], &mut [Arg::from(&mut y)])
        .simd(Simd::Required)
        .run()
        .unwrap_err();
    let CallError::Simd(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.reason, SimdRefusal::Missing);
    // Those of the widest registers come first, and of the same width Advanced SIMD.
    let symbols: &[&str] = match (IS_AARCH64, Isa::Sve.is_available()) {
        (false, _) => &["_ZGVbN2v_without"],
        (true, false) => &["_ZGVnN2v_without"],
        (true, true) if Isa::Sve.register() == 16 => &["_ZGVnN2v_without", "_ZGVsMxv_without"],
        (true, true) => &["_ZGVsMxv_without", "_ZGVnN2v_without"],
    };
    assert!(
        error
            .symbols
            .iter()
            .map(String::as_str)
            .rev()
            .zip(symbols.iter().rev())
            .all(|(found, symbol)| found == *symbol)
    );
    assert!(error.symbols.len() >= symbols.len());
    assert!(
        error.to_string().contains("#pragma omp declare simd"),
        "{error}"
    );
    without
        .map(&[Arg::from(&x)], &mut [Arg::from(&mut y)])
        .simd(Simd::Auto)
        .run()
        .unwrap();
    assert_eq!(y, x);

    let nine = fixture.bind(
        "double nine(double a, double b, double c, double d, double e, double f, double g, double h, double i)",
    );
    let inputs: [Arg<'_>; 9] = std::array::from_fn(|_| Arg::from(&x));
    let error = nine
        .map(&inputs, &mut [Arg::from(&mut y)])
        .simd(Simd::Required)
        .run()
        .unwrap_err();
    let CallError::Simd(error) = error else {
        panic!("{error}")
    };
    let count = if IS_AARCH64 { 2 } else { 4 };
    assert_eq!(
        (error.reason, error.symbols.len()),
        (SimdRefusal::Unfit, count)
    );
    nine.map(&inputs, &mut [Arg::from(&mut y)])
        .simd(Simd::Auto)
        .run()
        .unwrap();
    assert_eq!(y, [13.5; 5]);

    let status = fixture
        .bind("int32_t status(int32_t x)")
        .check(Success::Zero)
        .unwrap();
    let codes = [0; 3];
    let error = status
        .map(&[Arg::from(&codes)], &mut [])
        .simd(Simd::Required)
        .run();
    let Err(CallError::Simd(error)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (error.reason, error.symbols.len()),
        (SimdRefusal::Checked, 0)
    );
}

/// A value of each kind that the functions of libm distinguish.
fn samples() -> Vec<f64> {
    let small = (0..2000).map(|index| f64::from(index) / 100.0 - 10.0);
    small
        .chain([
            0.0,
            -0.0,
            1e-300,
            1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ])
        .collect()
}

/// Returns what a function computes of the same numbers for each of its parameters, by its own code and by a variant.
fn by_both<T: Element + Default>(
    function: &Function,
    parameters: usize,
    x: &[T],
) -> (Vec<T>, Vec<T>) {
    let inputs: Vec<Arg<'_>> = (0..parameters).map(|_| Arg::from(x)).collect();
    let results = |simd| {
        let mut results = vec![T::default(); x.len()];
        let batch = function
            .map(&inputs, &mut [Arg::from(&mut results)])
            .simd(simd)
            .run();
        batch.unwrap();
        results
    };
    (results(Simd::Off), results(Simd::Required))
}

#[test]
fn libmvec_computes_as_libm_does() {
    // SAFETY: libm's initialisers are sound to run.
    let libm = unsafe { Library::open("m") }.unwrap();
    let names = libm.vector_variants().unwrap();
    let mut functions: Vec<&str> = names.iter().map(VectorName::function).collect();
    functions.sort_unstable();
    functions.dedup();
    let mut compared = 0;
    // Those for SVE of the GNU C library 2.41 give infinity for exp2(NaN) if the result of another lane overflows, and NaN
    // for the power of a positive number if another lane's is undefined.
    let is_fault = |function: &str, x: f64, z: f64| {
        let is_wrong =
            (function == "exp2" && x.is_nan()) || (function.starts_with("pow") && z.is_nan());
        is_wrong && Isa::Sve.is_available()
    };
    for function in functions
        .into_iter()
        .filter(|name| !name.starts_with("sincos"))
    {
        let parameters = names
            .iter()
            .find(|name| name.function() == function)
            .unwrap()
            .parameters()
            .len();
        let is_float = function.ends_with('f') && function != "erf";
        let ctype = if is_float { "float" } else { "double" };
        let prototype = format!("{ctype} {function}({})", vec![ctype; parameters].join(", "));
        // SAFETY: this is the type of all of them.
        let function = unsafe { libm.function(&prototype) }.unwrap();
        let (epsilon, smallest) = if is_float {
            (f32::EPSILON.into(), f32::MIN_POSITIVE.into())
        } else {
            (f64::EPSILON, f64::MIN_POSITIVE)
        };
        let close = |scalar: f64, vector: f64| {
            scalar == vector
                || (scalar.is_nan() && vector.is_nan())
                || (scalar - vector).abs() <= 4.0 * epsilon * scalar.abs().max(smallest)
        };
        let x = samples();
        if is_float {
            let x: Vec<f32> = x
                .iter()
                .map(|x| *x as f32)
                .filter(|x| x.abs() < 100.0)
                .collect();
            let (y, z) = by_both(&function, parameters, &x);
            for ((x, y), z) in x.iter().zip(&y).zip(&z) {
                let (x, y, z) = (f64::from(*x), f64::from(*y), f64::from(*z));
                let is_close = close(y, z) || is_fault(function.name(), x, z);
                assert!(is_close, "{prototype}: {x}: {y} {z}");
            }
        } else {
            let (y, z) = by_both(&function, parameters, &x);
            for ((x, y), z) in x.iter().zip(&y).zip(&z) {
                let is_close = close(*y, *z) || is_fault(function.name(), *x, *z);
                assert!(is_close, "{prototype}: {x}: {y} {z}");
            }
        }
        compared += 1;
    }
    assert!(compared > 20 || cfg!(not(glibc)), "{compared}");
}

#[test]
fn functions_of_the_process_have_the_variants_of_their_library() {
    // SAFETY: libm's initialisers are sound to run.
    let _libm = unsafe { Library::open("m") }.unwrap();
    // SAFETY: this is the prototype of `cos`.
    let Ok(cos) = (unsafe { Library::process().unwrap().function("double cos(double x)") }) else {
        return;
    };
    let (x, mut y) = ([0.0; 9], [0.0; 9]);
    let report = |_: usize, _: usize| ControlFlow::Continue(());
    cos.map(&[Arg::from(&x)], &mut [Arg::from(&mut y)])
        .simd(Simd::Required)
        .progress(report)
        .run()
        .unwrap();
    assert_eq!(y, [1.0; 9]);
}
