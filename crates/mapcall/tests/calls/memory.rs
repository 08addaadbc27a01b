//! Pointers in memory: lists, variables, function pointers, and destructors that are closures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mapcall::{Arg, Library, Prototype};
use tempfile::TempDir;

use crate::c_calls::{compile, open};

fn library() -> (TempDir, Library) {
    let source = "#include <string.h>
        int length(int n, const char *const *s)
        { int t = 0; for (int i = 0; i < n; i++) t += s[i] ? strlen(s[i]) : 100; return t; }
        int count(char **argv) { int n = 0; while (argv[n]) argv[n++][0] = '-'; return n; }
        double rows(int n, int m, double *const *r)
        { double s = 0; for (int i = 0; i < n; i++) for (int j = 0; j < m; j++) s += r[i][j]++; return s; }
        int verbosity = 5;
        const double table[3] = {1, 2, 3};
        const char *label = \"label\";
        double *current;
        double first(void) { return *current; }
        static int twice(int x) { return 2 * x; }
        int (*hook)(int) = twice;
        int call_hook(int x) { return hook(x); }";
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("memory.so");
    compile(&path, source, "-O1");
    let library = open(&path);
    (folder, library)
}

#[test]
fn lists() {
    let (_folder, library) = library();
    // SAFETY: these are the prototypes of the functions above.
    let bind = |text| unsafe { library.function(text) }.unwrap();
    let length = bind("int length(int n, const char *const s[n])");
    let call = |list| {
        length
            .call(&mut [list])
            .map(|value| value.to_i128().unwrap())
    };
    assert_eq!(call(Arg::list(["a", "bc"])).unwrap(), 3);
    assert_eq!(call(Arg::list([Arg::from("abc"), Arg::Null])).unwrap(), 103);
    assert_eq!(call(Arg::List(Vec::new())).unwrap(), 0);
    let error = call(Arg::list([Arg::from("a"), Arg::from(2)])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "length: s[1]: expected text, got an integer; give a text"
    );
    let count = bind("int count(char **argv)");
    let value = count.call(&mut [Arg::list(["one", "two"])]).unwrap();
    assert_eq!(value.to_i128(), Some(2));
    let rows = bind("double rows(int n, int m, double *const r[n])");
    let (mut one, mut two) = ([1.0, 2.0], [3.0, 4.0]);
    let list = Arg::list([Arg::from(&mut one), Arg::from(&mut two)]);
    let sum = rows.call(&mut [2.into(), list]).unwrap();
    assert_eq!(
        (sum.to_f64(), one, two),
        (Some(10.0), [2.0, 3.0], [4.0, 5.0])
    );
    let error = rows
        .call(&mut [2.into(), Arg::list([Arg::from(&one)])])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("rows: r[0]: expected a pointer to double, writeable")
    );
    let error = rows
        .call(&mut [2.into(), Arg::list([Arg::from(&[0_f32])])])
        .unwrap_err();
    assert!(error.to_string().contains("float32"));
}

#[test]
fn variables() {
    let (_folder, library) = library();
    // SAFETY: these are the declarations of the variables above.
    let variable = |text| unsafe { library.variable(text) }.unwrap();
    let verbosity = variable("int verbosity");
    // SAFETY: no other thread uses the library.
    unsafe {
        assert_eq!(verbosity.get().unwrap().to_i128(), Some(5));
        verbosity.set(&(-1).into()).unwrap();
        assert_eq!(verbosity.get().unwrap().to_i128(), Some(-1));
        assert!(verbosity.set(&0.5.into()).is_err());
        let table = variable("const double table[3]");
        assert!(table.get().is_err() && table.set(&1.0.into()).is_err());
        let label = variable("const char *label");
        assert_eq!(label.get().unwrap().text(), Some(c"label"));
        assert!(label.set(&"text".into()).is_err());
        let current = variable("double *current");
        let mut value = [2.5];
        current.set(&Arg::from(&mut value)).unwrap();
        let first = library.function("double first(void)").unwrap();
        assert_eq!(first.call(&mut []).unwrap().to_f64(), Some(2.5));
        let hook = variable("int (*hook)(int)");
        let labs = Library::process()
            .unwrap()
            .function("int abs(int j)")
            .unwrap();
        hook.set(&Arg::from(&labs)).unwrap();
        let call = library.function("int call_hook(int x)").unwrap();
        assert_eq!(call.call(&mut [(-4).into()]).unwrap().to_i128(), Some(4));
        assert!(library.variable("int nothing").is_err());
        assert!(library.variable("int f(int)").is_err());
    }
}

#[test]
fn a_destructor_that_is_a_closure() {
    let process = Library::process().unwrap();
    // SAFETY: these are the prototypes of the C library.
    let bind = |text| unsafe { process.function(text) }.unwrap();
    let (malloc, free) = (bind("void *malloc(size_t n)"), bind("void free(void *p)"));
    let freed = Arc::new(AtomicUsize::new(0));
    let make = || {
        let (free, freed) = (free.clone(), Arc::clone(&freed));
        let memory = malloc.call(&mut [8.into()]).unwrap().into_handle().unwrap();
        memory.with_destructor_closure(move |memory| {
            free.call(&mut [memory.into()]).unwrap();
            freed.fetch_add(1, Ordering::Relaxed);
        })
    };
    let memory = make();
    drop(memory.clone());
    assert_eq!(freed.load(Ordering::Relaxed), 0);
    assert!(memory.close().unwrap().is_none());
    drop(memory);
    assert_eq!(freed.load(Ordering::Relaxed), 1);
    drop(make());
    assert_eq!(freed.load(Ordering::Relaxed), 2);
    let memory = make();
    assert!(memory.release().is_some() && memory.is_closed());
    drop(memory);
    assert_eq!(freed.load(Ordering::Relaxed), 2);
}

#[test]
fn a_function_at_an_address() {
    let process = Library::process().unwrap();
    // SAFETY: `labs` is no indirect function.
    let address = unsafe { process.symbol("labs") }.unwrap();
    let prototype = Prototype::parse("long magnitude(long j)").unwrap();
    // SAFETY: the function at the address has this prototype.
    let labs = unsafe { process.bind_address(prototype, address) }.unwrap();
    assert_eq!(labs.call(&mut [(-3).into()]).unwrap().to_i128(), Some(3));
    assert_eq!(labs.name(), "magnitude");
}
