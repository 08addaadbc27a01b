//! Layouts and dtypes of structs and unions; the layouts of random ones are those of the system's C compiler.

use std::fmt::Write as _;

use mapcall_array::DType;
use mapcall_array::dtype::Field;
use mapcall_decl::ctype::{Body, CType};
use mapcall_decl::declarations::Definitions;
use mapcall_decl::{Declarations, Prototype, PrototypeErrorKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::compiler;
use super::generated::any_declarator;

#[derive(Clone, Debug)]
struct MemberText {
    alignas: Option<u32>,
    declarator: (String, String),
    length: Option<usize>,
    packed: bool,
}

fn any_struct() -> impl Strategy<Value = (Vec<MemberText>, &'static str, bool)> {
    let member = (
        proptest::option::weighted(0.2, select(&[16_u32, 32, 64][..])),
        any_declarator(),
        proptest::option::of(1..5_usize),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(alignas, declarator, length, packed)| MemberText {
            alignas,
            declarator,
            length,
            packed,
        });
    (
        vec(member, 1..8),
        select(
            &[
                "",
                "__attribute__((packed))",
                "__attribute__((__aligned__(32)))",
            ][..],
        ),
        proptest::bool::weighted(0.2),
    )
}

fn struct_text(
    index: usize,
    (members, attribute, union): &(Vec<MemberText>, &str, bool),
) -> String {
    let keyword = if *union { "union" } else { "struct" };
    let mut text = format!("typedef {keyword} {{ ");
    for (m, member) in members.iter().enumerate() {
        if let Some(alignas) = member.alignas {
            let _ = write!(text, "_Alignas({alignas}) ");
        }
        let (before, after) = &member.declarator;
        let length = member.length.map(|n| format!("[{n}]")).unwrap_or_default();
        let packed = if member.packed {
            " __attribute__((packed))"
        } else {
            ""
        };
        let _ = write!(text, "{before}m{m}{length}{after}{packed}; ");
    }
    if index > 0 {
        let _ = write!(
            text,
            "struct {{ char c; s{} inner; }}; s{} n[2]; ",
            index - 1,
            index - 1
        );
    }
    let _ = writeln!(text, "}} {attribute} s{index};");
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Sizes, alignments and offsets are the same as the compiler's. Each struct has the one before twice, so that
    /// more of them would have too many members for a dtype.
    #[test]
    fn layouts_are_the_compilers(structs in vec(any_struct(), 1..11)) {
        let mut definitions = String::new();
        let mut body = String::new();
        for (index, spec) in structs.iter().enumerate() {
            definitions.push_str(&struct_text(index, spec));
            let _ = write!(body, "printf(\"%zu %zu\", sizeof(s{index}), _Alignof(s{index}));");
            for member in 0..spec.0.len() {
                let _ = write!(body, "printf(\" %zu\", offsetof(s{index}, m{member}));");
            }
            body.push_str("puts(\"\");\n");
        }
        let includes = "#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n";
        let expected =
            compiler::run(&format!("{includes}{definitions}int main(void) {{ {body} }}"));

        let header = Declarations::parse(&definitions);
        prop_assert!(header.errors().is_empty(), "{}", header.errors()[0]);
        let mut ours = String::new();
        for (index, spec) in structs.iter().enumerate() {
            let ctype = &header.structs()[&format!("s{index}")];
            let CType::Record(record) = ctype.resolved() else { panic!() };
            let Body::Complete { members, .. } = &record.body else { panic!("{:?}", record.body) };
            let _ = write!(ours, "{} {}", ctype.size().unwrap(), ctype.alignment().unwrap());
            for member in &members[..spec.0.len()] {
                let _ = write!(ours, " {}", member.offset);
            }
            ours.push('\n');
            let dtype = ctype.dtype().unwrap();
            prop_assert_eq!(Some(dtype.itemsize()), ctype.size());
        }
        prop_assert_eq!(ours, expected, "{}", definitions);
    }
}

#[test]
fn dtypes_of_structs() {
    let header = Declarations::parse(
        "typedef struct { char tag; union { float f; int i; }; double _Complex z[2][3]; void *p; } t;
         struct __attribute__((packed)) p { char a; int b; };
         struct flexible { int n; double x[]; };
         struct bits { unsigned a : 3, : 4, b : 30; char c; unsigned d : 2, : 0; short e : 9; };
         struct wide { char a; __int128 b; struct __attribute__((packed)) { char c; double d; } e; };",
    );
    assert!(header.errors().is_empty());
    let dtype = header.structs()["t"].dtype().unwrap();
    let offsets: Vec<_> = dtype
        .fields()
        .unwrap()
        .iter()
        .map(|f| (&*f.name, f.offset))
        .collect();
    assert_eq!(
        offsets,
        [("tag", 0), ("f", 4), ("i", 4), ("z", 8), ("p", 104)]
    );
    assert_eq!(dtype.field("z").unwrap().dtype.shape(), [2, 3]);
    assert_eq!(dtype.field("z").unwrap().dtype.base(), &DType::C128);
    let packed = header.structs()["p"].dtype().unwrap();
    assert_eq!((packed.itemsize(), packed.alignment()), (5, 1));
    let error = |name: &str| header.structs()[name].dtype().unwrap_err().to_string();
    assert_eq!(
        error("flexible"),
        "`struct flexible` has no dtype: it ends in an array without a length"
    );
    // Bit-fields that share storage are one field, which lies beside the other members.
    let fields = |name: &str| {
        let dtype = header.structs()[name].dtype().unwrap();
        let fields = dtype.fields().unwrap().iter();
        let text = |field: &Field| format!("{} {} {}", field.name, field.dtype, field.offset);
        (
            fields.map(text).collect::<Vec<_>>().join(", "),
            dtype.itemsize(),
        )
    };
    // `d` lies in the bytes of an `int` that `c` is in, too.
    let bits = "a:3 <u4 0, b:30 <u4 4, c |i1 8, d:2 |u1 9, e:9 <u2 12";
    assert_eq!(fields("bits"), (bits.into(), 16));
    assert_eq!(fields("wide").1, 48);
}

#[test]
fn a_struct_of_many_members_is_a_handle() {
    let text = |levels: u32| {
        let last = levels;
        let rest = (0..levels).map(|level| {
            let next = level + 1;
            format!("struct t{next} {{ struct t{level} a, b; }};")
        });
        let rest = rest.collect::<String>();
        format!("struct t0 {{ char a; }};{rest} void f(struct t{last} *x);")
    };
    let dtype = |levels| {
        let prototype = Prototype::parse(&text(levels)).unwrap();
        let CType::Pointer(pointer) = &prototype.parameters[0].ctype else {
            panic!("{prototype}");
        };
        pointer.target.dtype()
    };
    // Structs of 3 · 2¹² - 2 members, and of twice as many.
    assert_eq!(dtype(12).unwrap().itemsize(), 1 << 12);
    let error = dtype(13).unwrap_err();
    assert!(error.reason.contains("more than 16384 members"), "{error}");
    let value = text(13).replace('*', "");
    assert!(Prototype::parse(&value).is_err());
}

/// Each prototype of a library may come with the definitions that it needs.
#[test]
fn definitions_may_be_repeated_any_number_of_times() {
    for text in [
        "struct node { struct node *next; double x; }; void f(struct node *p)",
        "typedef struct node { struct node *next, **all; } node; void f(node *p)",
        "typedef struct node node; struct node { node *next; }; void f(node *p)",
        "struct node { void (*visit)(struct node *node, int n, const double x[n]); }; void f(struct node *p)",
        "union node { union node *next; int x; }; void f(union node *p)",
        "struct b; struct node { struct b *b; }; struct b { struct node *a; struct b *b; }; void f(struct node *p)",
        "struct node { struct c { struct node *up; struct c *c; } inner; struct node *next; }; void f(struct node *p)",
        "struct node { enum e { A, B } e; struct node *next; }; void f(struct node *p)",
    ] {
        let mut known = Definitions::default();
        let mut first = None;
        let header = Declarations::default();
        for _ in 0..100 {
            let (prototype, defined) = header.prototype_after(text, &known).unwrap();
            known.extend(defined);
            let first = first.get_or_insert_with(|| prototype.clone());
            assert!(
                prototype.parameters[0]
                    .ctype
                    .is_same(&first.parameters[0].ctype)
            );
        }
        assert!(known.structure("node").is_some());
        // A header has the definition, too.
        let declared = Declarations::parse(&format!("{text};"));
        assert!(declared.errors().is_empty(), "{text}");
        let mut known = Definitions::default();
        for _ in 0..100 {
            let (_, defined) = declared.prototype_after(text, &known).unwrap();
            known.extend(defined);
        }
    }
}

#[test]
fn a_definition_hides_an_earlier_one_from_its_beginning_on() {
    let header = Declarations::default();
    let text = "struct node { struct node *next; int x; }; void f(struct node *p)";
    let (_, known) = header
        .prototype_after(text, &Definitions::default())
        .unwrap();
    let text = "struct node { struct node *next; double x, y; }; void f(struct node *p)";
    let (_, known) = header.prototype_after(text, &known).unwrap();
    let node = known.structure("node").unwrap();
    assert_eq!(node.size(), Some(24));
    let CType::Record(record) = node.resolved() else {
        panic!("{node}");
    };
    let Body::Complete { members, .. } = &record.body else {
        panic!("{node}");
    };
    let CType::Pointer(next) = &members[0].ctype else {
        panic!("{node}");
    };
    assert!([None, Some(24)].contains(&next.target.size()), "{node}");
    // A header's definition is not hidden.
    let declared = Declarations::parse("struct node { struct node *next; int x; };");
    let refused = declared.prototype(text).unwrap_err();
    assert!(
        matches!(refused.kind, PrototypeErrorKind::Redefined { .. }),
        "{refused}"
    );
}
