//! The signature and the documentation of a function, for `inspect` and `help`.

use mapcall::contract::{Number, Rule, list};
use mapcall::ctype::CType;
use numpy::PyArrayDescr;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

use super::function::Function;
use super::spelling::{self, KEYWORDS};
use crate::once::intern;

/// A parameter of a function.
///
/// >>> import mapcall
/// >>> f = mapcall.load("m").function("double frexp(double x, int exponent[1])")
/// >>> f.parameters
/// (<mapcall.Parameter: double x>, <mapcall.Parameter: int exponent[1]>)
#[pyclass(frozen, get_all, module = "mapcall")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an attribute of its own for Python"
)]
pub(crate) struct Parameter {
    /// The name in the prototype.
    ///
    /// >>> import mapcall
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[restrict n], int c, size_t n)")
    /// >>> [each.name for each in memchr.parameters]
    /// ['s', 'c', 'n']
    name: String,
    /// The C type; that of the elements if the parameter is an array.
    ///
    /// >>> import mapcall
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[restrict n], int c, size_t n)")
    /// >>> [each.type for each in memchr.parameters]
    /// ['unsigned char', 'int', 'size_t']
    r#type: String,
    /// The dtype of an array, of the target of a pointer, or of a struct; None for anything else.
    ///
    /// >>> import mapcall
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[restrict n], int c, size_t n)")
    /// >>> [each.dtype for each in memchr.parameters]
    /// [dtype('uint8'), None, None]
    dtype: Option<Py<PyArrayDescr>>,
    /// The lengths of the axes of an array, as in the prototype; '' for one that it does not give.
    ///
    /// >>> import mapcall
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[restrict n], int c, size_t n)")
    /// >>> [each.extents for each in memchr.parameters]
    /// [('n',), (), ()]
    extents: Py<PyTuple>,
    /// Whether C only reads the array, or the target of the pointer.
    ///
    /// >>> import mapcall
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[restrict n], int c, size_t n)")
    /// >>> [each.is_const for each in memchr.parameters]
    /// [True, False, False]
    is_const: bool,
    /// Whether the array may share no memory with other arguments, unless both are only read.
    ///
    /// >>> import mapcall
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[restrict n], int c, size_t n)")
    /// >>> [each.is_restrict for each in memchr.parameters]
    /// [True, False, False]
    is_restrict: bool,
    /// Whether it is the length of an array's axis, which is inferred from the array.
    ///
    /// >>> import mapcall
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[restrict n], int c, size_t n)")
    /// >>> [each.is_inferred for each in memchr.parameters]
    /// [False, False, True]
    is_inferred: bool,
    /// Whether it is an array that a call may leave out, which is then allocated and returned: it is not
    /// ``const``, and all its extents are known.
    ///
    /// >>> import mapcall
    /// >>> frexp = mapcall.load("m").function("double frexp(double x, int exponent[1])")
    /// >>> [each.is_output for each in frexp.parameters]
    /// [False, True]
    /// >>> unknown = mapcall.load("m").function("double frexp(double x, int exponent[])")
    /// >>> [each.is_output for each in unknown.parameters]
    /// [False, False]
    is_output: bool,
    /// Whether each item of the array is in Fortran order: ``[[mapcall::column_major]]``.
    ///
    /// >>> import mapcall
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[restrict n], int c, size_t n)")
    /// >>> [each.is_column_major for each in memchr.parameters]
    /// [False, False, False]
    is_column_major: bool,
    /// Whether it is a buffer, whose extent counts bytes: ``void *__sized_by(n) p``, ``void p[n]``.
    ///
    /// >>> import mapcall
    /// >>> memchr = mapcall.load(None).function("void *memchr(const void s[n], int c, size_t n)")
    /// >>> [each.is_buffer for each in memchr.parameters]
    /// [True, False, False]
    is_buffer: bool,
    /// The parameter in C.
    ///
    /// >>> import mapcall
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[restrict n], int c, size_t n)")
    /// >>> memchr.parameters[0].text
    /// 'const unsigned char s[restrict n]'
    text: String,
}

impl Parameter {
    pub(super) fn new(
        py: Python<'_>,
        parameter: &mapcall::Parameter,
        dtype: Option<Py<PyArrayDescr>>,
    ) -> PyResult<Self> {
        let extents = parameter.extents.iter().map(ToString::to_string);
        Ok(Self {
            name: parameter.name.clone(),
            r#type: parameter.ctype.to_string(),
            dtype,
            extents: PyTuple::new(py, extents.collect::<Vec<_>>())?.unbind(),
            is_const: parameter.is_const,
            is_restrict: parameter.is_restrict,
            is_inferred: parameter.is_inferred,
            is_output: parameter.is_output(),
            is_column_major: parameter.is_column_major,
            is_buffer: parameter.is_sized,
            text: parameter.to_string(),
        })
    }
}

