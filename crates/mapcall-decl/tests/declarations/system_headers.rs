//! Whole headers: those of the system, and a long one.

use mapcall_decl::{Declarations, PrototypeErrorKind};

use super::compiler;

/// Every function of a real header can be called, or has the reason why not.
#[test]
fn system_headers_are_read_whole() {
    for (header, callable, refused) in [
        ("math.h", &["cos", "fma", "frexp", "ldexpl"][..], &[][..]),
        ("complex.h", &["csqrt", "cabsf", "cpow"], &[]),
        (
            "stdlib.h",
            &["qsort", "getenv", "malloc", "strtol", "div"],
            &[],
        ),
        ("string.h", &["memcpy", "strlen", "strtok_r"], &[]),
        ("stdio.h", &["fopen", "puts", "fread"], &["vprintf"]),
        ("unistd.h", &["read", "getcwd", "lseek", "execl"], &[]),
        ("pthread.h", &["pthread_create", "pthread_mutex_lock"], &[]),
        ("time.h", &["mktime", "strftime", "nanosleep"], &[]),
        ("zlib.h", &["compress2", "crc32", "inflate"], &[]),
        (
            "sqlite3.h",
            &["sqlite3_open", "sqlite3_exec"],
            &["sqlite3_vmprintf"],
        ),
    ] {
        let Some(text) = compiler::preprocess(header) else {
            // The other headers exist on every system with a C compiler.
            assert!(matches!(header, "zlib.h" | "sqlite3.h"), "{header}");
            continue;
        };
        let declarations = Declarations::parse(&text);
        let errors: Vec<_> = declarations
            .errors()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(errors.is_empty(), "{header}: {}", errors.join("\n"));
        let find = |name: &str| {
            declarations
                .functions()
                .iter()
                .find(|function| function.name == name)
                .unwrap_or_else(|| panic!("{header} has no {name}"))
        };
        for name in callable {
            assert_eq!(find(name).unsupported(), None, "{header}: {name}");
        }
        for name in refused {
            assert!(find(name).unsupported().is_some(), "{header}: {name}");
        }
        for function in declarations.functions() {
            match &function.prototype {
                Ok(prototype) => assert_eq!(prototype.name, function.name),
                Err(error) => assert!(
                    !matches!(
                        error.kind,
                        PrototypeErrorKind::Syntax { .. } | PrototypeErrorKind::UnknownType { .. }
                    ),
                    "{header}: {error}"
                ),
            }
        }
    }
}

#[test]
fn every_prototype_of_a_long_header_is_there() {
    let header = (0..500).fold(String::new(), |header, i| {
        header + &format!("void f{i}(size_t n, const float x[restrict n], float y[restrict n]);\n")
    });
    let declarations = Declarations::parse(&header);
    assert_eq!(declarations.functions().len(), 500);
    for (i, function) in declarations.functions().iter().enumerate() {
        assert_eq!(function.name, format!("f{i}"));
        assert_eq!(function.prototype.as_ref().unwrap().signature(), "(n)->(n)");
    }
}
