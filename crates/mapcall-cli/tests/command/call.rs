//! `mapcall call`, on real libraries and files.

#![cfg(unix)]
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and says what it skips"
)]

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::kernels::{self, HALF, IOTA, NAP, SAXPY, SHORTEN};
use crate::common::{json_lines, mapcall, numpy, refused, succeeded};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

const COS: &str = "double cos(double x)";
const FREXP: &str = "double frexp(double x, int exponent[1])";
const LIBRARY: &str = "./libkernels.so";

/// Creates a directory with the test library and files that NumPy has written.
fn files() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    kernels::compile(directory.path());
    numpy(
        directory.path(),
        "np.save('angles.npy', np.linspace(0, 1, 100_000))
np.save('short.npy', np.array([0, 0.5, 1]))
np.save('x.npy', np.arange(4, dtype='f4'))
np.save('y.npy', np.ones(4, 'f4'))
np.save('grid.npy', np.arange(6.0).reshape(2, 3))
np.save('even.npy', np.arange(0, 200, 2, dtype='i4').reshape(10, 10))
np.save('odd.npy', np.where(np.arange(100) == 57, 7, np.arange(100) * 2).astype('i4').reshape(10, 10))
np.save('three.npy', np.ones(3, 'f4'))
np.save('big.npy', np.zeros(3, '>f8'))
np.save('naps.npy', np.zeros(100_000))
np.save('mask.npy', np.array([True, False, True]))
np.savez('two.npz', a=np.array([0, 0.5, 1]), b=np.ones(4, 'f4'))",
    );
    directory
}

fn call(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = mapcall(["call"]);
    command.args(arguments).current_dir(directory);
    command
}

fn said(directory: &TempDir, arguments: &[&str]) -> String {
    succeeded(&mut call(directory.path(), arguments))
}

fn json_of(directory: &TempDir, arguments: &[&str]) -> Value {
    let mut command = call(directory.path(), arguments);
    let mut lines = json_lines(&succeeded(command.arg("--json")));
    assert_eq!(lines.len(), 1, "{arguments:?}");
    lines.remove(0)
}

/// Returns the names of all files.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_of_another_byte_order_are_converted_if_asked() {
    let directory = files();
    numpy(
        directory.path(),
        "image = (np.arange(12).reshape(3, 4) / 12).astype('>f8')
open('image.fits', 'wb').write(bytes(2880) + image.tobytes())
open('y.raw', 'wb').write(bytes(3) + np.ones(4, '>f4').tobytes())
np.save('expected.npy', np.cos(image))",
    );
    let fits = "x=image.fits:>f8:-1x4@2880";
    let error = refused(&mut call(directory.path(), &["m", COS, fits, "--quiet"]));
    assert!(
        error.contains("expected double in native byte order"),
        "{error}"
    );
    assert!(error.ends_with(", or add --convert\n"), "{error}");
    said(
        &directory,
        &[
            "m",
            COS,
            fits,
            "--convert",
            "-o",
            "out.npy",
            "--threads",
            "2",
        ],
    );
    numpy(
        directory.path(),
        "np.testing.assert_allclose(np.load('out.npy'), np.load('expected.npy'), rtol=1e-15)",
    );
    // A file that is written in place: at an odd address, in the other byte order.
    let saxpy = ["a=2", "x=x.npy", "y=y.raw:>f4:4@3", "--convert"];
    said(&directory, &[&[LIBRARY, SAXPY][..], &saxpy].concat());
    numpy(
        directory.path(),
        "assert np.fromfile('y.raw', '>f4', offset=3).tolist() == [1, 3, 5, 7]",
    );
}

