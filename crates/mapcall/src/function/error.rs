//! The errors of binding and calling a function.

use std::fmt;

use mapcall_array::Error;
use mapcall_array::guard::Fault;

use super::Function;
use crate::PrototypeError;
use crate::call::Stop;
use crate::contract::{ArgumentError, Number, Scalar, UnsupportedPrototype};
use crate::ctype::CType;
use crate::library::LibraryError;

/// A function that can't be bound.
///
/// ```
/// use mapcall::{BindError, Library};
///
/// let process = Library::process()?;
/// // SAFETY: nothing is bound.
/// let error = unsafe { process.function("int printf(format)") }.unwrap_err();
/// assert!(matches!(error, BindError::Prototype(_)));
/// # Ok::<(), mapcall::LibraryError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The text is no prototype, or the prototype is not supported.
    #[error(transparent)]
    Prototype(#[from] PrototypeError),
    /// The types can't be passed.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedPrototype),
    /// The library has no such function.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// A call that was refused, or that failed.
///
/// ```
/// use mapcall::{Arg, CallError, Library, Success};
///
/// let process = Library::process()?;
/// // SAFETY: this is the prototype of `chdir`.
/// let chdir = unsafe { process.function("int chdir(const char *path)")? };
/// let chdir = chdir.check(Success::NoErrno)?;
///
/// let error = chdir.call(&mut [Arg::Out]).unwrap_err();
/// assert!(matches!(error, CallError::Argument(_)));
/// let error = chdir.call(&mut ["/no/such/folder".into()]).unwrap_err();
/// assert!(matches!(error, CallError::Status { code: 2, .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The prototype does not allow an argument. The function has not been called.
    #[error(transparent)]
    Argument(#[from] Box<ArgumentError>),
    /// The result of the function is a failure: see [`Function::check`].
    #[error(
        "{function}{}: expected {}, got {}; see the library's documentation",
        index.as_ref().map_or_else(String::new, |index| format!(", at index {index:?}")),
        success.expected(),
        success.found(*code)
    )]
    Status {
        /// The name of the function.
        function: String,
        /// The condition of success.
        success: Success,
        /// The result, or `errno` for [`Success::NoErrno`].
        code: i128,
        /// The value of `errno` after the call.
        errno: i32,
        /// The index of the call along the axes of a batch; `None` if it was a single call.
        index: Option<Vec<usize>>,
    },
    /// A batch was ended before all calls were made.
    #[error("{function}: interrupted, so that outputs may be written in part; start again")]
    Interrupted {
        /// The name of the function.
        function: String,
        /// The index of the call that ended the batch; `None` if none did.
        index: Option<Vec<usize>>,
    },
    /// A page of a map that an argument lies on was gone when C accessed it: its file was shortened, or the
    /// map was closed. Outputs may be wrong.
    #[error(
        "{function}{}: {}{fault}",
        index.as_ref().map_or_else(String::new, |index| format!(", at index {index:?}")),
        fault.path.as_ref().map_or_else(String::new, |path| format!("{}: ", path.display())),
    )]
    Fault {
        /// The name of the function.
        function: String,
        /// The index of the call along the axes of a batch; `None` if it was a single call.
        index: Option<Vec<usize>>,
        /// The fault.
        fault: Box<Fault>,
    },
    /// No vector variant of the function can make a batch that needs one.
    #[error(transparent)]
    Simd(#[from] SimdError),
    /// There is no memory for an output.
    #[error("{function}: {source}")]
    Array {
        /// The name of the function.
        function: String,
        /// The error of the allocation or of the file.
        source: Box<Error>,
    },
}

impl CallError {
    /// Returns the error with the index of the call of a batch that failed.
    pub(crate) fn at(mut self, batch_index: Vec<usize>) -> Self {
        if let Self::Status { index, .. } = &mut self {
            *index = Some(batch_index);
        }
        self
    }
}

/// A batch that can't be made by a vector variant, though that was asked for.
///
/// ```
/// use mapcall::batch::Simd;
/// use mapcall::{Arg, CallError, Library};
///
/// // SAFETY: the C library's own initialisers may run at any time.
/// let libm = unsafe { Library::open("m")? };
/// // SAFETY: this is the prototype of `tgamma`.
/// let tgamma = unsafe { libm.function("double tgamma(double x)")? };
/// let (x, mut y) = ([2.0, 3.0], [0.0; 2]);
/// let gamma = tgamma.map(&[Arg::from(&x)], &mut [Arg::from(&mut y)]).simd(Simd::Required).run();
/// match gamma {
///     Err(CallError::Simd(error)) => assert!(error.symbols.contains(&"_ZGVbN2v_tgamma".into()) || cfg!(not(target_arch = "x86_64"))),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct SimdError {
    /// The name of the function.
    pub function: String,
    /// The reason.
    pub reason: SimdRefusal,
    /// The symbols of the variants that exist, or of those that were looked for.
    pub symbols: Vec<String>,
}

