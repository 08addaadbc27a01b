//! The keywords of C11, C23 and GNU C, in all their spellings.

macro_rules! keywords {
    ($($name:ident $($text:literal)*,)*) => {
        /// A keyword; its spellings have one meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Keyword {
            $($name,)*
        }

        const SPELLINGS: &[(&str, Keyword)] = &[$($(($text, Keyword::$name),)*)*];
    };
}

keywords! {
    Alignas "_Alignas" "alignas",
    Alignof "_Alignof" "alignof" "__alignof__" "__alignof",
    Asm "asm" "__asm__" "__asm",
    Atomic "_Atomic",
    Attribute "__attribute__" "__attribute",
    Auto "auto" "__auto_type",
    BitInt "_BitInt",
    Char "char",
    Complex "_Complex" "__complex__" "__complex",
    Const "const" "__const" "__const__",
    Declspec "__declspec",
    Double "double",
    Enum "enum",
    Extension "__extension__",
    Extern "extern",
    Float "float",
    // Types whose names older headers declare themselves.
    NamedArithmetic "__int128" "_Float16" "_Float32" "_Float32x" "_Float64" "_Float64x" "_Float128" "_Float128x"
        "__float128" "__float80" "__fp16" "__bf16" "_Decimal32" "_Decimal64" "_Decimal128",
    Generic "_Generic",
    Inline "inline" "__inline" "__inline__",
    Int "int",
    Long "long",
    Noreturn "_Noreturn",
    Offsetof "__builtin_offsetof" "offsetof",
    PragmaOperator "_Pragma",
    Register "register" "constexpr",
    Restrict "restrict" "__restrict" "__restrict__",
    Short "short",
    Signed "signed" "__signed" "__signed__",
    Sizeof "sizeof",
    Static "static",
    StaticAssert "_Static_assert" "static_assert",
    Struct "struct",
    ThreadLocal "_Thread_local" "thread_local" "__thread",
    Typedef "typedef",
    Typeof "typeof" "__typeof__" "__typeof" "typeof_unqual" "__typeof_unqual__" "__typeof_unqual",
    Union "union",
    Unsigned "unsigned",
    Void "void",
    Volatile "volatile" "__volatile__" "__volatile",
    // Nullability and bounds of pointers (Clang), and calling conventions (Microsoft): attributes by a word.
    NamedAttribute "_Nullable" "_Nonnull" "_Null_unspecified" "_Nullable_result" "__counted_by" "__sized_by"
        "__counted_by_or_null" "__sized_by_or_null" "__ended_by" "__single" "__indexable" "__bidi_indexable"
        "__unsafe_indexable" "__null_terminated" "__cdecl" "__stdcall" "__fastcall" "__thiscall" "__vectorcall"
        "__regcall" "__pascal",
}

/// The number of slots of [`TABLE`]: a power of two, so that most keywords have one of their own.
const SLOTS: usize = 1024;

/// A slot without a keyword.
const FREE: u8 = u8::MAX;

#[allow(
    clippy::indexing_slicing,
    reason = "it is computed by the compiler, which checks the indices"
)]
/// The positions of the keywords in [`SPELLINGS`] by their hash; a slot that is taken is followed by the next.
const TABLE: [u8; SLOTS] = {
    let mut table = [FREE; SLOTS];
    let mut index = 0;
    while index < SPELLINGS.len() {
        let mut slot = hash(SPELLINGS[index].0.as_bytes());
        while table[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        assert!(index < FREE as usize, "the table holds no more keywords");
        #[allow(clippy::cast_possible_truncation, reason = "it is checked above")]
        {
            table[slot] = index as u8;
        }
        index += 1;
    }
    table
};

const fn hash(name: &[u8]) -> usize {
    let mut hash = name.len();
    let mut rest = name;
    while let [first, behind @ ..] = rest {
        hash = (hash * 31 + *first as usize) % SLOTS;
        rest = behind;
    }
    hash
}

/// The length of the longest keyword, in bytes.
const MAX_LEN: usize = 20;

impl Keyword {
    /// Returns the keyword with a spelling.
    pub(crate) fn of(name: &str) -> Option<Self> {
        if name.len() > MAX_LEN {
            return None;
        }
        let first = hash(name.as_bytes());
        (first..first + SLOTS)
            .map(|slot| TABLE.get(slot % SLOTS).copied().unwrap_or(FREE))
            .take_while(|&index| index != FREE)
            .filter_map(|index| SPELLINGS.get(usize::from(index)))
            .find(|(spelling, _)| *spelling == name)
            .map(|(_, keyword)| *keyword)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found() {
        for (spelling, keyword) in SPELLINGS {
            assert!(spelling.len() <= MAX_LEN, "{spelling}");
            assert_eq!(Keyword::of(spelling), Some(*keyword));
        }
        for name in [
            "",
            "size_t",
            "ints",
            "INT",
            "__attribute___",
            &"x".repeat(1000),
        ] {
            assert_eq!(Keyword::of(name), None);
        }
    }
}