#[test]
fn one_call_prints_its_result_and_outputs() {
    let directory = files();
    for (arguments, printed) in [
        (&["m", COS, "x=1"][..], "0.5403023058681398\n"),
        (&["libm.so.6", COS, "x=0"], "1.0\n"),
        (&["m", "float cosf(float x)", "x=0.3"], "0.9553365\n"),
        (&["m", FREXP, "x=12"], "0.75\nexponent = [4]\n"),
        (&["m", "double sqrt(double x)", "x=-1"], "nan\n"),
        (&["m", "double log(double x)", "x=0"], "-inf\n"),
        (&["c", "int abs(int j)", "j=-3"], "3\n"),
        (&["c", "size_t strlen(const char *s)", "s=four"], "4\n"),
        (
            &["c", "const char *strerror(int code)", "code=2"],
            "No such file or directory\n",
        ),
        (
            &[
                "c",
                "const char *getenv(const char *name)",
                "name=NO_SUCH_NAME",
            ],
            "NULL\n",
        ),
        (
            &[
                "c",
                "struct d { int quot, rem; }; struct d div(int a, int b)",
                "a=7",
                "b=2",
            ],
            "(3, 1)\n",
        ),
        (&["c", "void srand(unsigned seed)", "seed=1"], ""),
        (&[LIBRARY, IOTA, "n=3"], "y = [0.0 1.0 2.0]\n"),
        (
            &[LIBRARY, SAXPY, "a=2", "x=x.npy"],
            "y = [0.0 2.0 4.0 6.0]\n",
        ),
        (&[LIBRARY, HALF, "x=6", "--check", "zero"], "y = [3]\n"),
        (&["m", COS, "x=1", "--quiet"], ""),
    ] {
        assert_eq!(said(&directory, arguments), printed, "{arguments:?}");
    }
    let address = said(&directory, &["c", "void *malloc(size_t size)", "size=8"]);
    assert!(address.starts_with("0x"), "{address}");
}

#[test]
fn one_call_as_json() {
    let directory = files();
    for (arguments, returns, outputs) in [
        (&["m", COS, "x=0"][..], json!(1.0), json!([])),
        (
            &["m", "double log(double x)", "x=0"],
            json!("-Infinity"),
            json!([]),
        ),
        (
            &[
                "c",
                "struct d { int quot, rem; }; struct d div(int a, int b)",
                "a=7",
                "b=2",
            ],
            json!({"quot": 3, "rem": 1}),
            json!([]),
        ),
        (
            &[
                "c",
                "const char *getenv(const char *name)",
                "name=NO_SUCH_NAME",
            ],
            Value::Null,
            json!([]),
        ),
        (
            &["m", FREXP, "x=12"],
            json!(0.75),
            json!([{"name": "exponent", "file": null, "dtype": "<i4", "shape": [1], "values": [4]}]),
        ),
        (
            &[LIBRARY, SAXPY, "a=2", "x=x.npy", "y=y.npy[:4]"],
            Value::Null,
            json!([{"name": "y", "file": "y.npy[:4]", "dtype": "<f4", "shape": [4]}]),
        ),
        (
            &["m", COS, "x=angles.npy", "-o", "out.npy"],
            Value::Null,
            json!([{"name": "return", "file": "out.npy", "dtype": "<f8", "shape": [100_000]}]),
        ),
        (
            &["m", COS, "x=short.npy[0:0]"],
            Value::Null,
            json!([{"name": "return", "file": null, "dtype": "<f8", "shape": [0], "values": []}]),
        ),
    ] {
        let object = json_of(&directory, arguments);
        assert_eq!(
            object,
            json!({"returns": returns, "outputs": outputs}),
            "{arguments:?}"
        );
    }
}

