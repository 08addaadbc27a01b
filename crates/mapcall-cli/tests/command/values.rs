//! `NAME=VALUE`: the values that each kind of parameter takes, and the errors for all others.

#![cfg(unix)]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and its files are its own"
)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use mapcall::array::layout::Order;
use mapcall::array::{DType, MapOptions, Mode, create};
use mapcall::contract::{Contract, Scalar};
use mapcall::{Arg, Library, Prototype};
use mapcall_cli::value::file::ArrayFile;
use mapcall_cli::value::{Opened, Value, ValueError, values};
use tempfile::TempDir;

fn contract(prototype: &str) -> Contract {
    Contract::new(Prototype::parse(prototype).unwrap()).unwrap()
}

fn read(prototype: &str, assignments: &[&str]) -> Result<Vec<Option<Value>>, ValueError> {
    let assignments: Vec<OsString> = assignments.iter().map(OsString::from).collect();
    values(&contract(prototype), &assignments)
}

fn one(prototype: &str, assignment: &str) -> Value {
    let values = read(prototype, &[assignment]).unwrap();
    values.into_iter().flatten().next().unwrap()
}

/// Creates a directory with `x.npy`, 10 float64, and `raw.bin`, 48 bytes.
fn files() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.npy");
    // SAFETY: no other code writes or shortens the temporary file.
    drop(unsafe { create(path, DType::F64, &[10], Order::C) }.unwrap());
    fs::write(directory.path().join("raw.bin"), [1; 48]).unwrap();
    directory
}