#[pymethods]
impl Parameter {
    fn __repr__(&self) -> String {
        format!("<mapcall.Parameter: {}>", self.text)
    }
}

/// The annotation of a parameter in `inspect.signature`.
///
/// >>> import inspect, mapcall
/// >>> frexp = mapcall.load("m").function("double frexp(double x, int exponent[1])")
/// >>> inspect.signature(frexp).parameters["exponent"].annotation
/// int32[1] in/out
#[pyclass(frozen, eq, hash, module = "mapcall._mapcall")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Annotation(String);

#[pymethods]
impl Annotation {
    fn __repr__(&self) -> &str {
        &self.0
    }
}

/// Returns the signature as text: `saxpy(a: float, x: float32[n], y: float32[n] in/out)`.
pub(super) fn text(function: &mapcall::Function) -> String {
    let contract = function.contract();
    let names = spelling::parameters(function.prototype());
    let arguments = contract.arguments().iter().map(|&position| {
        let rule = contract.rules().get(position);
        format!(
            "{}: {}",
            names.get(position).map_or("", String::as_str),
            rule.map_or_else(String::new, annotation)
        )
    });
    let arguments = arguments.collect::<Vec<_>>().join(", ");
    match result(function) {
        Some(returns) => format!("{}({arguments}) -> {returns}", function.name()),
        None => format!("{}({arguments})", function.name()),
    }
}

fn annotation(rule: &Rule) -> String {
    match rule {
        Rule::Inferred(_) | Rule::InOut(_) => "int".into(),
        Rule::Number(number) | Rule::Reference(number) => number_name(*number).into(),
        Rule::Derived(derived) => number_name(derived.number).into(),
        Rule::Array(array) => {
            let or_number = array.number().map_or(String::new(), |number| {
                format!("{} or ", number_name(number))
            });
            let or_text = if array.takes_text() { "str or " } else { "" };
            let or_none = if array.is_nullable() { " or None" } else { "" };
            let written = if array.is_const() { "" } else { " in/out" };
            format!("{or_number}{or_text}{array}{written}{or_none}")
        }
        Rule::Text => "str".into(),
        Rule::Pointer(pointer) if pointer.is_array && !pointer.is_const => format!("{rule} in/out"),
        Rule::Pointer(pointer) if pointer.is_array => rule.to_string(),
        Rule::Pointer(pointer) => match &pointer.dtype {
            Some(dtype) if dtype.fields().is_none() => format!("{}[?]", dtype.name()),
            _ => format!("Handle[{}]", pointer.target),
        },
        Rule::Function(function) => {
            let parameters = function
                .parameters
                .iter()
                .map(|ctype| returns(ctype).unwrap_or_default());
            let parameters = parameters.collect::<Vec<_>>().join(", ");
            let result = returns(&function.returns).unwrap_or_else(|| "None".into());
            format!("Callable[[{parameters}], {result}]")
        }
        Rule::Record { name, .. } => name.clone(),
        _ => rule.to_string(),
    }
}

fn number_name(number: Number) -> &'static str {
    match number {
        Number::Bool => "bool",
        Number::Integer(_) => "int",
        Number::Float(_) => "float",
        Number::Complex(_) => "complex",
    }
}

/// Returns the name of the Python type of a result; `None` for void, and for a status that can only be 0.
fn result(function: &mapcall::Function) -> Option<String> {
    if function.contract().is_status() {
        return None;
    }
    returns(&function.prototype().returns)
}

/// Returns the name of the Python type for a C type; `None` for void.
fn returns(ctype: &CType) -> Option<String> {
    if let Some(number) = Number::of(ctype) {
        return Some(number_name(number).into());
    }
    match ctype.resolved() {
        CType::Void => None,
        CType::Pointer(pointer) => Some(if pointer.is_text() {
            "str".into()
        } else {
            format!(
                "Handle[{}]",
                mapcall::contract::target_name(&pointer.target)
            )
        }),
        _ => Some(ctype.to_string()),
    }
}