#[test]
fn batches_go_to_files() {
    let directory = files();
    for (arguments, proof) in [
        (
            &["m", COS, "x=angles.npy", "-o", "out.npy", "--threads", "0"][..],
            "np.testing.assert_allclose(np.load('out.npy'), np.cos(np.load('angles.npy')), 1e-15)",
        ),
        (
            &[
                "m",
                COS,
                "x=angles.npy",
                "-o",
                "out.npy",
                "--stream",
                "--sync",
            ],
            "np.testing.assert_allclose(np.load('out.npy'), np.cos(np.load('angles.npy')), 1e-15)",
        ),
        (
            &["m", COS, "x=two.npz:a[::-1]", "--output", "return=out.npy"],
            "np.testing.assert_allclose(np.load('out.npy'), np.cos([1, 0.5, 0]), 1e-15)",
        ),
        (
            &[
                "m",
                FREXP,
                "x=grid.npy",
                "-o",
                "exponent=e.npy",
                "-o",
                "return=f.npy",
            ],
            "f, e = np.frexp(np.load('grid.npy'))
assert (np.load('f.npy') == f).all() and (np.load('e.npy')[..., 0] == e).all()",
        ),
        (
            &[
                "m",
                "double atan2(double y, double x)",
                "y=grid.npy",
                "x=2",
                "-o",
                "out.npy",
            ],
            "np.testing.assert_allclose(np.load('out.npy'), np.arctan2(np.load('grid.npy'), 2), 1e-15)",
        ),
        (
            &[
                "m",
                COS,
                "x=short.npy",
                "--where",
                "mask.npy",
                "-o",
                "out.npy",
            ],
            "assert np.load('out.npy').tolist() == [1, 0, np.cos(1)]",
        ),
        (
            &[
                LIBRARY,
                HALF,
                "x=even.npy",
                "-o",
                "out.npy",
                "--check",
                "zero",
            ],
            "assert (np.load('out.npy')[..., 0] == np.arange(100).reshape(10, 10)).all()",
        ),
        (
            &[LIBRARY, IOTA, "n=3", "-o", "out.npy"],
            "assert np.load('out.npy').tolist() == [0, 1, 2]",
        ),
        // The file that is read is replaced by the output.
        (
            &["m", COS, "x=short.npy", "-o", "short.npy"],
            "assert np.load('short.npy').tolist() == np.cos([0, 0.5, 1]).tolist()",
        ),
    ] {
        assert_eq!(said(&directory, arguments), "", "{arguments:?}");
        numpy(directory.path(), proof);
    }
}

#[test]
fn batches_without_files_are_shown() {
    let directory = files();
    for (arguments, printed) in [
        (
            &["m", COS, "x=short.npy"][..],
            "[1.0        0.87758256 0.54030231]\n",
        ),
        (
            &["m", "double fabs(double x)", "x=grid.npy"],
            "[[0.0 1.0 2.0]\n [3.0 4.0 5.0]]\n",
        ),
        (
            &["m", FREXP, "x=short.npy"],
            "[0.0 0.5 0.5]\nexponent =\n[[0]\n [0]\n [1]]\n",
        ),
        (
            &["m", FREXP, "x=short.npy", "-o", "exponent=e.npy"],
            "[0.0 0.5 0.5]\n",
        ),
        (
            &["m", "double fabs(double x)", "x=angles.npy"],
            "[0.0        1.00001e-5 2.00002e-5 ... 0.99998    0.99999    1.0       ]\n",
        ),
    ] {
        assert_eq!(said(&directory, arguments), printed, "{arguments:?}");
    }
}

#[test]
fn files_are_written_in_place() {
    let directory = files();
    let saxpy = |x: &str, y: &str| {
        let (x, y) = (format!("x={x}"), format!("y={y}"));
        assert_eq!(said(&directory, &[LIBRARY, SAXPY, "a=2", &x, &y]), "");
    };
    saxpy("x.npy", "y.npy");
    numpy(
        directory.path(),
        "assert np.load('y.npy').tolist() == [1, 3, 5, 7]",
    );
    saxpy("x.npy[2:]", "x.npy[:2]");
    numpy(
        directory.path(),
        "assert np.load('x.npy').tolist() == [4, 7, 2, 3]",
    );
    // Most members of a .npz are unaligned, and can still be read.
    saxpy("two.npz:b[2:]", "y.npy[1:3]");
    numpy(
        directory.path(),
        "assert np.load('y.npy').tolist() == [1, 5, 7, 7]",
    );
}

#[test]
fn headers_declare_types_and_functions() {
    let directory = files();
    let header = "typedef double angle; typedef enum { LEFT = 1, RIGHT } side;
#ifdef WIDE
angle cos(angle x);
#endif
int abs(side j);";
    fs::create_dir(directory.path().join("include")).unwrap();
    fs::write(directory.path().join("include/angles.h"), header).unwrap();
    let found = ["--header", "angles.h", "-I", "include", "-D", "WIDE"];
    let with = |arguments: &[&str]| said(&directory, &[arguments, &found].concat());
    assert_eq!(with(&["m", "cos", "x=0"]), "1.0\n");
    assert_eq!(with(&["m", "angle sin(angle x)", "x=0"]), "0.0\n");
    assert_eq!(with(&["c", "abs", "j=2"]), "2\n");
}

