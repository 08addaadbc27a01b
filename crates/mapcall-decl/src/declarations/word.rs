//! The classes of words that the index and the macros tell apart.

use crate::syntax::keyword::Keyword;

/// What a word is in a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WordClass {
    /// A keyword that is followed by parentheses whose names are not declared.
    Group,
    /// A keyword that is a type, with the parentheses behind it.
    TypeGroup,
    /// A part of the type.
    Type,
    /// Another keyword that is neither a type nor a name.
    Other,
    /// A name, or one of the keywords that the index looks for by itself.
    Name,
}

impl WordClass {
    pub(super) fn of(word: &str) -> Self {
        match Keyword::of(word) {
            Some(
                Keyword::Alignas
                | Keyword::Asm
                | Keyword::Attribute
                | Keyword::Declspec
                | Keyword::StaticAssert,
            ) => Self::Group,
            Some(Keyword::Atomic | Keyword::BitInt | Keyword::Typeof) => Self::TypeGroup,
            Some(
                Keyword::Char
                | Keyword::Complex
                | Keyword::Double
                | Keyword::Float
                | Keyword::Int
                | Keyword::Long
                | Keyword::Short
                | Keyword::Signed
                | Keyword::Unsigned
                | Keyword::Void,
            ) => Self::Type,
            Some(
                Keyword::Auto
                | Keyword::Const
                | Keyword::Extension
                | Keyword::Extern
                | Keyword::Inline
                | Keyword::NamedAttribute
                | Keyword::Noreturn
                | Keyword::Register
                | Keyword::Restrict
                | Keyword::Static
                | Keyword::ThreadLocal
                | Keyword::Volatile,
            ) => Self::Other,
            _ if matches!(word, "_Bool" | "__int128") => Self::Type,
            _ => Self::Name,
        }
    }

    /// Returns whether parentheses behind the word declare nothing.
    pub(super) fn is_group(self) -> bool {
        matches!(self, Self::Group | Self::TypeGroup)
    }
}

/// Returns whether a word of an expression is a keyword, and so needs no declaration.
pub(super) fn is_expression_keyword(word: &str) -> bool {
    WordClass::of(word) == WordClass::Type
        || word.starts_with("__builtin_")
        || matches!(
            Keyword::of(word),
            Some(
                Keyword::Alignof
                    | Keyword::Const
                    | Keyword::Enum
                    | Keyword::Extension
                    | Keyword::Generic
                    | Keyword::Sizeof
                    | Keyword::Struct
                    | Keyword::Typeof
                    | Keyword::Union
                    | Keyword::Volatile
            )
        )
        || matches!(word, "bool" | "true" | "false" | "defined" | "__VA_ARGS__")
}
