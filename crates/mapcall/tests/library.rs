//! Loading libraries: real ones, and ones that the system's C compiler makes here.

#![cfg(glibc)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and calls C"
)]

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, c_int, c_void};
use std::fmt::Write;
use std::fs;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};

use mapcall::library::Attempt;
use mapcall::{Library, LibraryError};
use proptest::prelude::*;
use tempfile::TempDir;

fn open(name: impl AsRef<OsStr>) -> Result<Library, LibraryError> {
    // SAFETY: the libraries of these tests have initialisers that may run at any time.
    unsafe { Library::open(name) }
}

fn symbol(library: &Library, name: &str) -> Result<NonNull<c_void>, LibraryError> {
    // SAFETY: the libraries of these tests have resolvers that may run at any time.
    unsafe { library.symbol(name) }
}

/// Calls an `int f(void)`.
fn call(library: &Library, name: &str) -> c_int {
    let function = symbol(library, name).unwrap();
    // SAFETY: the callers name functions of this type, and the library is borrowed.
    let function: extern "C" fn() -> c_int = unsafe { mem::transmute(function) };
    function()
}

fn tried(name: impl AsRef<OsStr>) -> Vec<Attempt> {
    match open(name) {
        Err(LibraryError::NotFound { tried, .. }) => tried,
        other => panic!("expected that nothing is found, got {other:?}"),
    }
}

/// Compiles a library.
fn compile(path: &Path, source: &str, flags: &[&str]) {
    let c = path.with_extension("c");
    fs::write(&c, source).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(path)
        .arg(&c)
        .args(flags)
        .status()
        .expect("the system has a C compiler");
    assert!(status.success());
}

/// A library whose `answer` is a number.
fn answering(path: &Path, answer: c_int) {
    compile(
        path,
        &format!("int answer(void) {{ return {answer}; }}"),
        &[],
    );
}

/// A library that writes `+` when it is loaded and `-` when it is unloaded.
fn logging(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (path, log) = (
        directory.join(name),
        directory.join(name).with_extension("log"),
    );
    let source = r"
        #include <fcntl.h>
        #include <unistd.h>
        static void note(char c) {
            int file = open(LOG, O_WRONLY | O_CREAT | O_APPEND, 0600);
            if (write(file, &c, 1) == 1) close(file);
        }
        __attribute__((constructor)) static void loaded(void) { note('+'); }
        __attribute__((destructor)) static void unloaded(void) { note('-'); }
        int answer(void) { return 42; }
    ";
    compile(&path, source, &[&format!("-DLOG=\"{}\"", log.display())]);
    (path, log)
}

const KINDS: &str = r#"
    int variable = 1;
    __thread int of_each_thread = 2;
    const char text[] = "text";
    int function(void) { return 3; }
    __attribute__((weak)) int weak(void) { return 4; }
    __attribute__((visibility("hidden"))) int hidden(void) { return 5; }
    static int internal(void) { return 6; }
    static int (*resolve(void))(void) { return internal; }
    int indirect(void) __attribute__((ifunc("resolve")));
    static int (*resolve_null(void))(void) { return 0; }
    int null(void) __attribute__((ifunc("resolve_null")));
    int old_one(void) { return 7; }
    int old_two(void) { return 8; }
    int new_two(void) { return 9; }
    __asm__(".symver old_one,one@V1");
    __asm__(".symver old_two,two@V1");
    __asm__(".symver new_two,two@@V2");
    extern int puts(const char *);
    int imports(void) { return puts(text); }
"#;

fn kinds(directory: &Path) -> PathBuf {
    let (path, script) = (directory.join("libkinds.so"), directory.join("versions"));
    fs::write(&script, "V1 { local: old_*; new_*; };\nV2 {} V1;\n").unwrap();
    let script = format!("-Wl,--version-script={}", script.display());
    compile(&path, KINDS, &[&script]);
    path
}

#[test]
fn by_path_file_name_and_bare_name() {
    let bare = open("m").unwrap();
    let file_name = open("libm.so.6").unwrap();
    let path = open(file_name.path().unwrap()).unwrap();
    assert_eq!(bare, file_name);
    assert_eq!(bare, path);
    assert_eq!(
        path.path().unwrap(),
        fs::canonicalize(path.path().unwrap()).unwrap()
    );
    let cos = symbol(&bare, "cos").unwrap();
    assert_eq!(cos, symbol(&path, "cos").unwrap());
    // SAFETY: the type of C's `cos`.
    let cos: extern "C" fn(f64) -> f64 = unsafe { mem::transmute(cos) };
    assert!((cos(1.0) - 1.0_f64.cos()).abs() < 1e-15);
}