#[test]
fn files_of_prototypes_say_more_than_headers() {
    let directory = files();
    let header = "#include <stddef.h>\nvoid *memset(void *s, int c, size_t n);";
    // The header of mapcall is found without its folder.
    let prototypes = "#include <mapcall.h>\n#include <stddef.h>\n
void *memset(void *__sized_by(n) s, int c, size_t n);
int abs(MAPCALL_BETWEEN(0, 5) int j);";
    fs::write(directory.path().join("bytes.h"), header).unwrap();
    fs::write(directory.path().join("more.h"), prototypes).unwrap();
    let options = ["--header", "./bytes.h", "--prototypes", "more.h", "-I", "."];
    let with = |arguments: &[&str]| said(&directory, &[arguments, &options].concat());
    assert_eq!(with(&["c", "memset", "s=y.npy", "c=0", "-q"]), "");
    numpy(directory.path(), "assert not np.load('y.npy').any()");
    assert_eq!(with(&["c", "abs", "j=2"]), "2\n");
    // Without a header they are headers themselves.
    let alone = ["c", "abs", "j=3", "--prototypes", "more.h"];
    assert_eq!(said(&directory, &alone), "3\n");
    let bounded = "abs: j: expected int from 0 to 5, got 6; give a value from 0 to 5";
    let cases = [(&["c", "abs", "j=6", "--prototypes", "more.h"][..], bounded)];
    refuses(&directory, &cases);
    let mut listed = mapcall(["prototypes", "./bytes.h", "--prototypes", "more.h"]);
    let listed = succeeded(listed.current_dir(directory.path()));
    assert!(
        listed.contains("void *memset(void s[n], int c, size_t n);\n"),
        "{listed}"
    );
}

