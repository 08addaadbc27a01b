//! The languages of source code.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::str::FromStr;

use crate::compiler;
use crate::header;

/// The language of a source code.
///
/// ```
/// use mapcall_decl::source::Language;
/// use std::path::Path;
///
/// assert_eq!(Language::of_file(Path::new("kern.f90")), Some(Language::Fortran));
/// assert_eq!("c++".parse(), Ok(Language::Cpp));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Language {
    /// C, whose text has the prototypes of its functions.
    #[default]
    C,
    /// C++, whose functions with C linkage (`extern "C"`) can be called.
    Cpp,
    /// Fortran, whose functions with C binding (`bind(C)`) can be called.
    Fortran,
}

/// The name of a language that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the language c, c++ or fortran, got {name:?}")]
#[non_exhaustive]
pub struct UnknownLanguage {
    /// The name that was given.
    pub name: String,
}

impl Language {
    /// Returns the language of a file, which compilers tell by its suffix.
    #[must_use]
    pub fn of_file(path: &Path) -> Option<Self> {
        Some(match path.extension().and_then(OsStr::to_str)? {
            "c" => Self::C,
            "C" | "cc" | "cpp" | "cxx" | "c++" | "CPP" => Self::Cpp,
            "f" | "for" | "f90" | "f95" | "f03" | "f08" | "F" | "F90" | "F95" | "F03" | "F08" => {
                Self::Fortran
            }
            _ => return None,
        })
    }

    /// Returns the compilers to try, each a program and its first arguments.
    pub(super) fn compilers(self, given: Option<&OsString>) -> Vec<Vec<OsString>> {
        match self {
            Self::C => header::compilers(given),
            Self::Cpp => compiler::commands(given, "CXX", &["c++", "g++", "clang++"]),
            Self::Fortran => compiler::commands(given, "FC", &["gfortran", "flang"]),
        }
    }

    /// Returns the language's name in compilers' option `-x`.
    pub(super) fn option(self) -> Option<&'static str> {
        match self {
            Self::C => Some("c"),
            Self::Cpp => Some("c++"),
            // A file's suffix tells the form of the source.
            Self::Fortran => None,
        }
    }

    /// Returns the language's name: `C`, `C++` or `Fortran`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::C => "C",
            Self::Cpp => "C++",
            Self::Fortran => "Fortran",
        }
    }

    /// Returns what to do on a system without a compiler.
    pub(super) fn installation(self) -> &'static str {
        match self {
            Self::C => {
                "install one (Debian and Ubuntu: apt-get install gcc libc6-dev; Fedora: dnf install gcc; conda: \
                 conda install c-compiler), or set CC to its command"
            }
            Self::Cpp => {
                "install one (Debian and Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; conda: conda \
                 install cxx-compiler), or set CXX to its command"
            }
            Self::Fortran => {
                "install one (Debian and Ubuntu: apt-get install gfortran; Fedora: dnf install gcc-gfortran; conda: \
                 conda install fortran-compiler), or set FC to its command"
            }
        }
    }
}

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(name: &str) -> Result<Self, UnknownLanguage> {
        match &*name.to_ascii_lowercase() {
            "c" => Ok(Self::C),
            "c++" | "cpp" | "cxx" => Ok(Self::Cpp),
            "fortran" => Ok(Self::Fortran),
            _ => Err(UnknownLanguage { name: name.into() }),
        }
    }
}
