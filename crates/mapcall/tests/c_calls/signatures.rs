//! Random signatures of C functions, of all types.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

const SCALARS: &[&str] = &[
    "_Bool",
    "char",
    "signed char",
    "unsigned char",
    "short",
    "unsigned short",
    "int",
    "unsigned int",
    "long",
    "unsigned long",
    "long long",
    "unsigned long long",
    "enum sign",
    "void *",
    "const char *",
    "_Float16",
    "float",
    "double",
    "long double",
    "float _Complex",
    "double _Complex",
    "long double _Complex",
];

/// A type: a scalar, or a record by the types of its members.
#[derive(Clone, Debug)]
pub(crate) enum Type {
    Scalar(usize),
    Record {
        keyword: &'static str,
        attribute: &'static str,
        members: Vec<(Type, Option<usize>)>,
    },
}

fn scalar() -> impl Strategy<Value = Type> + Clone {
    (0..SCALARS.len()).prop_map(Type::Scalar)
}

/// Records of mostly small members, so that half are small enough for registers.
fn record() -> impl Strategy<Value = Type> {
    let small = prop_oneof![
        3 => (0_usize..SCALARS.len()).prop_map(Type::Scalar),
        3 => prop::sample::select(vec![1_usize, 3, 4, 6, 15, 16, 17, 19]).prop_map(Type::Scalar),
    ];
    small.prop_recursive(3, 12, 5, |inner| {
        let length = prop_oneof![4 => Just(None), 1 => (1_usize..5).prop_map(Some)];
        let keyword = prop_oneof![4 => Just("struct"), 1 => Just("union")];
        let attribute = prop_oneof![8 => Just(""), 1 => Just("__attribute__((packed))")];
        let members = prop::collection::vec((inner, length), 1..5);
        (keyword, attribute, members).prop_map(|(keyword, attribute, members)| Type::Record {
            keyword,
            attribute,
            members,
        })
    })
}

fn any_type() -> impl Strategy<Value = Type> {
    prop_oneof![3 => scalar(), 1 => record()]
}

#[derive(Clone, Debug)]
pub(crate) struct Signature {
    /// `None` for `void`.
    returns: Option<Type>,
    parameters: Vec<Type>,
}

pub(crate) fn signature() -> impl Strategy<Value = Signature> {
    let parameters = prop_oneof![
        2 => prop::collection::vec(any_type(), 0..8),
        1 => prop::collection::vec(scalar(), 12..30),
        // Ten at least of integers and floats each, interleaved.
        1 => prop::collection::vec((0_usize..13, 15_usize..18), 10..14).prop_map(|pairs| {
            let pair = |(a, b)| [Type::Scalar(a), Type::Scalar(b)];
            pairs.into_iter().flat_map(pair).collect()
        }),
    ];
    (prop::option::weighted(0.9, any_type()), parameters).prop_map(|(returns, parameters)| {
        Signature {
            returns,
            parameters,
        }
    })
}

/// Writes C, and remembers which records it has defined.
struct Writer {
    c: String,
    records: usize,
}

impl Writer {
    fn name(&mut self, ctype: &Type) -> String {
        match ctype {
            Type::Scalar(index) => SCALARS[*index].into(),
            Type::Record {
                keyword,
                attribute,
                members,
            } => {
                let mut body = String::new();
                for (i, (member, length)) in members.iter().enumerate() {
                    let name = self.name(member);
                    let length = length.map(|n| format!("[{n}]")).unwrap_or_default();
                    let _ = write!(body, "{name} m{i}{length}; ");
                }
                self.records += 1;
                let name = format!("{keyword} r{}", self.records);
                let _ = writeln!(
                    self.c,
                    "{keyword} r{} {{ {body}}} {attribute};",
                    self.records
                );
                name
            }
        }
    }
}

pub(crate) fn declarations(signatures: &[Signature]) -> String {
    let mut writer = Writer {
        c: "enum sign { MINUS = -1, PLUS = 1 };\n".into(),
        records: 0,
    };
    for (i, signature) in signatures.iter().enumerate() {
        let returns = match &signature.returns {
            Some(ctype) => writer.name(ctype),
            None => "void".into(),
        };
        let parameters = signature.parameters.iter().enumerate();
        let parameters: Vec<_> = parameters
            .map(|(i, ctype)| format!("{} p{i}", writer.name(ctype)))
            .collect();
        let parameters = if parameters.is_empty() {
            "void".into()
        } else {
            parameters.join(", ")
        };
        let _ = writeln!(writer.c, "{returns} f{i}({parameters});");
    }
    writer.c
}

/// Checks batches of so many random signatures, a compiler run each, so fewer than there are cases of
/// other properties: `check` is given declarations and a seed, and says how many of the functions are
/// called by compiled code, and how many otherwise.
pub(crate) fn check_random(
    signatures: usize,
    cases_each: u32,
    check: impl Fn(&str, u64) -> (usize, usize),
) {
    let (compiled, others) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let batches = ProptestConfig::default().cases.div_ceil(cases_each);
    // The macro would take the number of cases from the environment again.
    let mut runner = TestRunner::new(ProptestConfig {
        cases: batches,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let signatures = prop::collection::vec(signature(), signatures);
    let tested = runner.run(&(signatures, any::<u64>()), |(signatures, seed)| {
        let chosen = check(&declarations(&signatures), seed);
        compiled.fetch_add(chosen.0, Ordering::Relaxed);
        others.fetch_add(chosen.1, Ordering::Relaxed);
        Ok(())
    });
    if let Err(TestError::Fail(reason, (signatures, seed))) = tested {
        panic!("{reason}, seed {seed}:\n{}", declarations(&signatures));
    }
    tested.unwrap();
    let (compiled, others) = (compiled.into_inner(), others.into_inner());
    assert!(others > batches as usize);
    if cfg!(has_jit) {
        assert!(compiled > batches as usize, "{compiled} of {others}");
    }
}