#[test]
fn real_libraries_export_what_nm_lists_and_symbol_finds() {
    for name in ["m", "z", "c", "pthread", "libgcc_s.so.1"] {
        let library = open(name).unwrap();
        let symbols = library.symbols().unwrap();
        assert_eq!(symbols, nm(library.path().unwrap()), "{name}");
        for name in &symbols {
            assert!(symbol(&library, name).is_ok(), "{library}: {name}");
        }
    }
    for (name, function) in [("m", "hypot"), ("z", "compress2"), ("c", "qsort")] {
        let symbols = open(name).unwrap().symbols().unwrap();
        assert!(symbols.contains(&function.to_owned()), "{name}");
    }
}

/// The functions without those of which only hidden versions (`name@V`) exist.
fn nm(path: &Path) -> Vec<String> {
    let output = Command::new("nm")
        .args(["-D", "--defined-only", "-f", "sysv"])
        .arg(path)
        .output()
        .expect("binutils come with the C compiler");
    assert!(output.status.success());
    let mut names = BTreeSet::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let columns = line.split('|').map(str::trim).collect::<Vec<_>>();
        if let [name, _, _, "FUNC" | "IFUNC" | "<OS specific>: 10", ..] = columns[..] {
            match name.split_once('@') {
                Some((name, version)) if version.starts_with('@') => names.insert(name.to_owned()),
                Some(_) => false,
                None => names.insert(name.to_owned()),
            };
        }
    }
    assert!(
        !names.is_empty() || path.ends_with("libpthread.so.0"),
        "{}",
        path.display()
    );
    names.into_iter().collect()
}

#[test]
fn kinds_of_symbols() {
    let directory = TempDir::new().unwrap();
    let path = kinds(directory.path());
    let library = open(&path).unwrap();
    let symbols = library.symbols().unwrap();
    assert_eq!(
        symbols,
        ["function", "imports", "indirect", "null", "two", "weak"]
    );
    assert_eq!(symbols, nm(&path));

    for (name, answer) in [("function", 3), ("weak", 4), ("indirect", 6), ("two", 9)] {
        assert_eq!(call(&library, name), answer, "{name}");
    }
    assert!(
        symbol(&library, "variable").is_ok(),
        "variables have addresses"
    );
    for name in ["hidden", "internal", "one", "old_one", "", "two@@V2"] {
        assert!(
            matches!(symbol(&library, name), Err(LibraryError::NoSymbol { .. })),
            "{name}"
        );
    }

    let error = symbol(&library, "null").unwrap_err();
    assert!(matches!(error, LibraryError::NullSymbol { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "expected an address for the symbol \"null\" of {library}, got NULL: an indirect \
             function without an implementation for this machine, or a weak symbol; choose another"
        )
    );
    let error = symbol(&library, "function\0").unwrap_err();
    assert!(matches!(error, LibraryError::NulInSymbol { .. }));
    assert_eq!(
        error.to_string(),
        "expected a symbol's name without NUL, got \"function\\0\"; cut it there"
    );
}

#[test]
fn misspelt_names() {
    let directory = TempDir::new().unwrap();
    let library = open(kinds(directory.path())).unwrap();
    let error = symbol(&library, "fucntion").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("expected a symbol of {library}, got \"fucntion\"; did you mean function?")
    );
    // `null` is near, but has no address.
    let error = symbol(&library, "nulk").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "expected a symbol of {library}, got \"nulk\"; list its symbols to see what it exports"
        )
    );

    let libc = open("c").unwrap();
    for (name, expected) in [
        ("qsrot", "qsort"),
        ("mem_set", "memset"),
        ("STRLEN", "strlen"),
    ] {
        let Err(LibraryError::NoSymbol { nearest, .. }) = symbol(&libc, name) else {
            panic!("{name} is no symbol");
        };
        assert_eq!(nearest.first().map(String::as_str), Some(expected));
        assert!(nearest.len() <= 3);
    }
}

