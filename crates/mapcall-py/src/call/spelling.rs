//! The spellings of parameters and options as keywords of Python.
//!
//! A parameter of the C function goes before an option of the same name. An option takes any number of underscores
//! behind its name, unless a parameter has that name, so that there is always a spelling of it: `out_`. A parameter
//! whose name Python does not take as a keyword, such as `lambda`, takes an underscore, too: `lambda_`.

use std::borrow::Cow;

use mapcall::Prototype;

/// The options, in the order of `inspect.signature`.
pub(super) const KEYWORDS: [&str; 8] = [
    "out", "where", "threads", "simd", "stream", "sync", "progress", "convert",
];

/// The keywords of Python that can be the name of a C parameter.
const RESERVED: [&str; 29] = [
    "False",
    "None",
    "True",
    "and",
    "as",
    "assert",
    "async",
    "await",
    "class",
    "def",
    "del",
    "elif",
    "except",
    "finally",
    "from",
    "global",
    "import",
    "in",
    "is",
    "lambda",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "try",
    "with",
    "yield",
    "__debug__",
];

/// Returns the spelling of a parameter as a keyword of Python: its name, with an underscore if the name is none.
pub(super) fn spelled(name: &str) -> Cow<'_, str> {
    if RESERVED.contains(&name) {
        return format!("{name}_").into();
    }
    // GNU C allows dollar signs.
    if name.contains('$') {
        return name.replace('$', "_").into();
    }
    name.into()
}

/// Returns the spelling of each parameter as a keyword, in order. All differ.
pub(super) fn parameters(prototype: &Prototype) -> Vec<String> {
    let mut spellings: Vec<String> = Vec::new();
    let names = || prototype.parameters.iter().map(|parameter| &parameter.name);
    for name in names() {
        let mut spelling = spelled(name).into_owned();
        while spelling != *name
            && (names().any(|other| *other == spelling) || spellings.contains(&spelling))
        {
            spelling.push('_');
        }
        spellings.push(spelling);
    }
    spellings
}

/// Returns the position of the parameter that a keyword is the name or the spelling of.
pub(super) fn position(prototype: &Prototype, keyword: &str) -> Option<usize> {
    if let Some((position, _)) = prototype.parameter(keyword) {
        return Some(position);
    }
    let mut spellings = parameters(prototype).into_iter();
    spellings.position(|spelling| spelling == keyword)
}

/// Returns the spelling of an option for a function with these parameters: its name, with as many underscores as
/// no parameter's name has.
pub(super) fn option(option: &str, parameters: &[String]) -> String {
    let mut spelling = option.to_owned();
    while parameters.contains(&spelling) {
        spelling.push('_');
    }
    spelling
}

/// Returns the option that a keyword is a spelling of. No parameter has the keyword as its name.
pub(super) fn option_of(keyword: &str) -> Option<&'static str> {
    let name = keyword.trim_end_matches('_');
    KEYWORDS.into_iter().find(|option| *option == name)
}
