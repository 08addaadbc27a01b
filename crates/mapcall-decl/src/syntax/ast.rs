//! The syntax tree of C declarations.
//!
//! Names and literals are [`Span`]s of the text. Attributes stand with what they belong to.

use super::lexer::Span;
use super::packing::PackLimit;
use crate::ctype::RecordKind;
use crate::extent::BinaryOp;

/// A declaration or a function definition (C11 6.7, 6.9.1).
#[derive(Clone, Debug)]
pub(crate) struct Declaration {
    pub(crate) specifiers: Specifiers,
    pub(crate) declarators: Vec<Declarator>,
    /// Whether types of parameters stand between the declarator and the body, as in C before 1989.
    pub(crate) is_old_style: bool,
    pub(crate) span: Span,
}

/// Declaration specifiers or a specifier-qualifier list (C11 6.7, 6.7.2.1): the part before the declarators.
#[derive(Clone, Debug, Default)]
pub(crate) struct Specifiers {
    pub(crate) ctype: TypeSpecifier,
    pub(crate) is_typedef: bool,
    pub(crate) is_static: bool,
    pub(crate) qualifiers: Qualifiers,
    pub(crate) alignments: Vec<Alignment>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) span: Span,
}

/// The type of a declaration (C11 6.7.2).
#[derive(Clone, Debug, Default)]
pub(crate) enum TypeSpecifier {
    /// No type is given.
    #[default]
    Missing,
    /// The words of an arithmetic type or `void`.
    Words(Words),
    /// A typedef name.
    Name(Span),
    /// `struct` or `union`
    Record(Box<RecordSpecifier>),
    /// `enum`
    Enum(Box<EnumSpecifier>),
    /// `typeof`
    Typeof(Box<TypeOrExpression>, Span),
    /// `_Atomic(type)`
    Atomic(Box<TypeName>),
    /// `_BitInt(width)`
    BitInt(Span),
}

impl TypeSpecifier {
    /// Returns the range of the type; `None` if there is none.
    pub(crate) fn span(&self) -> Option<Span> {
        match self {
            Self::Missing => None,
            Self::Words(words) => Some(words.span),
            Self::Name(span) | Self::Typeof(_, span) | Self::BitInt(span) => Some(*span),
            Self::Record(record) => Some(record.span),
            Self::Enum(enumeration) => Some(enumeration.span),
            Self::Atomic(name) => Some(name.span),
        }
    }
}

/// The words of an arithmetic type in any order, such as `unsigned long int` or `double _Complex`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Words {
    /// `void`, `char`, `int`, `float`, `double`, `__int128`, `_Float64`, ...
    pub(crate) base: Option<Span>,
    /// The number of times that `long` is given.
    pub(crate) longs: u8,
    pub(crate) is_short: bool,
    /// Whether `signed` is given, or `unsigned`.
    pub(crate) sign: Option<bool>,
    pub(crate) is_complex: bool,
    /// Whether the words exclude each other, as in `short int char`.
    pub(crate) is_contradictory: bool,
    pub(crate) span: Span,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Qualifiers {
    pub(crate) is_const: bool,
    pub(crate) is_restrict: bool,
    pub(crate) is_atomic: bool,
}

/// `_Alignas(...)`
#[derive(Clone, Debug)]
pub(crate) struct Alignment {
    pub(crate) argument: TypeOrExpression,
}

/// An attribute: of C23, GNU C or Microsoft's C, or a word such as `_Nullable`.
#[derive(Clone, Debug)]
pub(crate) struct Attribute {
    /// The part before `::`, in C23's notation.
    pub(crate) namespace: Option<Span>,
    pub(crate) name: Span,
    pub(crate) arguments: Vec<Argument>,
    /// Whether it is in C23's notation, in which an attribute of GNU C has the namespace `gnu`.
    pub(crate) is_standard: bool,
    pub(crate) span: Span,
}

/// An argument of an attribute.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    /// The expression, if the text is one.
    pub(crate) expression: Option<Expression>,
    pub(crate) span: Span,
}

/// A `struct` or `union` specifier (C11 6.7.2.1).
#[derive(Clone, Debug)]
pub(crate) struct RecordSpecifier {
    pub(crate) kind: RecordKind,
    pub(crate) tag: Option<Span>,
    pub(crate) members: Option<Vec<MemberDeclaration>>,
    pub(crate) attributes: Vec<Attribute>,
    /// The limit of `#pragma pack` at the end of the definition.
    pub(crate) pack_limit: PackLimit,
    pub(crate) span: Span,
}