#[test]
fn many_symbols() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("libmany.so");
    let mut source = String::from("void one(void) {}\n");
    for number in 0..50_000 {
        let name = format!("openblas_kernel_{number:05}");
        let alias = format!(".globl {name}; .type {name},%function; .set {name},one");
        writeln!(source, "__asm__(\"{alias}\");").unwrap();
    }
    compile(&path, &source, &[]);
    let library = open(&path).unwrap();
    assert_eq!(library.symbols().unwrap().len(), 50_001);
    let Err(LibraryError::NoSymbol { nearest, .. }) = symbol(&library, "openblas_kernle_4711x")
    else {
        panic!("it is no symbol");
    };
    assert_eq!(nearest.len(), 3);
    for name in nearest {
        assert!(name.starts_with("openblas_kernel_4711"), "{name}");
    }
}

#[test]
fn the_process() {
    let process = Library::process().unwrap();
    assert_eq!(process, Library::process().unwrap());
    assert_eq!(
        symbol(&process, "getenv").unwrap(),
        symbol(&open("c").unwrap(), "getenv").unwrap()
    );
    assert!(process.symbols().unwrap().contains(&"getenv".to_owned()));
    assert_eq!(
        symbol(&process, "getenvv").unwrap_err().to_string(),
        "expected a symbol of the process, got \"getenvv\"; did you mean getenv or setenv?"
    );

    // What is loaded privately is not suggested, because the process doesn't find it.
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("libprivate.so");
    compile(&path, "int quite_a_private_name(void) { return 1; }", &[]);
    let library = open(&path).unwrap();
    let Err(LibraryError::NoSymbol { nearest, .. }) = symbol(&process, "quite_a_private_nam")
    else {
        panic!("it is private");
    };
    assert!(nearest.is_empty());
    assert_eq!(call(&library, "quite_a_private_name"), 1);
}

#[test]
fn loaded_once_and_while_a_clone_lives() {
    let directory = TempDir::new().unwrap();
    let (path, log) = logging(directory.path(), "libonce.so");
    let link = directory.path().join("link.so");
    symlink(&path, &link).unwrap();
    let log = || fs::read_to_string(&log).unwrap_or_default();

    let library = open(&path).unwrap();
    let again = open(&link).unwrap();
    assert_eq!(library, again);
    assert_eq!(again.path(), Some(path.as_path()));
    assert_eq!(format!("{again:?}"), format!("Library({})", path.display()));
    let clone = again.clone();
    drop((library, again));
    assert_eq!(call(&clone, "answer"), 42);
    assert_eq!(log(), "+");
    drop(clone);
    assert_eq!(log(), "+-");
    drop(open(&link).unwrap());
    assert_eq!(log(), "+-+-");

    let copy = directory.path().join("copy.so");
    fs::copy(&path, &copy).unwrap();
    let (library, copy) = (open(&path).unwrap(), open(&copy).unwrap());
    assert_ne!(library, copy);
    assert_eq!(log(), "+-+-++");
}

#[test]
fn a_relative_path_is_resolved_at_once() {
    let directory = TempDir::new_in(env::current_dir().unwrap()).unwrap();
    let path = directory.path().join("librelative.so");
    answering(&path, 1);
    let relative = Path::new(directory.path().file_name().unwrap()).join("librelative.so");
    let library = open(&relative).unwrap();
    assert_eq!(
        library.path(),
        Some(fs::canonicalize(&path).unwrap().as_path())
    );
    // The loader would look for a name without a separator elsewhere.
    assert!(tried("librelative.so")[0].reason.contains("No such file"));
}

#[test]
fn eight_threads() {
    let directory = TempDir::new().unwrap();
    let (first, log) = logging(directory.path(), "libfirst.so");
    let (second, other_log) = logging(directory.path(), "libsecond.so");
    let end = Instant::now() + Duration::from_secs(1);
    let rounds = thread::scope(|scope| {
        let work = || {
            let mut rounds = 0_u32;
            while Instant::now() < end {
                for path in [&first, &second] {
                    let library = open(path).unwrap();
                    let again = open(path).unwrap();
                    assert_eq!(library, again);
                    drop(library);
                    assert_eq!(call(&again, "answer"), 42);
                }
                assert_eq!(open("m").unwrap(), open("libm.so.6").unwrap());
                rounds += 1;
            }
            rounds
        };
        let threads = (0..8).map(|_| scope.spawn(work)).collect::<Vec<_>>();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum::<u32>()
    });
    assert!(rounds >= 8);
    for log in [log, other_log] {
        let log = fs::read_to_string(log).unwrap();
        assert_eq!(
            log,
            "+-".repeat(log.len() / 2),
            "never twice, and unloaded at last"
        );
    }
}

