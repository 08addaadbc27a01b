//! What can go wrong when a function is bound or called.

use mapcall_array::Error;

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
/// let error = unsafe { process.function("int printf(const char *format, ...)") }.unwrap_err();
/// assert!(matches!(error, BindError::Prototype(_)));
/// # Ok::<(), mapcall::LibraryError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// No prototype, or one that can't be called.
    #[error(transparent)]
    Prototype(#[from] PrototypeError),
    /// Types that can't be passed.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedPrototype),
    /// No such function.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// A call that didn't happen, or failed.
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
    /// An argument is not what the prototype asks for; nothing was called.
    #[error(transparent)]
    Argument(#[from] Box<ArgumentError>),
    /// The result of the function means failure: see [`Function::check`].
    #[error(
        "{function}{}: expected {}, got {}; see the library's documentation",
        index.as_ref().map_or_else(String::new, |index| format!(", at index {index:?}")),
        success.expected(),
        success.found(*code)
    )]
    Status {
        /// The function.
        function: String,
        /// What would have been success.
        success: Success,
        /// What it returned; `errno` where that counts.
        code: i128,
        /// What `errno` was after it.
        errno: i32,
        /// The index of the call along the axes of a batch; `None` if it was a single call.
        index: Option<Vec<usize>>,
    },
    /// A batch was ended before all calls were made.
    #[error("{function}: interrupted, so that outputs may be written in part; start again")]
    Interrupted {
        /// The function.
        function: String,
        /// Which call of the batch was the reason, if one was.
        index: Option<Vec<usize>>,
    },
    /// There is no memory for an output.
    #[error("{function}: {source}")]
    Array {
        /// The function.
        function: String,
        /// What failed.
        source: Box<Error>,
    },
}

impl CallError {
    /// A failure as that of one call of a batch.
    pub(crate) fn at(mut self, place: Vec<usize>) -> Self {
        if let Self::Status { index, .. } = &mut self {
            *index = Some(place);
        }
        self
    }
}

/// Which results of a function mean success.
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

    /// Which results end a loop of calls.
    pub(super) fn stop(self) -> Stop {
        match self {
            Self::Any => Stop::Never,
            Self::Zero => Stop::Nonzero,
            Self::Nonzero | Self::Nonnull => Stop::Zero,
            Self::NoErrno => Stop::Errno,
        }
    }

    /// Why results of this type can't be checked so.
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
