//! Layouts of structs and unions with bit-fields, packed members and limits of `#pragma pack`, against the
//! system's C compilers.

#![cfg(target_endian = "little")]

use std::fmt::Write as _;

use mapcall_decl::Declarations;
use mapcall_decl::ctype::{Body, CType, Member};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::compiler;

const PRELUDE: &str = "enum plain { P = 0, Q = 3 }; enum negative { N = -2, M = 1 };
    enum __attribute__((packed)) small { S, T = 200 };
    typedef long aligned_long __attribute__((aligned(16)));
    typedef int loose_int __attribute__((aligned(1)));
    typedef unsigned short half_mode __attribute__((__mode__(__HI__)));
    struct inner { char a; int b : 5; } __attribute__((packed));
    typedef _Atomic int counter; typedef float vector __attribute__((vector_size(16)));\n";

/// Types of bit-fields, with their largest widths.
const BIT_TYPES: [(&str, u32); 15] = [
    ("int", 32),
    ("unsigned", 32),
    ("signed char", 8),
    ("char", 8),
    ("unsigned char", 8),
    ("short", 16),
    ("unsigned short", 16),
    ("long", 64),
    ("unsigned long long", 64),
    ("_Bool", 1),
    ("enum plain", 32),
    ("enum negative", 32),
    ("enum small", 8),
    ("const volatile int", 32),
    ("half_mode", 16),
];

const TYPES: [&str; 17] = [
    "char",
    "short",
    "int",
    "long",
    "double",
    "long double",
    "void *",
    "float _Complex",
    "__int128",
    "struct inner",
    "enum small",
    "aligned_long",
    "loose_int",
    "counter",
    "vector",
    "struct { char x; short y : 3; }",
    "union { int i; char c[5]; }",
];

