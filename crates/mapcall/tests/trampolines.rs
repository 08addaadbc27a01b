//! Calls by C types: functions that the system's C compiler makes, called through both engines.

#![cfg(all(target_os = "linux", target_endian = "little"))]
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::multiple_unsafe_ops_per_block,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    unsafe_code,
    reason = "a test fails by a panic, and calls C"
)]

mod c_calls;

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Barrier;
use std::thread;

use mapcall::call::{CallTypeError, Closure, Engine, Trampoline};
use mapcall::{CType, Prototype};
use tempfile::TempDir;

use c_calls::signatures::check_random;
use c_calls::{
    ALL_VALUES, Case, DISAGREE, Functions, Numbers, compile, libffi, open, symbol, trampoline,
    trampoline_if_any, types,
};

/// Calls every function through both engines and as a closure; how many each engine was chosen
/// for.
fn check(declarations: &str, seed: u64) -> (usize, usize) {
    let functions = Functions::compile(declarations);
    let mut numbers = Numbers(seed);
    let mut chosen = (0, 0);
    for prototype in &functions.prototypes {
        let Some(trampoline) = trampoline_if_any(prototype) else {
            continue;
        };
        let libffi = libffi(prototype);
        match trampoline.engine() {
            Engine::Cranelift => chosen.0 += 1,
            _ => chosen.1 += 1,
        }
        for _ in 0..4 {
            let case = Case::new(prototype, &mut numbers);
            case.call(&functions, prototype, &trampoline);
            case.call(&functions, prototype, &libffi);
            case.call_back(&functions, prototype);
        }
    }
    chosen
}

#[test]
fn both_engines_agree_with_the_c_compiler() {
    check_random(60, 32, check);
}

/// The corners of the ABI by name, none left to chance.
#[test]
fn records_travel_as_the_c_compiler_has_them() {
    let mut c = String::from(
        "struct one { char c; };
        struct three { char c[3]; };
        struct twelve { float x; double _Complex *p; char c; };
        struct f1 { float x; };
        struct f2 { float x, y; };
        struct f3 { float x, y, z; };
        struct f4 { float x[4]; };
        struct f5 { float x[5]; };
        struct mixed { double x; int n; };
        struct turned { long n; float x; };
        struct together { float x; int n; double y; };
        struct h3 { _Float16 x[3]; };
        struct h1 { _Float16 x; };
        struct cf { float _Complex z; };
        struct cd { double _Complex z; };
        struct shifted { float x; float _Complex z; };
        struct quad { long double x; };
        struct quads { long double x[2]; };
        struct __attribute__((packed)) packed { char c; double x; };
        struct __attribute__((packed)) tight { double x; char c; };
        struct within { struct tight t; char d; };
        struct items { struct { short n; float x; } m[2]; };
        struct bytes { struct { char a, b, c; } m[3][1]; };
        struct halves { struct { _Float16 a, b, c; } m[2]; };
        struct __attribute__((packed)) unaligned { long double x; };
        union number { double x; float y; };
        union bits { double x; unsigned long n; };
        union part { char c[12]; float x[3]; };
        union extended { long double x; };
        union spoilt { long double x; long n; };
        union words { long double x; long n[2]; };
        union floats { long double x; float y; };
        union nested { long double x; struct { long n; float y; int m; } s; };
        union turn { struct { long n; float y; int m; } s; long double x; };
        union two { float x[4]; struct { double a, b; } d; };
        struct holds { union bits b; float x; };
        struct full { char c[16]; };
        struct over { char c[17]; };
        struct thirty { double x[4]; };
        struct large { int n[16]; };
        struct huge { short n[300]; };\n",
    );
    let names: Vec<String> = mapcall::Declarations::parse(&c)
        .structs()
        .values()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names.len(), 41);
    for (i, name) in names.iter().enumerate() {
        // Alone, behind almost all registers of a kind, with none left, and at an odd word.
        let _ = writeln!(
            c,
            "{name} a{i}({name} p, char q);
            {name} b{i}(int a, int b, int c, int d, int e, {name} p, double q, int r, int s);
            {name} c{i}(double a, double b, double c, double d, double e, double f, double g,
                {name} p, float q, float r, char s);
            void d{i}(char a, {name} p, {name} q, {name} r, {name} s, {name} t, char u, float v);
            void e{i}(double a, double b, double c, double d, double e, double f, double g,
                double h, double i, {name} p, char q);"
        );
    }
    let (cranelift, libffi) = check(&c, 1);
    if ALL_VALUES {
        assert_eq!(cranelift + libffi, 5 * 41);
        assert!(
            libffi > 20 && (cranelift > 20) == cfg!(has_jit),
            "{cranelift} and {libffi}"
        );
    }
}

#[test]
#[cfg(abi_system_v)]
fn aligned_records_travel_as_the_c_compiler_has_them() {
    let c = "struct pair { _Alignas(16) long a; long b; };
        struct four { _Alignas(16) float x[4]; };
        struct eight { _Alignas(16) float x[8]; };
        struct pair f(int a, struct pair p, char b, struct four q, long double x, char c);
        struct four g(char a, struct eight p, char b, struct eight q, long r, struct pair s);
        struct eight h(long a, long b, long c, long d, long e, long f, char g, struct pair p);";
    assert_eq!(check(c, 2), (0, 3));
}

