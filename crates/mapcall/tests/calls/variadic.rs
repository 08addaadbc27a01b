//! Variadic functions by fixed prototypes: System V's callers say in AL how many vector registers
//! they use. Each function begins at an address whose last byte is 0, which is what AL is by chance where
//! nothing sets it.

use std::fmt::Write;

use mapcall::contract::Rule;
use mapcall::{Arg, Function, Library};
use num_complex::Complex;
use tempfile::TempDir;

use crate::c_calls::{self, compile, open};

/// The types that travel in vector registers as variable arguments, how a value is made of a number,
/// and how it becomes one.
const TYPES: [(&str, &str); 5] = [
    ("double", "x"),
    ("float _Complex", "__real__ x + __imag__ x"),
    ("double _Complex", "__real__ x + __imag__ x"),
    ("struct pair", "x.a + x.b"),
    ("struct mixed", "x.a + x.n"),
];

const STRUCTS: &str = "struct pair { float a, b; }; struct mixed { double a; long n; };";

/// A variadic function of so many integers, a value of each of the types, and as many `double` as the
/// first integer says.
fn define(c: &mut String, name: &str, integers: usize, types: &[(&str, &str)]) {
    let named: Vec<String> = (0..integers).map(|i| format!("long i{i}")).collect();
    let (named, last) = (named.join(", "), integers - 1);
    write!(
        c,
        "__attribute__((aligned(256))) double {name}({named}, ...) {{ "
    )
    .unwrap();
    write!(c, "va_list all; va_start(all, i{last}); double sum = 0;").unwrap();
    for i in 1..integers {
        write!(c, " sum += i{i};").unwrap();
    }
    for (ctype, value) in types {
        write!(
            c,
            " {{ {ctype} x = va_arg(all, {ctype}); sum += {value}; }}"
        )
        .unwrap();
    }
    c.push_str(" while (i0--) sum += va_arg(all, double); va_end(all); return sum; }\n");
}

fn library() -> (TempDir, Library) {
    let mut c = format!("#include <stdarg.h>\n{STRUCTS}\n");
    for integers in 1..=9 {
        define(&mut c, &format!("sum{integers}"), integers, &TYPES);
        define(&mut c, &format!("plain{integers}"), integers, &[]);
    }
    c.push_str(
        "__attribute__((aligned(256))) double total(int n, ...) {
            va_list all; double sum = 0; va_start(all, n);
            while (n--) sum += va_arg(all, double);
            va_end(all); return sum; }
        __attribute__((aligned(256))) double after(double a, ...) {
            va_list all; va_start(all, a); a -= va_arg(all, double); va_end(all); return a; }",
    );
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("variadic.so");
    compile(&path, &c, "-O1");
    let library = open(&path);
    (folder, library)
}

fn engines(library: &Library, prototype: &str) -> Vec<Function> {
    // SAFETY: the functions above take such arguments.
    c_calls::engines(unsafe { library.function(prototype) }.unwrap())
}

#[test]
fn one_call() {
    let (_folder, library) = library();
    for count in 1..=12_usize {
        let parameters: Vec<String> = (0..count).map(|i| format!("double x{i}")).collect();
        let prototype = format!("double total(int n, {})", parameters.join(", "));
        for total in engines(&library, &prototype) {
            let mut arguments: Vec<Arg<'_>> = vec![count.into()];
            arguments.extend((1..=count).map(|x| Arg::from(x as f64 + 0.5)));
            let expected = (count * (count + 1) / 2) as f64 + count as f64 / 2.0;
            assert_eq!(
                total.call(&mut arguments).unwrap().to_f64(),
                Some(expected),
                "{total:?}"
            );
        }
    }
    for after in engines(&library, "double after(double a, double b)") {
        let value = after.call(&mut [5.0.into(), 1.5.into()]).unwrap();
        assert_eq!(value.to_f64(), Some(3.5));
    }
}

/// Integers before the values move them, and the address that the call goes to, to other registers and
/// to the stack.
#[test]
fn all_that_travels_in_vector_registers() {
    let (_folder, library) = library();
    for (integers, doubles) in (1..=9).flat_map(|i| (0..=9).map(move |d| (i, d))) {
        for (name, types) in [("sum", &TYPES[..]), ("plain", &[])] {
            let mut parameters: Vec<String> = (0..integers).map(|i| format!("long i{i}")).collect();
            let types = types.iter().enumerate();
            parameters.extend(types.map(|(i, (ctype, _))| format!("{ctype} v{i}")));
            parameters.extend((0..doubles).map(|i| format!("double x{i}")));
            let parameters = parameters.join(", ");
            let prototype = format!("{STRUCTS} double {name}{integers}({parameters})");
            for function in engines(&library, &prototype) {
                let mut arguments: Vec<Arg<'_>> = vec![doubles.into()];
                arguments.extend((1..integers).map(|_| Arg::from(1000)));
                let mut expected = 1000.0 * f64::from(integers - 1) + 0.5 * f64::from(doubles);
                if name == "sum" {
                    arguments.extend(values(&function));
                    expected += 1033.25;
                }
                arguments.extend((0..doubles).map(|_| Arg::from(0.5)));
                let value = function.call(&mut arguments).unwrap().to_f64();
                assert_eq!(value, Some(expected), "{function:?}");
            }
        }
    }
}