/// Makes an `inspect.Signature`. Outputs are optional, and inferred parameters are keyword-only.
pub(super) fn inspect<'py>(
    py: Python<'py>,
    function: &mapcall::Function,
) -> PyResult<Bound<'py, PyAny>> {
    let inspect = py.import("inspect")?;
    let class = inspect.getattr("Parameter")?;
    let empty = class.getattr("empty")?;
    let contract = function.contract();
    let names = spelling::parameters(function.prototype());
    let parameter = |position: usize, kind: &str, default: &Bound<'py, PyAny>| {
        let rule = contract.rules().get(position);
        let annotation = Annotation(rule.map_or_else(String::new, annotation));
        let keywords = PyDict::new(py);
        keywords.set_item("default", default)?;
        keywords.set_item("annotation", Bound::new(py, annotation)?)?;
        class.call((names.get(position), class.getattr(kind)?), Some(&keywords))
    };
    let none = py.None().into_bound(py);
    let parameters = PyList::empty(py);
    // Python allows no required parameter after an optional one.
    let mut is_optional = false;
    for &position in contract.arguments() {
        is_optional |= contract.is_optional(position);
        let default = if is_optional { &none } else { &empty };
        parameters.append(parameter(position, "POSITIONAL_OR_KEYWORD", default)?)?;
    }
    for (position, rule) in contract.rules().iter().enumerate() {
        if matches!(rule, Rule::Inferred(_) | Rule::Derived(_)) {
            parameters.append(parameter(position, "KEYWORD_ONLY", &none)?)?;
        }
    }
    for name in KEYWORDS {
        let name = spelling::option(name, &names);
        let keywords = PyDict::new(py);
        keywords.set_item("default", &none)?;
        let parameter = class.call((name, class.getattr("KEYWORD_ONLY")?), Some(&keywords))?;
        parameters.append(parameter)?;
    }
    let keywords = PyDict::new(py);
    if let Some(result) = result(function) {
        let annotation = Bound::new(py, Annotation(result))?;
        keywords.set_item(intern!(py, "return_annotation"), annotation)?;
    }
    inspect
        .getattr("Signature")?
        .call((parameters,), Some(&keywords))
}

/// The descriptor `Function.__doc__`: the docs of the class, or those of one function.
///
/// PyO3 has only the docs of the class.
#[pyclass(frozen, module = "mapcall._mapcall")]
pub(crate) struct Doc {
    class: Py<PyAny>,
}

impl Doc {
    pub(crate) fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
        let name = intern!(class.py(), "__doc__");
        let doc = Self {
            class: class.getattr(name)?.unbind(),
        };
        class.setattr(name, Bound::new(class.py(), doc)?)
    }
}

#[pymethods]
impl Doc {
    fn __get__<'py>(
        &self,
        function: &Bound<'py, PyAny>,
        _class: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = function.py();
        match function.cast::<Function>() {
            Ok(function) => Ok(document(&function.get().inner)
                .into_pyobject(py)?
                .into_any()),
            Err(_) => Ok(self.class.bind(py).clone()),
        }
    }
}

/// Returns the docs of a function, which `help` shows.
fn document(function: &mapcall::Function) -> String {
    let contract = function.contract();
    let mut document = format!("{}\n\n    {};\n", text(function), function.prototype());
    let names = spelling::parameters(function.prototype());
    let rules = contract.rules().iter().enumerate();
    let lines: Vec<_> = rules
        .map(|(position, rule)| {
            let name = names.get(position).map_or("", String::as_str);
            let parameter = function.prototype().parameters.get(position);
            let equals = parameter.and_then(|parameter| parameter.equals.as_ref());
            match rule {
                Rule::Inferred(_) | Rule::Derived(_) if let Some(value) = equals => {
                    format!("{name} : {}, equals {value}", annotation(rule))
                }
                Rule::Inferred(_) => format!("{name} : int, inferred from the arrays"),
                Rule::InOut(_) => {
                    format!("{name} : int, inferred from the arrays; what C writes is returned")
                }
                Rule::Array(array) if array.is_nullable() => {
                    let access = if array.is_const() {
                        "only read"
                    } else {
                        "may be written"
                    };
                    format!("{name} : {array}, {access}; NULL if left out")
                }
                Rule::Array(array) if array.is_output() => {
                    format!("{name} : {array}, may be written; allocated and returned if left out")
                }
                Rule::Array(array) if !array.is_const() => {
                    format!("{name} : {array}, may be written")
                }
                Rule::Array(array) => format!("{name} : {array}, only read"),
                rule => format!("{name} : {}", annotation(rule)),
            }
        })
        .collect();
    if !lines.is_empty() {
        document.push_str("\nParameters\n----------\n");
        document.push_str(&lines.join("\n"));
        document.push('\n');
    }
    if let Some(result) = result(function) {
        document.push_str("\nReturns\n-------\n");
        document.push_str(&result);
        document.push('\n');
    }
    if !contract.is_unbatched() {
        let options: Vec<String> = { KEYWORDS.iter() }
            .map(|name| spelling::option(name, &names))
            .collect();
        let options = list(&options, "and");
        document.push_str(
            "\nNotes\n-----\nGiven arrays with more axes, it is called for each index of these, as a \
             batch.\nThe options ",
        );
        document.push_str(&options);
        document.push_str(": help(mapcall.Function).\n");
    }
    document
}