/// Callees that rely on what is above a narrow value, as compilers differ in.
#[test]
fn narrow_integers_are_extended() {
    let integers = [
        ("_Bool", 1),
        ("signed char", -128),
        ("unsigned char", 255),
        ("short", -32768),
        ("unsigned short", 65535),
        ("int", -0x8000_0000),
        ("unsigned int", 0xffff_ffff),
        ("long", i64::MIN),
    ];
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("narrow.so");
    let (mut c, mut prototypes) = (String::new(), String::new());
    for (i, (name, _)) in integers.iter().enumerate() {
        for prototype in [
            format!("long f{i}({name} a)"),
            format!(
                "long g{i}(long a, long b, long c, long d, long e, long f, long g, long h, {name} z)"
            ),
        ] {
            let last = if prototype.contains('z') { "z" } else { "a" };
            let _ = writeln!(c, "{prototype} {{ return {last}; }}");
            let _ = writeln!(prototypes, "{prototype};");
        }
    }
    compile(&path, &c, "-O2");
    let library = open(&path);
    let header = mapcall::Declarations::parse(&prototypes);
    for (i, function) in header.functions().iter().enumerate() {
        let prototype = function.prototype.as_ref().unwrap();
        let (_, extreme) = integers[i / 2];
        for value in [extreme, 0, 1] {
            for trampoline in [trampoline(prototype).unwrap(), libffi(prototype)] {
                let layout = trampoline.layout();
                let mut frame = vec![0; layout.slots()];
                frame[layout.result() - 1] = value.cast_unsigned();
                // SAFETY: the function is of this type, and the frame is filled.
                unsafe {
                    trampoline.call(symbol(&library, &prototype.name), frame.as_mut_ptr());
                }
                assert_eq!(frame[layout.result()].cast_signed(), value, "{prototype}");
            }
        }
    }
}

/// Threads that make, compile and call the same signatures at the same time.
#[test]
fn threads_compile_the_same_signatures() {
    const THREADS: u32 = 8;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sum.so");
    let mut c = String::new();
    let mut prototypes = Vec::new();
    for i in 0..40_usize {
        // The bits of `i` choose the types, so that no two are alike.
        let parameter = |at: usize| if i >> at & 1 == 0 { "long" } else { "double" };
        let list: Vec<_> = (0..6)
            .map(|at| format!("{} p{at}", parameter(at)))
            .collect();
        let text = format!("double sum{i}({}, long q, double r)", list.join(", "));
        let _ = writeln!(
            c,
            "{text} {{ return p0 + 2*p1 + 3*p2 + 4*p3 + 5*p4 + 6*p5 + 7*q + 8*r; }}"
        );
        prototypes.push(Prototype::parse(&text).unwrap());
    }
    compile(&path, &c, "-O1");
    let library = open(&path);
    let shared: Vec<_> = prototypes.iter().map(|p| trampoline(p).unwrap()).collect();
    let barrier = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (prototypes, shared, barrier, library) = (&prototypes, &shared, &barrier, &library);
            scope.spawn(move || {
                for (prototype, shared) in prototypes.iter().zip(shared) {
                    let function = symbol(library, &prototype.name);
                    barrier.wait();
                    let own = trampoline(prototype).unwrap();
                    for trampoline in [shared.clone(), own] {
                        let value = |(i, ctype): (u32, &CType)| match ctype {
                            CType::Float(_) => f64::from(i + thread).to_bits(),
                            _ => u64::from(i + thread),
                        };
                        let mut frame: Vec<u64> = (0..).zip(types(prototype)).map(value).collect();
                        frame.push(0);
                        // SAFETY: the function is of this type, and the frame is filled.
                        unsafe { trampoline.call(function, frame.as_mut_ptr()) };
                        let expected: u32 = (0..8).map(|i| (i + 1) * (i + thread)).sum();
                        assert_eq!(
                            f64::from_bits(frame[8]).to_bits(),
                            f64::from(expected).to_bits()
                        );
                    }
                }
            });
        }
    });
    assert!(shared.iter().all(|one| one.engine() == shared[0].engine()));
}

#[test]
fn errno_of_the_call_is_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("errno.so");
    compile(
        &path,
        "#include <errno.h>\nint was(void) { return errno; }\nvoid now(short s, int n) { errno = n; }",
        "-O1",
    );
    let library = open(&path);
    let was = Prototype::parse("int was(void)").unwrap();
    let now = Prototype::parse("void now(short s, int n)").unwrap();
    let mut frame = [0, 77];
    // SAFETY: the function is of this type, and the frame is filled.
    unsafe {
        trampoline(&now)
            .unwrap()
            .call(symbol(&library, "now"), frame.as_mut_ptr());
    };
    // Compiled only now, between the two.
    let mut frame = [0];
    // SAFETY: the function is of this type.
    unsafe {
        trampoline(&was)
            .unwrap()
            .call(symbol(&library, "was"), frame.as_mut_ptr());
    };
    assert_eq!(frame[0] as i32, 77);
}

