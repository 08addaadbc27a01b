//! The keywords of a batch call that are options: `out`, `where`, `threads`, ...

use mapcall::SimdError;
use mapcall::batch::{Simd, Stream};
use mapcall::contract::{Contract, Problem, Remedy};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt};

use super::errors;
use super::function::Function;
use super::spelling::{KEYWORDS, option, option_of, parameters, position};

/// Returns the spellings of the options of a function.
///
/// >>> import mapcall
/// >>> f = mapcall.load("m").function("double frexp(double x, int out[1])")
/// >>> mapcall._mapcall.option_names(f)["out"]
/// 'out_'
#[pyfunction]
pub(crate) fn option_names<'py>(function: &Bound<'py, Function>) -> PyResult<Bound<'py, PyDict>> {
    let spellings = parameters(function.get().inner.prototype());
    let names = PyDict::new(function.py());
    for name in KEYWORDS {
        names.set_item(name, option(name, &spellings))?;
    }
    Ok(names)
}

/// Returns the name of the parameter or option that a keyword of a call is a spelling of.
///
/// >>> import mapcall
/// >>> f = mapcall.load("m").function("double frexp(double in, int out[1])")
/// >>> [mapcall._mapcall.keyword_of(f, name) for name in ("in_", "out", "out_", "other")]
/// [('in', True), ('out', True), ('out', False), None]
///
/// The second value says whether it is a parameter. None for any other keyword.
#[pyfunction]
pub(crate) fn keyword_of(function: &Bound<'_, Function>, keyword: &str) -> Option<(String, bool)> {
    let prototype = function.get().inner.prototype();
    if let Some(position) = position(prototype, keyword) {
        let parameter = prototype.parameters.get(position)?;
        return Some((parameter.name.clone(), true));
    }
    option_of(keyword).map(|option| (option.to_owned(), false))
}

/// The options of a batch call as Python objects; `None` for an option that was not given, or that is
/// None.
#[derive(Default)]
pub(super) struct BatchOptions<'py> {
    pub(super) out: Option<Bound<'py, PyAny>>,
    /// The option `where`.
    pub(super) mask: Option<Bound<'py, PyAny>>,
    threads: Option<Bound<'py, PyAny>>,
    simd: Option<Bound<'py, PyAny>>,
    stream: Option<Bound<'py, PyAny>>,
    sync: Option<Bound<'py, PyAny>>,
    pub(super) progress: Option<Bound<'py, PyAny>>,
    convert: Option<Bound<'py, PyAny>>,
}

impl<'py> BatchOptions<'py> {
    /// Sets the option with a name. Returns false if there is no such option.
    pub(super) fn set(
        options: &mut Option<Box<Self>>,
        name: &str,
        value: &Bound<'py, PyAny>,
    ) -> bool {
        let Some(name) = option_of(name) else {
            return false;
        };
        let options = options.get_or_insert_default();
        let option = match name {
            "out" => &mut options.out,
            "where" => &mut options.mask,
            "threads" => &mut options.threads,
            "simd" => &mut options.simd,
            "stream" => &mut options.stream,
            "sync" => &mut options.sync,
            "progress" => &mut options.progress,
            _ => &mut options.convert,
        };
        *option = Some(value.clone()).filter(|value| !value.is_none());
        true
    }

    /// Returns whether a vector variant makes the calls; `default` if the option is not given.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if the object is neither a bool nor 'auto'.
    pub(super) fn simd(&self, contract: &Contract, default: Simd) -> PyResult<Simd> {
        let Some(simd) = &self.simd else {
            return Ok(default);
        };
        if let Some(simd) = simd_of(simd) {
            return Ok(simd);
        }
        let problem = Problem::Type {
            found: errors::what(simd)?,
            remedy: Remedy::Words("give simd=True or simd='auto'".into()),
        };
        Err(refuse(
            simd.py(),
            contract,
            "simd",
            "True, False or 'auto'",
            problem,
        ))
    }