#[derive(Clone, Debug)]
enum MemberText {
    Plain(&'static str, Option<usize>),
    Bits(&'static str, u32),
    Unnamed(&'static str, u32),
}

#[derive(Clone, Debug)]
struct RecordText {
    is_union: bool,
    members: Vec<(MemberText, &'static str)>,
    attribute: &'static str,
    pack: &'static str,
}

fn any_record() -> impl Strategy<Value = RecordText> {
    let plain = (
        select(&TYPES[..]),
        proptest::option::weighted(0.2, 1..4_usize),
    );
    let bits = || {
        let any_type = select(&BIT_TYPES[..]);
        any_type.prop_flat_map(|(ctype, max)| (Just(ctype), 1..=max))
    };
    let zero = select(&BIT_TYPES[..]).prop_map(|(ctype, _)| MemberText::Unnamed(ctype, 0));
    let member = prop_oneof![
        4 => plain.prop_map(|(ctype, length)| {
            // C has no arrays of a type that is smaller than its alignment.
            MemberText::Plain(ctype, length.filter(|_| ctype != "aligned_long"))
        }),
        8 => bits().prop_map(|(ctype, width)| MemberText::Bits(ctype, width)),
        1 => bits().prop_map(|(ctype, width)| MemberText::Unnamed(ctype, width)),
        1 => zero,
    ];
    let attribute = prop_oneof![
        8 => Just(""),
        1 => Just(" __attribute__((packed))"),
        1 => Just(" __attribute__((aligned(4)))"),
    ];
    let record = prop_oneof![
        5 => Just(""),
        1 => Just("__attribute__((packed))"),
        1 => Just("__attribute__((aligned(32)))"),
        1 => Just("__attribute__((packed, aligned(2)))"),
    ];
    let pack = select(&["", "", "", "", "1", "2", "4", "8", "16"][..]);
    let is_union = proptest::bool::weighted(0.15);
    (is_union, vec((member, attribute), 1..9), record, pack).prop_map(
        |(is_union, members, attribute, pack)| {
            // Compilers disagree on bit-fields that are packed in both ways.
            let is_packed = |text: &str| text.contains("packed");
            let is_packed = is_packed(attribute) || members.iter().any(|(_, text)| is_packed(text));
            RecordText {
                is_union,
                members,
                attribute,
                pack: if is_packed { "" } else { pack },
            }
        },
    )
}

impl RecordText {
    /// Returns the definition of `struct r0` or `union r0`, for an index of 0.
    fn definition(&self, index: usize) -> String {
        let mut text = format!(
            "#pragma pack(push{})\n",
            match self.pack {
                "" => String::new(),
                limit => format!(", {limit}"),
            }
        );
        let _ = write!(
            text,
            "typedef {} {{ ",
            if self.is_union { "union" } else { "struct" }
        );
        for (at, (member, attribute)) in self.members.iter().enumerate() {
            let _ = match member {
                MemberText::Plain(ctype, length) => {
                    let length = length
                        .map(|length| format!("[{length}]"))
                        .unwrap_or_default();
                    write!(text, "{ctype} m{at}{length}{attribute}; ")
                }
                MemberText::Bits(ctype, width) => {
                    write!(text, "{ctype} m{at} : {width}{attribute}; ")
                }
                MemberText::Unnamed(ctype, width) => write!(text, "{ctype} : {width}; "),
            };
        }
        let _ = writeln!(text, "}} {} r{index};\n#pragma pack(pop)", self.attribute);
        text
    }

    /// Returns C code that prints a line: the size, the alignment, and for each member its offset, or the bytes
    /// with all its bits set, and its value where every other byte is 0x5a.
    fn report(&self, index: usize) -> String {
        let mut text = format!("{{ r{index} r; printf(\"%zu %zu\", sizeof r, _Alignof(r{index}));");
        for (at, (member, _)) in self.members.iter().enumerate() {
            let _ = match member {
                MemberText::Plain(..) => {
                    write!(
                        text,
                        " printf(\" %zu\", __builtin_offsetof(r{index}, m{at}));"
                    )
                }
                MemberText::Bits(ctype, _) => {
                    let value = if *ctype == "_Bool" { "1" } else { "-1" };
                    let set = match ctype.strip_prefix("const volatile ") {
                        Some(_) => String::from("set_nothing(&r, sizeof r);"),
                        None => format!(
                            "memset(&r, 0, sizeof r); r.m{at} = {value}; show(&r, sizeof r);"
                        ),
                    };
                    write!(
                        text,
                        " {set} fill(&r, sizeof r); printf(\" %lld\", (long long)r.m{at});"
                    )
                }
                MemberText::Unnamed(..) => Ok(()),
            };
        }
        text + " puts(\"\"); }\n"
    }

    /// Returns the line that [`report`](Self::report) prints, by our layout.
    fn expected(&self, ctype: &CType) -> String {
        let CType::Record(record) = ctype.resolved() else {
            panic!("{ctype}")
        };
        let Body::Complete { members, .. } = &record.body else {
            panic!("{:?} {self:?}", record.body)
        };
        let size = ctype.size().unwrap();
        let filled: Vec<u8> = (0..size)
            .map(|at| if at % 2 == 0 { 0x5a } else { 0xc3 })
            .collect();
        let mut text = format!("{size} {}", ctype.alignment().unwrap());
        for (at, (member, _)) in self.members.iter().enumerate() {
            let name = format!("m{at}");
            let found = members.iter().find(|one| one.name.as_ref() == Some(&name));
            match (member, found) {
                (MemberText::Unnamed(..), None) => {}
                (
                    _,
                    Some(Member {
                        offset, bits: None, ..
                    }),
                ) => {
                    let _ = write!(text, " {offset}");
                }
                (
                    MemberText::Bits(ctype, _),
                    Some(Member {
                        offset,
                        bits: Some(bits),
                        ..
                    }),
                ) => {
                    let (least, largest) = bits.range();
                    assert_eq!(
                        bits.read(&filled[*offset..]).clamp(least, largest),
                        bits.read(&filled[*offset..])
                    );
                    text.push(' ');
                    if !ctype.starts_with("const volatile") {
                        let mut bytes = vec![0; size];
                        bits.write(&mut bytes[*offset..], -1);
                        assert!([-1, largest].contains(&bits.read(&bytes[*offset..])));
                        for byte in bytes {
                            let _ = write!(text, "{byte:02x}");
                        }
                    }
                    let value = i64::try_from(bits.read(&filled[*offset..])).unwrap_or_else(|_| {
                        u64::try_from(bits.read(&filled[*offset..]))
                            .unwrap()
                            .cast_signed()
                    });
                    let _ = write!(text, " {value}");
                }
                _ => panic!("{name} {self:?}"),
            }
        }
        // A field of the dtype is no larger than the record, and every named member has one.
        let dtype = ctype.dtype().unwrap();
        assert_eq!(dtype.itemsize(), size);
        let fields = dtype
            .fields()
            .unwrap()
            .iter()
            .map(|field| format!(" {} ", field.name));
        let fields = fields.collect::<String>();
        for (at, (member, _)) in self.members.iter().enumerate() {
            let name = match member {
                MemberText::Plain(..) => format!(" m{at} "),
                MemberText::Bits(_, width) => format!(" m{at}:{width} "),
                MemberText::Unnamed(..) => continue,
            };
            assert!(fields.contains(&name), "{name} {fields}");
        }
        text
    }
}

#[test]
fn bit_fields_are_laid_out_as_compilers_do() {
    let mut runner = TestRunner::deterministic();
    let records = vec(any_record(), 400)
        .new_tree(&mut runner)
        .unwrap()
        .current();
    let definitions: String = (0..)
        .zip(&records)
        .map(|(at, record)| record.definition(at))
        .collect();
    let reports: String = (0..)
        .zip(&records)
        .map(|(at, record)| record.report(at))
        .collect();
    let functions = "#include <stdio.h>\n#include <string.h>\n
        static void show(const void *r, size_t n) { putchar(' '); for (size_t i = 0; i < n; i++)
            printf(\"%02x\", ((const unsigned char *)r)[i]); }
        static void set_nothing(const void *r, size_t n) { putchar(' '); }
        static void fill(void *r, size_t n) { for (size_t i = 0; i < n; i++)
            ((unsigned char *)r)[i] = i % 2 ? 0xc3 : 0x5a; }\n";
    let source = format!("{functions}{PRELUDE}{definitions}int main(void) {{ {reports} }}");

    let header = Declarations::parse(&format!("{PRELUDE}{definitions}"));
    assert!(header.errors().is_empty(), "{}", header.errors()[0]);
    let expected: Vec<_> = (0..)
        .zip(&records)
        .map(|(at, record)| record.expected(&header.structs()[&format!("r{at}")]))
        .collect();
    for compiler in ["cc", "gcc", "clang"] {
        let Some(printed) = compiler::run_by(compiler, &source) else {
            assert_ne!(compiler, "cc", "there is no compiler");
            continue;
        };
        for ((line, expected), (at, record)) in
            printed.lines().zip(&expected).zip((0..).zip(&records))
        {
            let definition = record.definition(at);
            // Clang lays out some bit-fields with an alignment of their own unlike the system's GCC.
            let has_requests = ["packed", "aligned", "pack("]
                .iter()
                .any(|request| definition.contains(request));
            if compiler == "clang" && cfg!(target_os = "linux") && has_requests {
                continue;
            }
            assert_eq!(line, expected, "{compiler}: {definition}");
        }
        assert_eq!(printed.lines().count(), records.len());
    }
}
