//! The keywords of declarations, as far as the index tells them apart.

/// Returns whether a keyword is followed by parentheses whose names are not declared.
pub(super) fn is_group_keyword(word: &str) -> bool {
    // Most words are none.
    if !word.starts_with(['_', 'a', 's', 't']) {
        return false;
    }
    is_type_group(word)
        || matches!(
            word,
            "__attribute__"
                | "__attribute"
                | "__asm__"
                | "__asm"
                | "asm"
                | "_Alignas"
                | "alignas"
                | "__declspec"
                | "_Static_assert"
                | "static_assert"
        )
}

/// Returns whether a keyword and the parentheses behind it are a type.
pub(super) fn is_type_group(word: &str) -> bool {
    matches!(
        word,
        "typeof"
            | "__typeof__"
            | "__typeof"
            | "typeof_unqual"
            | "__typeof_unqual__"
            | "__typeof_unqual"
            | "_BitInt"
            | "_Atomic"
    )
}

/// Returns whether a keyword is a part of the type of a declaration.
pub(super) fn is_type_word(word: &str) -> bool {
    matches!(
        word,
        "void"
            | "char"
            | "short"
            | "int"
            | "long"
            | "float"
            | "double"
            | "signed"
            | "__signed"
            | "__signed__"
            | "unsigned"
            | "_Bool"
            | "_Complex"
            | "__complex__"
            | "__complex"
            | "__int128"
    )
}

/// Returns whether a word of a declaration is neither a type nor a name.
pub(super) fn is_other_keyword(word: &str) -> bool {
    matches!(
        word,
        "const"
            | "__const"
            | "__const__"
            | "volatile"
            | "__volatile"
            | "__volatile__"
            | "restrict"
            | "__restrict"
            | "__restrict__"
            | "extern"
            | "static"
            | "register"
            | "auto"
            | "inline"
            | "__inline"
            | "__inline__"
            | "_Noreturn"
            | "_Thread_local"
            | "thread_local"
            | "__thread"
            | "constexpr"
            | "__extension__"
            | "_Nullable"
            | "_Nonnull"
            | "_Null_unspecified"
            | "__cdecl"
            | "__stdcall"
            | "__fastcall"
            | "__vectorcall"
    )
}