    /// Returns the condition on which pages of maps are dropped once all calls have processed them.
    ///
    /// # Errors
    ///
    /// The exceptions of the object's `__bool__`.
    pub(super) fn stream(&self) -> PyResult<Stream> {
        Ok(match &self.stream {
            None => Stream::Auto,
            Some(stream) if stream.is_truthy()? => Stream::Always,
            Some(_) => Stream::Never,
        })
    }

    /// Returns whether the call waits until new files are on the disk.
    ///
    /// # Errors
    ///
    /// The exceptions of the object's `__bool__`.
    pub(super) fn is_synced(&self) -> PyResult<bool> {
        self.sync.as_ref().map_or(Ok(false), Bound::is_truthy)
    }

    /// Returns whether arrays that do not fit are converted; `default` is the function's own option.
    ///
    /// # Errors
    ///
    /// The exceptions of the object's `__bool__`.
    pub(super) fn converts(options: Option<&Self>, default: bool) -> PyResult<bool> {
        let convert = options.and_then(|options| options.convert.as_ref());
        convert.map_or(Ok(default), Bound::is_truthy)
    }

    /// Returns the number of threads; 0 for one on each core.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if the object is no such number, or if it is not 1 and the function holds the
    /// interpreter's lock.
    pub(super) fn threads(&self, contract: &Contract, holds_gil: bool) -> PyResult<usize> {
        let Some(threads) = &self.threads else {
            return Ok(1);
        };
        let found = if threads.is_instance_of::<PyInt>() {
            threads.repr()?.to_string()
        } else {
            errors::what(threads)?
        };
        let refuse = |expected: &str, remedy: &str| {
            let problem = Problem::Type {
                found: found.clone(),
                remedy: Remedy::Words(remedy.into()),
            };
            refuse(threads.py(), contract, "threads", expected, problem)
        };
        let count = threads
            .extract::<usize>()
            .map_err(|_| refuse("a number of threads", "give 1, or 0 for every core"))?;
        if count != 1 && holds_gil {
            let expected = "1, as the function is bound with gil='hold'";
            return Err(refuse(expected, "bind it without gil"));
        }
        Ok(count)
    }
}

/// Returns the meaning of a value of the option `simd`; `None` if it has none.
pub(super) fn simd_of(value: &Bound<'_, PyAny>) -> Option<Simd> {
    if let Ok(is_required) = value.cast::<PyBool>() {
        let is_required = is_required.is_true();
        return Some(if is_required {
            Simd::Required
        } else {
            Simd::Off
        });
    }
    value
        .extract::<&str>()
        .is_ok_and(|value| value == "auto")
        .then_some(Simd::Auto)
}

/// Returns the meaning of the option `simd` of `Library.function`.
///
/// # Errors
///
/// `ValueError` if the object is neither a bool nor 'auto'.
pub(super) fn default_simd(value: &Bound<'_, PyAny>) -> PyResult<Simd> {
    simd_of(value).ok_or_else(|| {
        PyValueError::new_err(format!("simd must be True, False or 'auto', got {value:?}"))
    })
}

/// Returns the `ArgumentError` of a batch that no vector variant can make.
#[cold]
pub(super) fn no_variant(py: Python<'_>, contract: &Contract, error: &SimdError) -> PyErr {
    let problem = Problem::Type {
        found: error.found(),
        remedy: Remedy::Words(error.remedy().into()),
    };
    refuse(py, contract, "simd", error.expected(), problem)
}

/// Returns an `ArgumentError` about one of the keywords.
#[cold]
pub(super) fn refuse(
    py: Python<'_>,
    contract: &Contract,
    keyword: &str,
    expected: &str,
    problem: Problem,
) -> PyErr {
    let mut error = contract.refuse_all(problem);
    error.parameter = option(keyword, &error.subject.names);
    error.expected = expected.into();
    errors::argument(py, &error)
}