#[test]
fn missing_libraries() {
    let tried = tried("no-such-library-2.0");
    let [attempt] = &tried[..] else {
        panic!("{tried:?}")
    };
    assert_eq!(attempt.candidate, "libno-such-library-2.0.so");
    assert_eq!(
        attempt.reason,
        "cannot open shared object file: No such file or directory"
    );
    assert_eq!(
        open("no_such.so.1").unwrap_err().to_string(),
        "expected a library that the loader takes, got \"no_such.so.1\"; tried no_such.so.1 \
         (cannot open shared object file: No such file or directory); give a path with a \
         separator, a file name such as \"libz.so.1\" or a bare name such as \"z\""
    );
    assert!(matches!(open(""), Err(LibraryError::EmptyName)));
    for name in ["\0", "z\0", "libz.so.1\0", "/\0", "a\0b"] {
        let error = open(name).unwrap_err();
        assert!(matches!(&error, LibraryError::NulInName { name: given } if given == name));
        let text = format!("expected a library's name without NUL, got {name:?}; cut it there");
        assert_eq!(error.to_string(), text);
    }
    for name in ["..", "/", "ü", "a\nb", "so", ".so", "lib"] {
        assert!(!self::tried(name).is_empty(), "{name:?}");
    }
    assert!(!self::tried(OsStr::from_bytes(b"\xff")).is_empty());
    assert!(!self::tried("x".repeat(100_000)).is_empty());
}

#[test]
fn what_is_no_library() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("libtext.so");
    let reason = |path: &Path| {
        let tried = tried(path);
        assert_eq!(tried.len(), 1);
        assert_eq!(tried[0].candidate, path);
        tried[0].reason.clone()
    };
    fs::write(
        &path,
        "GROUP ( libtext.so.1 ) and more than a header of text, for the loader",
    )
    .unwrap();
    assert_eq!(reason(&path), "invalid ELF header");
    fs::write(&path, "").unwrap();
    assert_eq!(reason(&path), "file too short");
    assert!(reason(directory.path()).contains("Is a directory"));

    let whole = directory.path().join("libwhole.so");
    answering(&whole, 1);
    let whole = fs::read(&whole).unwrap();
    // The class of the file: 32 bits.
    let mut other = whole.clone();
    other[4] = 1;
    fs::write(&path, &other).unwrap();
    assert_eq!(reason(&path), "wrong ELF class: ELFCLASS32");
    // The machine: none that exists.
    let mut other = whole.clone();
    other[18..20].fill(0xee);
    fs::write(&path, &other).unwrap();
    assert!(!reason(&path).is_empty());
    fs::write(&path, &whole[..100]).unwrap();
    assert!(!reason(&path).is_empty());
    fs::write(&path, &whole).unwrap();
    assert_eq!(call(&open(&path).unwrap(), "answer"), 1);
}

#[test]
fn an_undefined_symbol_is_an_error_at_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("libundefined.so");
    compile(
        &path,
        "int nowhere(void); int f(void) { return nowhere(); }",
        &[],
    );
    assert!(tried(&path)[0].reason.contains("undefined symbol: nowhere"));
}

#[test]
fn a_file_replaced_while_its_library_is_loaded() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("libreplaced.so");
    answering(&path, 1);
    let library = open(&path).unwrap();
    // A new file of the same name, not new bytes in the old one.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "text").unwrap();
    assert!(matches!(
        library.symbols(),
        Err(LibraryError::Format { .. })
    ));
    assert_eq!(
        library.symbols().unwrap_err().to_string(),
        format!(
            "expected a shared library (ELF, Mach-O or PE) in {}, got a file that breaks off or \
             is none: Could not read file magic; build or install it again",
            path.display()
        )
    );
    fs::remove_file(&path).unwrap();
    assert!(matches!(library.symbols(), Err(LibraryError::Io { .. })));
    // Suggestions need the file, the error doesn't.
    assert!(matches!(
        symbol(&library, "answr"),
        Err(LibraryError::NoSymbol { .. })
    ));
    assert_eq!(call(&library, "answer"), 1);
}