/// Checks that each command has exit code 2 and this message, whose start is given if it ends in `...`, and changes no
/// file.
fn refuses(directory: &TempDir, cases: &[(&[&str], &str)]) {
    let before = names(directory.path());
    for (arguments, message) in cases {
        let stderr = refused(&mut call(directory.path(), arguments));
        // A remedy that is left out here is tested in `test_command_remedies.py`.
        if let Some(start) = message.strip_suffix("...") {
            assert!(stderr.starts_with(&format!("error: {start}")), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        } else {
            assert_eq!(stderr, format!("error: {message}\n"), "{arguments:?}");
        }
        assert_eq!(names(directory.path()), before, "{arguments:?}");
    }
}

#[test]
fn bad_prototypes_have_one_line() {
    let cases = [
        (
            &["m", "cos", "x=1", "-o", "out.npy"][..],
            "expected a prototype, got only the name cos; write it as in 'double cos(double x)', or \
             name a header that declares it with --header",
        ),
        (
            &["m", "kos", "x=1", "--header", "math.h"],
            "expected a function that \"math.h\" declares, got kos; mapcall prototypes lists them, or \
             write its prototype",
        ),
        (
            &["m", "double cos(duble x)", "x=1"],
            "the prototype, column 12: unknown type `duble`; did you mean `double`?",
        ),
        (
            &["m", "typedef double d;\nd cos(d x", "x=1"],
            "the prototype, line 2, column 10: expected `)`; write a C prototype, such as \
             `void f(size_t n, const float x[n]);`",
        ),
        (
            &["c", "int printf()", "format=x"],
            "the prototype, column 11: `printf` doesn't say what its parameters are, as C before 1989; \
             write the types in the parentheses, or `printf(void)` if it takes nothing",
        ),
    ];
    refuses(&files(), &cases);
}

#[test]
fn bad_arguments_have_one_line() {
    let directory = files();
    let cases = [
        (
            &["m", COS, "x=1", "--check", "zero"][..],
            "cos: expected a function that returns an integer, got one that returns double",
        ),
        (
            &["m", COS],
            "cos: x: expected double, got nothing; give x=NUMBER",
        ),
        (
            &["m", COS, "x=1", "x=2"],
            "cos: x: expected double, got a second value; give it once",
        ),
        (
            &["m", COS, "angle=1"],
            "cos: expected a parameter's name, got angle; its parameter is x",
        ),
        (
            &["m", COS, "1"],
            "cos: expected NAME=VALUE, got \"1\"; write x=1",
        ),
        (
            &["m", COS, "x=none.npy"],
            "cos: x: expected double, got \"none.npy\", which is no number and no file; give a number, \
             or a file as x.npy, x.npz:member or raw.bin:f4:1000x1000",
        ),
        (
            &["m", COS, "x=x.npy"],
            "cos: x: expected double, got an array of float32; ...",
        ),
        (
            &["m", COS, "x=big.npy"],
            "cos: x: expected double in native byte order, got an array of '>f8'; ...",
        ),
        (
            &["m", COS, "x=short.npy[9]"],
            "cos: x: short.npy[9]: index 9 is out of bounds for axis 0 with size 3; give a range that \
             the array has",
        ),
        (
            &[
                "m",
                "double atan2(double y, double x)",
                "y=grid.npy",
                "x=two.npz:a[:2]",
            ],
            "atan2: x: expected double with batch axes that broadcast with (2, 3), those of y, got \
             batch axes (2,); give axes that are equal or 1",
        ),
        (
            &[LIBRARY, SAXPY, "a=1", "x=x.npy", "y=three.npy"],
            "saxpy: y: expected float32[n] with n = 4 as x has it, got shape (3,); give arrays that \
             agree",
        ),
        (
            &[LIBRARY, SAXPY, "a=1", "x=two.npz:b", "y=two.npz:b"],
            "saxpy: y: two.npz: expected mode r or c for member \"b\" of a .npz, got r+: writing in place leaves the \
             archive with a wrong checksum, and other readers refuse it then; save the array as a .npy \
             file to write to it",
        ),
        (
            &[LIBRARY, IOTA, "n=2", "y=short.npy"],
            "iota: y: expected float64[n] with n = 2, got shape (3,); give an array of shape (2,), or \
             leave n out",
        ),
        (
            &[LIBRARY, SAXPY, "a=1", "x=y.npy[:3]", "y=y.npy[1:]"],
            "saxpy: y: expected memory of its own to write, got bytes of \"y.npy\" that x has, too; \
             give a copy of one",
        ),
        (
            &["m", COS, "x=short.npy", "--where", "none.npy"],
            "expected a file, got \"none.npy\": No such file or directory (os error 2); check the name \
             and the folder",
        ),
        (
            &["m", COS, "x=short.npy", "--where", "x.npy"],
            "cos: where: expected an array of bool, got an array of float32; ...",
        ),
    ];
    refuses(&directory, &cases);
    let with_output = |(arguments, message): &(&[&'static str], &'static str)| {
        let is_given = arguments
            .iter()
            .any(|text| text.starts_with("y=y") || *text == LIBRARY);
        let arguments = [arguments, &["-o", "out.npy"][..]].concat();
        (!is_given).then_some((arguments, *message))
    };
    let cases: Vec<_> = cases.iter().filter_map(with_output).collect();
    let cases: Vec<(&[&str], &str)> = cases
        .iter()
        .map(|(arguments, message)| (&arguments[..], *message))
        .collect();
    refuses(&directory, &cases);
    numpy(
        directory.path(),
        "assert np.load('y.npy').tolist() == [1] * 4",
    );
}

#[test]
fn outputs_have_places() {
    let directory = files();
    fs::create_dir(directory.path().join("folder.npy")).unwrap();
    fs::hard_link(
        directory.path().join("y.npy"),
        directory.path().join("link.npy"),
    )
    .unwrap();
    File::create(directory.path().join("huge.bin"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let cases = [
        (
            &["m", COS, "x=short.npy", "-o", "out"][..],
            "cos: return: expected a file that ends in .npy, got \"out\"; write out.npy",
        ),
        (
            &["m", COS, "x=short.npy", "-o", "none/out.npy"],
            "cos: can't create none/out.npy: No such file or directory (os error 2); check the name of \
             the folder",
        ),
        (
            &["m", COS, "x=short.npy", "-o", "y=out.npy"],
            "cos: expected the name of an output, got y; the outputs are return",
        ),
        (
            &["m", COS, "x=short.npy", "-o", "a.npy", "-o", "b.npy"],
            "cos: return: expected one file, got a second one, \"b.npy\"; leave one out",
        ),
        (
            &["m", FREXP, "x=short.npy", "-o", "a.npy"],
            "frexp: expected NAME=FILE.npy, as there are several outputs, got \"a.npy\"; the names are \
             return, exponent",
        ),
        (
            &[
                "m",
                FREXP,
                "x=short.npy",
                "-o",
                "return=a.npy",
                "-o",
                "exponent=./a.npy",
            ],
            "frexp: exponent: expected a file of its own, got \"./a.npy\", which return has; choose \
             another name",
        ),
        (
            &[
                LIBRARY,
                SAXPY,
                "a=1",
                "x=x.npy",
                "y=y.npy",
                "-o",
                "y=out.npy",
            ],
            "saxpy: y: expected a file either to write in place or to make, got both; leave out y=... \
             or -o",
        ),
        (
            &[LIBRARY, SAXPY, "a=1", "x=x.npy", "y=y.npy", "-o", "out.npy"],
            "saxpy: y: expected a file either to write in place or to make, got both; leave out y=... \
             or -o",
        ),
        (
            &["c", "void srand(unsigned seed)", "seed=1", "-o", "out.npy"],
            "srand: expected no -o, as it makes nothing that a file can hold; leave it out",
        ),
        (
            &[
                "c",
                "size_t strlen(const char *s)",
                "s=four",
                "-o",
                "folder.npy",
            ],
            "strlen: can't create folder.npy: Is a directory (os error 21)",
        ),
        (
            &["m", COS, "x=huge.bin:f8"],
            "cos: return: expected a file for 1.0 GiB, got none; add -o FILE.npy",
        ),
        (
            &["m", FREXP, "x=huge.bin:f8", "-o", "return=out.npy"],
            "frexp: exponent: expected a file for 512.0 MiB, got none; add -o exponent=FILE.npy",
        ),
        (
            &["c", "const char *strerror(int code)", "code=even.npy"],
            "strerror: expected one call, as no array can hold results of type const char *, got a \
             batch; call it once for each item",
        ),
    ];
    refuses(&directory, &cases);
}

#[test]
fn a_failing_status_has_code_1_and_its_place() {
    let directory = files();
    let before = names(directory.path());
    for (arguments, message) in [
        (
            &[
                LIBRARY,
                HALF,
                "x=odd.npy",
                "-o",
                "out.npy",
                "--check",
                "zero",
                "--threads",
                "2",
            ][..],
            "half, at index [5, 7]: expected status 0, got 1; see the library's documentation",
        ),
        (
            &[LIBRARY, HALF, "x=7", "--check", "zero"],
            "half: expected status 0, got 1; see the library's documentation",
        ),
        (
            &[LIBRARY, HALF, "x=6", "--check", "nonzero"],
            "half: expected a status other than 0, got 0; see the library's documentation",
        ),
        (
            &[
                "c",
                "int chdir(const char *path)",
                "path=none",
                "--check",
                "errno",
            ],
            "chdir: expected errno 0, got No such file or directory (os error 2); see the library's \
             documentation",
        ),
        (
            &[
                "c",
                "const char *getenv(const char *name)",
                "name=NO_SUCH_NAME",
                "--check",
                "nonnull",
            ],
            "getenv: expected a pointer, got NULL; see the library's documentation",
        ),
        (
            &[
                "c",
                "const char *getenv(const char *name)",
                "name=no_such_variable",
                "--check",
                "null",
            ],
            "getenv: expected a pointer, got NULL; see the library's documentation",
        ),
    ] {
        let output = call(directory.path(), arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        // A remedy that is left out here is tested in `test_command_remedies.py`.
        if let Some(start) = message.strip_suffix("...") {
            assert!(stderr.starts_with(&format!("error: {start}")), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        } else {
            assert_eq!(stderr, format!("error: {message}\n"), "{arguments:?}");
        }
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert_eq!(names(directory.path()), before, "{arguments:?}");
    }
}

#[test]
fn a_pipe_gets_no_bar() {
    let directory = files();
    let naps = ["x=naps.npy[:1500]", "-o", "out.npy"];
    let started = Instant::now();
    let said = said(&directory, &[&[LIBRARY, NAP][..], &naps].concat());
    assert!(
        started.elapsed() > Duration::from_secs(1),
        "else there is none anyway"
    );
    assert_eq!(said, "");
}

/// Starts a call that takes minutes, and waits until it writes.
fn napping(directory: &Path) -> Child {
    let arguments = [LIBRARY, NAP, "x=naps.npy", "-o", "out.npy"];
    let mut command = call(directory, &arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !has_new_file(&child, directory) {
        assert!(Instant::now() < deadline, "it doesn't begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// Returns whether a process has an open file that has no name yet, or a temporary one.
fn has_new_file(child: &Child, directory: &Path) -> bool {
    let is_new = |name: &str| name.starts_with('#') || name.ends_with(".partial");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", child.id()));
    let mut files = descriptors.into_iter().flatten().filter_map(|descriptor| {
        let file = fs::read_link(descriptor.ok()?.path()).ok()?;
        let name = file.file_name()?.to_str()?;
        Some(file.parent()? == directory && is_new(name))
    });
    files.any(|is_new| is_new) || names(directory).iter().any(|name| is_new(name))
}

#[test]
fn signals_end_it_and_leave_nothing() {
    let directory = files();
    let before = names(directory.path());
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = napping(directory.path());
        std::thread::sleep(Duration::from_millis(100));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code));
        let mut stderr = String::new();
        child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(stderr, "error: nap: interrupted; not written: out.npy\n");
        assert_eq!(names(directory.path()), before);
    }
}

#[test]
fn a_kill_leaves_inputs_and_no_output() {
    let directory = files();
    let before = names(directory.path());
    let input = fs::read(directory.path().join("naps.npy")).unwrap();
    fs::write(directory.path().join("out.npy"), "old").unwrap();
    let mut child = napping(directory.path());
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    assert_eq!(fs::read(directory.path().join("naps.npy")).unwrap(), input);
    assert_eq!(fs::read(directory.path().join("out.npy")).unwrap(), b"old");
    fs::remove_file(directory.path().join("out.npy")).unwrap();
    // On file systems without unnamed files, the new file has a temporary name.
    let mut left = names(directory.path());
    left.retain(|name| !name.ends_with(".partial"));
    assert_eq!(left, before);
}

#[test]
fn a_limit_of_file_sizes_is_an_error_at_once() {
    let directory = files();
    let before = names(directory.path());
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 64; exec \"$@\"", "sh"]);
    shell.arg(env!("CARGO_BIN_EXE_mapcall"));
    shell.args(["call", "m", COS, "x=angles.npy", "-o", "out.npy"]);
    assert_eq!(
        refused(shell.current_dir(directory.path())),
        "error: cos: can't allocate out.npy: File too large (os error 27); raise the limit, or choose \
         another file system\n"
    );
    assert_eq!(names(directory.path()), before);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_at_once() {
    let directory = files();
    let disk = directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(&disk);
    if !mount
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("a_full_disk_is_an_error_at_once is skipped: only root can mount a small disk");
        return;
    }
    let output = call(
        directory.path(),
        &["m", COS, "x=angles.npy", "-o", "disk/out.npy"],
    )
    .output()
    .unwrap();
    let left = names(&disk);
    let unmounted = Command::new("umount").arg(&disk).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: cos: can't allocate disk/out.npy: No space left on device (os error 28); free some \
         space, or choose another disk\n"
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(left.is_empty(), "{left:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_becomes_shorter_is_an_error() {
    let directory = files();
    let arguments = [LIBRARY, SHORTEN, "x=angles.npy", "-o", "out.npy"];
    let message = refused(&mut call(directory.path(), &arguments));
    assert!(message.contains("shorten, at index [496]: "), "{message}");
    assert!(
        message.contains("angles.npy: read a page that is gone, at byte 4096"),
        "{message}"
    );
    assert!(!directory.path().join("out.npy").exists());
}

#[test]
fn a_cluster_needs_the_python_package() {
    let directory = files();
    let arguments = ["m", COS, "x=angles.npy", "-o", "out.npy", "--dask", "local"];
    let message = refused(&mut call(directory.path(), &arguments));
    assert_eq!(
        message,
        "error: --dask: expected the command of the Python package, got one that was built without Python; \
         install it with: pip install 'mapcall[dask]'\n"
    );
    assert!(!directory.path().join("out.npy").exists());
    let message = refused(call(directory.path(), &arguments).arg("--stream"));
    assert!(message.contains("cannot be used with '--"), "{message}");
}