#[test]
fn a_closure_that_panics_returns_zero() {
    let f = Prototype::parse("struct { double x; long n[3]; } f(long a)").unwrap();
    let g = Prototype::parse("short g(long a)").unwrap();
    for prototype in [f, g] {
        let closure = Closure::new(
            &prototype.returns,
            types(&prototype),
            Box::new(|layout, frame| {
                frame[layout.result()] = 5;
                std::panic::resume_unwind(Box::new("this one is meant"));
            }),
        )
        .unwrap();
        let trampoline = trampoline(&prototype).unwrap();
        let mut frame = [9_u64; 5];
        // SAFETY: the closure is of this type, and the frame is large enough.
        unsafe { trampoline.call(closure.address(), frame.as_mut_ptr()) };
        let end = trampoline.layout().slots();
        assert!(frame[1..end].iter().all(|word| *word == 0), "{frame:?}");
    }
}

#[test]
fn closures_run_on_any_thread() {
    let f = Prototype::parse("long f(long a)").unwrap();
    let closures: Vec<_> = (0..100_u64)
        .map(|i| {
            let body = move |_: &_, frame: &mut [u64]| frame[1] = frame[0] * i;
            Closure::new(&f.returns, types(&f), Box::new(body)).unwrap()
        })
        .collect();
    let addresses: HashSet<_> = closures.iter().map(|c| c.address().addr()).collect();
    assert_eq!(addresses.len(), closures.len());
    thread::scope(|scope| {
        for thread in 0..4 {
            let (f, closures) = (&f, &closures);
            scope.spawn(move || {
                let trampoline = trampoline(f).unwrap();
                for (i, closure) in (0..).zip(closures) {
                    let mut frame = [thread, 0];
                    // SAFETY: the closure is of this type and lives.
                    unsafe { trampoline.call(closure.address(), frame.as_mut_ptr()) };
                    assert_eq!(frame[1], thread * i);
                }
            });
        }
    });
}

#[test]
fn what_cannot_be_passed_is_refused() {
    let refused = |text: &str| {
        let prototype = Prototype::parse(text).unwrap();
        let error = trampoline(&prototype).unwrap_err();
        let body = Box::new(|_: &_, _: &mut [u64]| {});
        let closure = Closure::new(&prototype.returns, types(&prototype), body);
        assert_eq!(closure.unwrap_err(), error);
        error.to_string()
    };
    assert_eq!(
        refused("struct large { char bytes[65536]; }; char f(struct large s, int n)"),
        "expected parameters and result of at most 65536 bytes, got more; pass pointers to the \
         large ones"
    );
    assert_eq!(
        refused(
            "struct large { char bytes[0x7fffffffffffffff]; }; char f(struct large *p, struct large s)"
        ),
        "expected parameters and result of at most 65536 bytes, got more; pass pointers to the \
         large ones"
    );
    assert_eq!(
        refused("struct wide { _Alignas(32) double x; }; void f(struct wide w)"),
        "`struct wide` can't be passed by value: its alignment is 32 bytes, more than the \
         stack's 16; pass a pointer to it"
    );
    assert_eq!(
        refused("struct nothing { }; void f(struct nothing w)"),
        "`struct nothing` can't be passed by value: it is empty; pass a pointer to it"
    );
    if cfg!(abi_system_v) {
        assert_eq!(
            refused("struct lone { _Alignas(16) int n; }; struct lone f(void)"),
            "`struct lone` can't be passed by value: eight of its bytes are all padding; pass a \
             pointer to it"
        );
        for members in [
            "struct __attribute__((packed)) { int n; char c; } m[2];",
            "struct { short n; _Float16 x[2]; } m[2];",
            "struct { short n; _Float16 x[2]; } m[2][1];",
            "union { struct { _Float16 x; char c; } m[3]; long n; } u;",
        ] {
            let text = format!("struct items {{ {members} }}; void f(struct items s);");
            let message = refused(&text);
            assert!(message.contains(DISAGREE), "{text} {message}");
        }
    }
    let array = mapcall::Declarations::parse("struct s { int n[3]; };").structs()["s"].clone();
    let CType::Record(record) = &array else {
        panic!()
    };
    let mapcall::ctype::Body::Complete { members, .. } = &record.body else {
        panic!()
    };
    assert_eq!(
        Trampoline::new(&members[0].ctype, []).unwrap_err(),
        CallTypeError::NoValue {
            ctype: "int[3]".into()
        }
    );
    let f = Prototype::parse("long double f(void)").unwrap();
    let error = Trampoline::with_engine(&f.returns, [], Engine::Cranelift).unwrap_err();
    assert_eq!(
        error,
        CallTypeError::Engine {
            engine: Engine::Cranelift
        }
    );
    // What it advises: "leave the choice of engine open".
    let open = Trampoline::new(&f.returns, []).unwrap();
    assert_eq!(open.engine(), Engine::Libffi);
}