proptest! {
    /// The file behind a loaded library may become anything; listing it gives names or an error.
    #[test]
    fn hostile_files(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
                     headers in any::<bool>(),
                     len in any::<prop::sample::Index>(), cut in any::<bool>()) {
        let directory = TempDir::new().unwrap();
        let path = kinds_once(directory.path());
        let library = open(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let range = if headers { 64 } else { bytes.len() };
        for (at, byte) in changes {
            bytes[at.index(range)] = byte;
        }
        if cut {
            bytes.truncate(len.index(bytes.len()));
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        match library.symbols() {
            Ok(symbols) => prop_assert!(symbols.is_sorted()),
            Err(error) => prop_assert!(
                matches!(error, LibraryError::Format { .. } | LibraryError::Io { .. }),
                "{error:?}"
            ),
        }
    }
}

/// A copy of a library that is compiled only once.
fn kinds_once(directory: &Path) -> PathBuf {
    static BYTES: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let directory = TempDir::new().unwrap();
        fs::read(kinds(directory.path())).unwrap()
    });
    let path = directory.join("libkinds.so");
    fs::write(&path, &*BYTES).unwrap();
    path
}

/// What a process with this environment says to a name: the answer of the library, or the names
/// that were tried.
fn in_process(name: &str, directory: &Path, environment: &[(&str, &str)]) -> Vec<String> {
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "other_process",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .current_dir(directory)
        .env_remove("LD_LIBRARY_PATH")
        .envs(environment.iter().copied())
        .env("OPEN", name)
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let lines = output
        .split('\n')
        .filter_map(|line| line.split_once("says: "));
    lines.map(|(_, said)| said.to_owned()).collect()
}

#[test]
#[ignore = "other tests start it in a process of its own"]
fn other_process() {
    let name = env::var("OPEN").unwrap();
    if let Some(path) = env::var_os("LATE") {
        // SAFETY: no other thread of this process reads the environment now.
        unsafe { env::set_var("LD_LIBRARY_PATH", path) };
    }
    match open(&name) {
        Ok(library) => println!("\nsays: {}", call(&library, "answer")),
        Err(LibraryError::NotFound { tried, .. }) => {
            for attempt in tried {
                println!("\nsays: {}", attempt.candidate.display());
            }
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_directories_of_the_environment() {
    let directory = TempDir::new().unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    for name in ["a", "b"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    let script = "/* GNU ld script, which is text to the loader and not a library */ GROUP(x)";
    fs::write(root.join("a/libfoo.so"), script).unwrap();
    answering(&root.join("a/libfoo.so.9"), 9);
    answering(&root.join("a/libfoo.so.10"), 10);
    fs::write(root.join("a/libfoo.so.11"), "cut").unwrap();
    fs::write(root.join("a/libfoo.so.12.py"), "no version").unwrap();
    answering(&root.join("b/libfoo.so"), 1);
    let (a, b) = (root.join("a"), root.join("b"));
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());

    for variable in ["LD_LIBRARY_PATH", "LATE"] {
        let said = |name: &str, value: &str| in_process(name, &root, &[(variable, value)]);
        assert_eq!(
            said("foo", a),
            ["10"],
            "{variable}: past the script and the broken file"
        );
        assert_eq!(
            said("foo", &format!("/nowhere:{b};{a}")),
            ["1"],
            "{variable}"
        );
        assert_eq!(said("foo", "a"), ["10"], "{variable}: relative");
        assert_eq!(
            said("foo", &format!(":{b}")),
            ["1"],
            "{variable}: an empty one, then b"
        );
    }
    // An empty entry is the working directory.
    let b_is_here = in_process("foo", Path::new(b), &[("LATE", ":/nowhere")]);
    assert_eq!(b_is_here, ["1"]);
    // Empty altogether it is none.
    assert_eq!(
        in_process("foo", Path::new(b), &[("LATE", "")]),
        ["libfoo.so"]
    );
    assert_eq!(in_process("foo", Path::new(b), &[]), ["libfoo.so"]);

    fs::remove_file(root.join("a/libfoo.so.9")).unwrap();
    fs::remove_file(root.join("a/libfoo.so.10")).unwrap();
    let paths = ["libfoo.so", "libfoo.so.11"].map(|name| format!("{}/{name}", "./a"));
    assert_eq!(
        in_process("foo", &root, &[("LATE", "a")]),
        [&["libfoo.so".to_owned()], &paths[..]].concat()
    );
}