/// The reason why no vector variant can make a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimdRefusal {
    /// The library has no variant of the function.
    Missing,
    /// No variant takes these arguments, or this processor has not the instructions.
    Unfit,
    /// Each result is checked, which needs one call after the other.
    Checked,
}

impl SimdError {
    /// Returns what was expected.
    #[must_use]
    pub fn expected(&self) -> &'static str {
        "a function with a vector variant"
    }

    /// Returns what was found instead.
    #[must_use]
    pub fn found(&self) -> String {
        let symbols = self.symbols.join(", ");
        match self.reason {
            SimdRefusal::Missing if symbols.is_empty() => "types that no vector variant has".into(),
            SimdRefusal::Missing => format!("a library without {symbols}"),
            SimdRefusal::Unfit => {
                format!("{symbols}, which do not fit this processor or these arguments")
            }
            SimdRefusal::Checked => "a check of each result, which needs single calls".into(),
        }
    }

    /// Returns what the caller can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.reason {
            SimdRefusal::Missing if !self.symbols.is_empty() => {
                "leave simd out, or compile the function with '#pragma omp declare simd' and -fopenmp-simd"
            }
            SimdRefusal::Checked => "leave simd out, or bind the function without check",
            _ => "leave simd out",
        }
    }
}

impl fmt::Display for SimdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (expected, found, remedy) = (self.expected(), self.found(), self.remedy());
        write!(
            f,
            "{}: simd: expected {expected}, got {found}; {remedy}",
            self.function
        )
    }
}

/// A condition of success: the results of a function that mean success.
///
/// See [`Function::check`] for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Success {
    /// Any result.
    #[default]
    Any,
    /// The result 0, as of most functions that return a status.
    Zero,
    /// Any integer but 0.
    Nonzero,
    /// Any pointer but NULL.
    Nonnull,
    /// Any result, if the call leaves `errno` at 0.
    NoErrno,
}

impl Success {
    fn expected(self) -> &'static str {
        match self {
            Self::Any => "any result",
            Self::Zero => "status 0",
            Self::Nonzero => "a status other than 0",
            Self::Nonnull => "a pointer",
            Self::NoErrno => "errno 0",
        }
    }

    fn found(self, code: i128) -> String {
        match self {
            Self::Nonnull => "NULL".into(),
            Self::NoErrno => {
                std::io::Error::from_raw_os_error(i32::try_from(code).unwrap_or(0)).to_string()
            }
            _ => code.to_string(),
        }
    }

    /// Returns the results that end a loop of calls.
    pub(super) fn stop(self) -> Stop {
        match self {
            Self::Any => Stop::Never,
            Self::Zero => Stop::Nonzero,
            Self::Nonzero | Self::Nonnull => Stop::Zero,
            Self::NoErrno => Stop::Errno,
        }
    }

    /// Returns the reason why the condition does not apply to results of a type; `None` if it does.
    ///
    /// ```
    /// use mapcall::{Prototype, Success};
    ///
    /// let cos = Prototype::parse("double cos(double x)")?;
    /// assert_eq!(Success::NoErrno.unfit(&cos.returns), None);
    /// assert_eq!(
    ///     Success::Zero.unfit(&cos.returns).unwrap(),
    ///     "expected a function that returns an integer, got one that returns double",
    /// );
    /// # Ok::<(), mapcall::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn unfit(self, returns: &CType) -> Option<String> {
        let fits = match self {
            Self::Any | Self::NoErrno => true,
            Self::Zero | Self::Nonzero => {
                returns.integer().is_some() || *returns.resolved() == CType::Bool
            }
            Self::Nonnull => matches!(returns.resolved(), CType::Pointer(_)),
        };
        let wanted = match self {
            Self::Nonnull => "a pointer",
            _ => "an integer",
        };
        (!fits).then(|| {
            format!("expected a function that returns {wanted}, got one that returns {returns}")
        })
    }

    #[cold]
    pub(super) fn check_result(
        self,
        function: &Function,
        result: &[u64],
        errno: i32,
    ) -> Result<(), CallError> {
        let returns = &function.prototype().returns;
        let number = match Number::of(returns).map(|number| number.value(result)) {
            Some(Scalar::Int(value)) => value,
            Some(Scalar::Bool(value)) => value.into(),
            _ => result.first().copied().unwrap_or_default().into(),
        };
        let (succeeds, code) = match self {
            Self::Any => (true, number),
            Self::Zero => (number == 0, number),
            Self::Nonzero | Self::Nonnull => (number != 0, number),
            Self::NoErrno => (errno == 0, errno.into()),
        };
        if succeeds {
            return Ok(());
        }
        Err(CallError::Status {
            function: function.name().to_owned(),
            success: self,
            code,
            errno,
            index: None,
        })
    }
}