/// A declaration of members.
#[derive(Clone, Debug)]
pub(crate) struct MemberDeclaration {
    pub(crate) specifiers: Specifiers,
    pub(crate) declarators: Vec<MemberDeclarator>,
}

/// A member and the width of a bit-field.
#[derive(Clone, Debug)]
pub(crate) struct MemberDeclarator {
    pub(crate) declarator: Declarator,
    pub(crate) width: Option<Expression>,
}

/// An `enum` specifier (C11 6.7.2.2, C23 6.7.2.2).
#[derive(Clone, Debug)]
pub(crate) struct EnumSpecifier {
    pub(crate) tag: Option<Span>,
    /// The type behind `:`.
    pub(crate) underlying: Option<TypeName>,
    pub(crate) enumerators: Option<Vec<Enumerator>>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Enumerator {
    pub(crate) name: Span,
    pub(crate) value: Option<Expression>,
    #[allow(
        dead_code,
        reason = "no attribute of an enumerator has a meaning here yet"
    )]
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) span: Span,
}

/// A declarator (C11 6.7.6): the pointers, arrays and functions around a name; abstract without a name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declarator {
    pub(crate) name: Option<Span>,
    /// The steps from the base type to the name: `float *x[3]` has a pointer, then an array.
    pub(crate) derivations: Vec<Derivation>,
    /// The attributes of the declared thing: behind the name, in parentheses before it, or at the end.
    pub(crate) attributes: Vec<Attribute>,
    /// The strings of an `__asm__` label.
    pub(crate) label: Vec<Span>,
}

/// One step of a declarator from a type to the next.
#[derive(Clone, Debug)]
pub(crate) enum Derivation {
    Pointer {
        qualifiers: Qualifiers,
        attributes: Vec<Attribute>,
    },
    Array {
        size: ArraySize,
        /// Qualifiers and attributes in the brackets, which are those of the pointer that a parameter becomes.
        qualifiers: Qualifiers,
        attributes: Vec<Attribute>,
        span: Span,
    },
    Function {
        parameters: Parameters,
        attributes: Vec<Attribute>,
        span: Span,
    },
}

/// The text in the brackets of an array.
#[derive(Clone, Debug)]
pub(crate) enum ArraySize {
    /// `[]`
    Missing,
    /// `[*]`
    Star,
    Expression(Box<Expression>),
}

/// The parameters of a function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    pub(crate) list: Vec<ParameterDeclaration>,
    /// The position of `...`.
    pub(crate) ellipsis: Option<Span>,
    /// The range with the parentheses.
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct ParameterDeclaration {
    pub(crate) specifiers: Specifiers,
    pub(crate) declarator: Declarator,
    pub(crate) span: Span,
}

/// A type name (C11 6.7.7), as in `sizeof(...)`.
#[derive(Clone, Debug)]
pub(crate) struct TypeName {
    pub(crate) specifiers: Specifiers,
    pub(crate) declarator: Declarator,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum TypeOrExpression {
    Type(TypeName),
    Expression(Expression),
}

#[derive(Clone, Debug)]
pub(crate) struct Expression {
    pub(crate) kind: ExpressionKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum ExpressionKind {
    /// An integer or floating constant.
    Number,
    /// A character constant.
    Character,
    /// One or more string literals.
    String(Vec<Span>),
    Name,
    Parenthesized(Box<Expression>),
    Unary(UnaryOperator, Box<Expression>),
    /// Operators of one precedence from left to right: `a - b + c`.
    Binary(Box<Expression>, Vec<(BinaryOp, Expression)>),
    Conditional(Box<[Expression; 3]>),
    Cast(Box<TypeName>, Box<Expression>),
    SizeOf(Box<TypeOrExpression>),
    AlignOf(Box<TypeOrExpression>),
    /// `__builtin_offsetof(type, member)`
    OffsetOf(Box<TypeName>, Vec<Designator>),
    /// `array[index]`
    Index(Box<Expression>, Box<Expression>),
    /// `value.member` and `pointer->member`
    Member(Box<Expression>, Span),
    /// `function(...)`
    Call(Box<Expression>),
    /// What is no integer constant expression: assignments, compound literals, statements.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnaryOperator {
    Plus,
    Negate,
    Not,
    Complement,
    Dereference,
    AddressOf,
    /// `&&`, `++` and `--`, which no constant has.
    Other,
}

/// A step to a member: `.name` or `[index]`.
#[derive(Clone, Debug)]
pub(crate) enum Designator {
    Member(Span),
    Index(Expression),
}