/// A value of each type.
fn values(function: &Function) -> Vec<Arg<'static>> {
    let mut values = vec![
        0.25.into(),
        Complex::new(1.0_f32, 2.0).into(),
        Complex::new(10.0, 20.0).into(),
    ];
    for rule in function.contract().rules() {
        if let Rule::Record { dtype, name, .. } = rule {
            let bytes = if name.contains("pair") {
                [100.0_f32, 200.0].map(f32::to_ne_bytes).concat()
            } else {
                [300.0_f64.to_ne_bytes(), 400_i64.to_ne_bytes()].concat()
            };
            values.push(Arg::Record(dtype.clone(), bytes.into()));
        }
    }
    values
}

#[test]
fn batches() {
    let (_folder, library) = library();
    let x: Vec<f64> = (0..101).map(f64::from).collect();
    let ones = vec![1_i32; 101];
    for total in engines(&library, "double total(int n, double a)") {
        for threads in [1, 2] {
            // Dense, strided, and a value that is the same for all.
            let mut y = vec![0.0; 101];
            let inputs = [Arg::from(&ones), Arg::from(&x)];
            let mut outputs = [Arg::from(&mut y)];
            total
                .map(&inputs, &mut outputs)
                .threads(threads)
                .run()
                .unwrap();
            assert_eq!(y, x);
            let backwards = ndarray::ArrayView1::from(&x);
            let backwards = backwards.slice(ndarray::s![..;-2]);
            let mut y = vec![0.0; 51];
            total
                .map(&[1.into(), Arg::from(&backwards)], &mut [Arg::from(&mut y)])
                .threads(threads)
                .run()
                .unwrap();
            assert_eq!(y, backwards.to_vec());
            let mut y = vec![0.0; 101];
            total
                .map(&[Arg::from(&ones), 2.5.into()], &mut [Arg::from(&mut y)])
                .run()
                .unwrap();
            assert_eq!(y, [2.5; 101]);
        }
    }
}

#[test]
#[cfg(has_jit)]
fn as_a_rust_function() {
    let (_folder, library) = library();
    // SAFETY: the functions above take such arguments.
    let [total, after] = [
        "double total(int n, double a)",
        "double after(double a, double b)",
    ]
    .map(|text| unsafe { library.function(text) }.unwrap());
    let total = total.typed::<extern "C" fn(i32, f64) -> f64>().unwrap();
    let after = after.typed::<extern "C" fn(f64, f64) -> f64>().unwrap();
    assert_eq!((total(1, 2.5), after(5.0, 1.5)), (2.5, 3.5));
}

#[test]
fn the_types_of_variable_arguments_come_from_the_values() {
    let (_folder, library) = library();
    for total in engines(&library, "double total(int n, ...)") {
        for count in 0..=12_usize {
            let mut arguments: Vec<Arg<'_>> = vec![count.into()];
            arguments.extend((1..=count).map(|x| Arg::from(x as f32 + 0.5)));
            let expected = (count * (count + 1) / 2) as f64 + count as f64 / 2.0;
            let value = total.call(&mut arguments).unwrap();
            assert_eq!(value.to_f64(), Some(expected), "{total:?}");
        }
    }
    let process = Library::process().unwrap();
    let text = "int snprintf(char text[n], size_t n, const char *format, ...)";
    // SAFETY: this is the prototype of `snprintf`.
    let snprintf = unsafe { process.function(text) }.unwrap();
    for snprintf in c_calls::engines(snprintf.with_extent("n", 64).unwrap()) {
        let floats = [1.5, 2.5];
        let mut arguments = [
            Arg::Out,
            "%d %ld %lu %s %g %d".into(),
            (-3).into(),
            i64::MIN.into(),
            u64::MAX.into(),
            "text".into(),
            0.5_f32.into(),
            true.into(),
        ];
        let length = snprintf.call(&mut arguments).unwrap().to_i128().unwrap();
        let written = arguments[0].array().unwrap().view::<i8>().unwrap();
        let written: Vec<u8> = written.iter().map(|byte| byte.cast_unsigned()).collect();
        let expected = format!("-3 {} {} text 0.5 1", i64::MIN, u64::MAX);
        assert_eq!(
            &written[..usize::try_from(length).unwrap()],
            expected.as_bytes()
        );
        // Pointers: NULL, memory, a function.
        let mut arguments = [
            Arg::Out,
            "%p %d".into(),
            Arg::from(&floats),
            Arg::from(&snprintf),
        ];
        assert!(snprintf.call(&mut arguments).is_ok());
        let error = snprintf
            .call(&mut [Arg::Out, "%d".into(), mapcall::Scalar::Int(1 << 64).into()])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "snprintf: arg3: expected an integer of at most 64 bits, got 18446744073709551616; give a \
             value that an integer of at most 64 bits has",
        );
        let error = snprintf
            .call(&mut [Arg::Out, "".into(), Arg::Out])
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("snprintf: arg3: expected a variable argument")
        );
    }
}

#[test]
fn a_batch_of_a_variadic_function_is_refused() {
    let (_folder, library) = library();
    for total in engines(&library, "double total(int n, ...)") {
        let error = total
            .map(&[Arg::from(&[0_i32, 0])], &mut [])
            .run()
            .unwrap_err();
        assert!(
            error.to_string().contains("a parameter for each argument"),
            "{error}"
        );
    }
}