#[test]
fn numbers_are_those_of_the_type() {
    let f = "void f(int i, unsigned char c, double d, float _Complex z, _Bool b)";
    let values = read(f, &["b=true", "z=1+2j", "d=0x10", "c=0xff", "i=-012"]).unwrap();
    let numbers: Vec<Scalar> = values
        .into_iter()
        .map(|value| match value {
            Some(Value::Scalar(number)) => number,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        numbers[..3],
        [Scalar::Int(-10), Scalar::Int(255), Scalar::Int(16)]
    );
    assert_eq!(numbers[4], Scalar::Bool(true));
    for (assignment, message) in [
        (
            "c=256",
            "f: c: expected unsigned char, got 256; give a value from 0 to 255",
        ),
        ("i=1.5", "f: i: expected int, got 1.5; give 1 or 2"),
        (
            "d=1+2j",
            "f: d: expected double, got 1+2i; give its real part",
        ),
        (
            "d=1e999",
            "f: d: expected double, got \"1e999\", which is too large; give a number that C's types have",
        ),
        (
            "i=",
            "f: i: expected int, got \"\", which is no number and no file; give a number, or a file as x.npy, x.npz:member or raw.bin:f4:1000x1000",
        ),
        (
            "i=NULL",
            "f: i: expected int, got \"NULL\", which is no number and no file; give a number, or a file as x.npy, x.npz:member or raw.bin:f4:1000x1000",
        ),
        (
            "n=1",
            "f: expected a parameter's name, got n; its parameters are i, c, d, z, b",
        ),
        (
            "1",
            "f: expected NAME=VALUE, got \"1\"; its parameters are i, c, d, z, b",
        ),
        (
            "=1",
            "f: expected a parameter's name, got ; its parameters are i, c, d, z, b",
        ),
    ] {
        assert_eq!(read(f, &[assignment]).unwrap_err().to_string(), message);
    }
    let error = read(f, &["i=1", "i=2"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "f: i: expected int, got a second value; give it once"
    );
}

#[test]
fn texts() {
    let puts = "int puts(const char *s)";
    for (text, bytes) in [
        ("s=", &b""[..]),
        ("s=12", b"12"),
        ("s=x.npy[0:3]", b"x.npy[0:3]"),
        ("s=a=b", b"a=b"),
        ("s='NULL'", b"NULL"),
        ("s=\"it's\"", b"it's"),
        ("s='", b"'"),
        ("s=''", b""),
        ("s='a\"", b"'a\""),
    ] {
        assert_eq!(one(puts, text), Value::Text(bytes.to_vec()), "{text}");
    }
    assert_eq!(one(puts, "s=NULL"), Value::Null);
    let latin = OsString::from_vec(b"s=\xe9".to_vec());
    let values = values(&contract(puts), &[latin]).unwrap();
    assert_eq!(values, [Some(Value::Text(b"\xe9".to_vec()))]);
}

#[test]
fn pointers() {
    let f = "struct db; void f(struct db *db, const void *p, void (*call)(int), const float *x)";
    for name in ["db", "p", "call", "x"] {
        assert_eq!(one(f, &format!("{name}=NULL")), Value::Null);
    }
    for (assignment, message) in [
        (
            "db=0",
            "f: db: expected a pointer to db, got \"0\"; give NULL; a handle can be passed from Python and from Rust alone",
        ),
        (
            "call=puts",
            "f: call: expected a function void (int), got \"puts\"; give NULL; a function can be passed from Python and from Rust alone",
        ),
        (
            "p=1",
            "f: p: expected a pointer, got \"1\", a number; give NULL, or a file as x.npy, x.npz:member or raw.bin:f4:1000x1000",
        ),
    ] {
        let error = read(f, &[assignment]).unwrap_err().to_string();
        assert_eq!(error, message);
    }
    let g = "struct point { int x; }; void g(struct point p)";
    let error = read(g, &["p=1"]).unwrap_err().to_string();
    assert!(
        error.ends_with("got \"1\"; call it from Python or from Rust"),
        "{error}"
    );
}

#[test]
fn files_are_for_arrays_and_for_batches() {
    let directory = files();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let f = "void f(size_t n, double a, const double x[n], double y[n])";
    for (name, is_written) in [("a", false), ("x", false), ("y", true)] {
        let value = one(f, &format!("{name}={}[2:]", at("x.npy")));
        let Value::File {
            file,
            is_written: found,
        } = value
        else {
            panic!()
        };
        assert_eq!(
            (found, file.path()),
            (is_written, &*directory.path().join("x.npy"))
        );
    }
    assert_eq!(one(f, "n=5"), Value::Scalar(Scalar::Int(5)));
    for (assignment, part) in [
        (
            "n=5.0".to_owned(),
            "got \"5.0\"; give an integer, or leave it out",
        ),
        (
            format!("n={}", at("x.npy")),
            "give an integer, or leave it out",
        ),
        (
            "x=5".to_owned(),
            "f: x: expected float64[n], got \"5\", a number; give a file as x.npy",
        ),
        (
            "x=no.npy".to_owned(),
            "f: x: expected float64[n], got \"no.npy\", which is no file; give a file",
        ),
        (
            format!("x={}[0:b]", at("x.npy")),
            "x.npy: expected an integer, a slice as 0:1000 or ::2, or ..., got \"0:b\"",
        ),
        (format!("a={}:f7", at("raw.bin")), "f: a: "),
    ] {
        let error = read(f, &[&assignment]).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}

#[test]
fn values_are_passed() {
    let directory = files();
    let file = format!(
        "exponent={}:i4:2[1:]",
        directory.path().join("raw.bin").display()
    );
    let process = Library::process().unwrap();
    // SAFETY: the prototype is that of `frexp`, which writes one `int`.
    let frexp = unsafe { process.function("double frexp(double x, int exponent[1])") }.unwrap();
    let given = values(frexp.contract(), &["x=12".into(), file.into()]).unwrap();
    let mut opened: Vec<Opened> = given
        .into_iter()
        .enumerate()
        .map(|(position, value)| {
            // SAFETY: no other code writes or shortens the temporary file.
            unsafe { value.unwrap().open(frexp.contract(), position) }.unwrap()
        })
        .collect();
    let mut arguments: Vec<Arg<'_>> = opened.iter_mut().map(Opened::arg).collect();
    assert_eq!(frexp.call(&mut arguments).unwrap().to_f64(), Some(0.75));
    drop(arguments);
    drop(opened);
    let options = MapOptions::new().dtype(DType::I32).mode(Mode::Read);
    // SAFETY: no other code writes or shortens the temporary file.
    let written = unsafe { options.map(directory.path().join("raw.bin")) }.unwrap();
    let written = written.view::<i32>().unwrap();
    assert_eq!(
        (written[[0]], written[[1]], written[[2]]),
        (0x0101_0101, 4, 0x0101_0101)
    );
}

#[test]
fn raw_files_have_offsets_and_inferred_lengths() {
    let directory = files();
    let path = directory.path().join("raw.bin");
    let content: Vec<u8> = (0..48).collect();
    fs::write(&path, content).unwrap();
    for (text, dtype, shape, offset) in [
        (":>f4:2x5@8", ">f4", &[2, 5][..], 8),
        (":>f4:-1x5@8", ">f4", &[2, 5], 8),
        (":u2@46[0]", "u2", &[], 46),
        (":<i8@40", "i8", &[1], 40),
        (":u1:4x-1[1:,0]", "u1", &[3], 12),
        (":>f4:2x5@8[1,::2]", ">f4", &[3], 28),
        (":M8[s]:5@8", "M8[s]", &[5], 8),
    ] {
        let file = ArrayFile::parse(format!("{}{text}", path.display()).as_ref()).unwrap();
        // SAFETY: no other code writes or shortens the temporary file.
        let array = unsafe { file.open(Mode::Read) }.unwrap();
        let found = (array.dtype().clone(), array.shape(), array.file_offset());
        assert_eq!(
            found,
            (dtype.parse().unwrap(), shape, Some(offset)),
            "{text}"
        );
    }
    for (text, part) in [
        (
            ":f4:2@",
            "expected the offset of the first element in bytes, got \"\"",
        ),
        (
            ":f4@-4",
            "expected the offset of the first element in bytes, got \"-4\"",
        ),
        (
            ":f4@8:2",
            "expected the offset of the first element in bytes, got \"8:2\"",
        ),
        (":f4@99999999999999999999", "expected the offset"),
        (":f4:-1x-1", "at most one of them as -1"),
        (":f4:-2", "write the lengths with x between"),
        (":f4@49", "offset 49 lies beyond the end of the file, at 48"),
        (
            ":f4@7",
            "41 bytes of data are not a multiple of the item size 4",
        ),
        (
            ":f4:-1x5",
            "48 bytes of data are not a multiple of the item size 20",
        ),
        (
            ":f4:13@4",
            "needs the file to be 56 bytes long, but it has 48",
        ),
        (":f4:-1x0", "give the shape"),
        (":f4:1@18446744073709551615", "bytes"),
    ] {
        let file = ArrayFile::parse(format!("{}{text}", path.display()).as_ref());
        // SAFETY: no other code writes or shortens the temporary file.
        let error = file.and_then(|file| unsafe { file.open(Mode::ReadWrite) });
        let error = error.unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 48);
    }
}

#[test]
fn a_short_file_is_refused_and_does_not_grow() {
    let directory = files();
    let path = directory.path().join("raw.bin");
    let void = directory.path().join("void.bin");
    fs::write(&void, "").unwrap();
    let contract = contract("void f(int n, double y[n])");
    for (text, part) in [
        (
            format!("y={}:f8:7", path.display()),
            "needs the file to be 56 bytes long, but it has 48",
        ),
        (
            format!("y={}:f8", void.display()),
            "can't map an empty file",
        ),
        (
            format!("y={}:f8:0", void.display()),
            "can't map an empty file",
        ),
    ] {
        let value = values(&contract, &[text.into()])
            .unwrap()
            .remove(1)
            .unwrap();
        // SAFETY: no other code writes or shortens the temporary file.
        let error = unsafe { value.open(&contract, 1) }.unwrap_err().to_string();
        assert!(
            error.starts_with("f: y: ") && error.contains(part),
            "{error}"
        );
    }
    let lengths = [path, void].map(|path| fs::metadata(path).unwrap().len());
    assert_eq!(lengths, [48, 0]);
}
