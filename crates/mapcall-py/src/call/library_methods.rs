//! What Python shows of a library.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::sync::Arc;

use mapcall::CType;
use mapcall::batch::Simd;
use mapcall::declarations::ConstantValue;
use mapcall::function::KeepAlive;
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyMappingProxy, PyString, PyTuple};

use super::callback::{Callback, NamedRecipient, Recipient};
use super::errors;
use super::function::{Destructor, Function, Options, Origin};
use super::handle::{self, Handle};
use super::keywords::default_simd;
use super::library::{Library, address_of};
use super::returns::function_pointed_to;
use super::struct_object::Struct;
use super::variable::Variable;
use crate::errors::{attribute_error, missing_attribute, refuse_unknown};
use crate::package::Package;

#[pymethods]
impl Library {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // If it is locked, its functions are in use, so that they are no garbage.
        let Ok(known) = self.known.try_lock() else {
            return Ok(());
        };
        for function in known.functions.values() {
            visit.call(function)?;
        }
        known
            .variables
            .values()
            .try_for_each(|variable| visit.call(variable))
    }

    fn __clear__(&self) {
        let mut known = self.known();
        let used = (
            mem::take(&mut known.functions),
            mem::take(&mut known.variables),
        );
        drop(known);
        drop(used);
    }

    /// The path of the library's file; None for the process itself.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load("m").path
    /// '/.../libm.so.6'
    /// >>> mapcall.load(None).path is None
    /// True
    #[getter]
    fn path(&self) -> Option<OsString> {
        self.source()
    }

    /// Return the names of the functions that the library exports, sorted.
    ///
    /// >>> import mapcall
    /// >>> [name for name in mapcall.load("m").symbols() if name.startswith("hyp")]
    /// ['hypot', 'hypotf', 'hypotf128', 'hypotf32', 'hypotf32x', 'hypotf64', 'hypotf64x', 'hypotl']
    fn symbols(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let symbols = py.detach(|| self.inner.symbols());
        symbols.map_err(|error| errors::library(py, &error))
    }

    /// Bind a function by its C prototype.
    ///
    /// >>> import mapcall
    /// >>> libm = mapcall.load("m")
    /// >>> modf = libm.function("double modf(double x, double whole[1])")
    /// >>> modf(2.75)
    /// (0.75, array([2.]))
    ///
    /// Parameters
    /// ----------
    /// prototype : str
    ///     The declaration of the function in C, with the lengths of arrays in brackets. It may use the
    ///     types of the library's header, and types that the text defines before it.
    /// check : {'zero', 'nonzero', 'nonnull', 'errno'} or callable, optional
    ///     The condition of success; any other outcome raises `CallError`. 'zero': the result is 0. 'nonzero':
    ///     it is not 0. 'nonnull': it is not NULL. 'errno': the call leaves errno at 0. A callable gets
    ///     the result, and raises an exception if that means failure; what it returns is ignored.
    ///     `get_errno` returns the errno of the call meanwhile.
    /// gil : {'hold', 'release'}, optional
    ///     Whether the interpreter's lock is held or released during a call. By default it is released
    ///     if the arrays have 512 KiB or more together, or an argument is a callable.
    /// text : {'str', 'bytes', 'handle'}, default 'str'
    ///     What a ``const char *`` becomes that the function returns, or passes to a callback: a str, which must
    ///     be UTF-8, bytes, or a `Handle`. A handle reads nothing, for texts that do not end with a NUL.
    /// destructor : Function or callable, optional
    ///     The function that frees a pointer which this one returns. It is called once, when the
    ///     pointer's `Handle` is closed or dies. A `Function` takes the pointer alone. Any other callable is
    ///     given a `Handle`, which is closed when it returns; so it can pass a context to C, too. Its
    ///     exceptions are raised by `Handle.close`, or go to `sys.unraisablehook`.
    /// engine : {'cranelift', 'libffi'}, optional
    ///     The engine that makes the call: code compiled by Cranelift, or libffi. The default is compiled code
    ///     where Cranelift supports the types.
    /// simd : bool or 'auto', default False
    ///     The default of the option `simd` of calls: whether batches are made by a vector variant of the function.
    /// convert : bool, default False
    ///     Whether calls convert arrays that do not fit, unless they have the option `convert` themselves.
    /// address : int, Handle or pointer of ctypes, optional
    ///     The address of the function, in place of that of the library's symbol: a function pointer, whose
    ///     code the library has. As in C, nothing checks that the address is right.
    ///
    /// Returns
    /// -------
    /// Function
    ///     The bound function.
    ///
    /// Raises
    /// ------
    /// PrototypeError
    ///     If the prototype can't be read or called; a caret in the message shows the position.
    /// LibraryError
    ///     If the library has no such function; the message has the most similar names.
    /// ValueError
    ///     If an option has no such value, or does not fit the prototype.
    #[pyo3(
        signature = (
            prototype, *, check = None, gil = None, text = "str", destructor = None, engine = None,
            simd = None, convert = false, address = None, **unknown
        ),
        text_signature = "($self, prototype, *, check=None, gil=None, text='str', destructor=None, \
                          engine=None, simd=False, convert=False, address=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
    fn function<'py>(
        this: &Bound<'py, Self>,
        prototype: &str,
        check: Option<Bound<'py, PyAny>>,
        gil: Option<&str>,
        text: &str,
        destructor: Option<Bound<'py, PyAny>>,
        engine: Option<&str>,
        simd: Option<&Bound<'py, PyAny>>,
        convert: bool,
        address: Option<&Bound<'py, PyAny>>,
        unknown: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Function>> {
        const KEYWORDS: [&str; 9] = [
            "prototype",
            "check",
            "gil",
            "text",
            "destructor",
            "engine",
            "simd",
            "convert",
            "address",
        ];
        refuse_unknown("Library.function", &KEYWORDS, unknown)?;
        let options = Options {
            simd: simd.map_or(Ok(Simd::Off), default_simd)?,
            converts: convert,
            ..Options::new(check, gil, text, destructor, engine)?
        };
        let (py, library) = (this.py(), this.get());
        let declarations = &library.declarations;
        let known = library.known().definitions.clone();
        let parsed = py.detach(|| declarations.prototype_after(prototype, &known));
        drop(known);
        let (parsed, definitions) = parsed.map_err(|error| errors::prototype(py, &error))?;
        let origin = Origin::Text(prototype.to_owned());
        let function = match address {
            None => Self::bind(this, parsed, origin, options)?,
            Some(address) => Self::bind_address(this, parsed, address, options)?,
        };
        if !definitions.is_empty() {
            library.known().definitions.extend(definitions);
        }
        Ok(function)
    }

    /// Return a struct or union that the header or a prototype defines, by its tag or typedef name.
    ///
    /// >>> import mapcall
    /// >>> libm = mapcall.load("m", header="stdlib.h")
    /// >>> libm.struct("div_t").dtype.names
    /// ('quot', 'rem')
    ///
    /// Parameters
    /// ----------
    /// name : str
    ///     The tag, or the name that a typedef gives the type.
    ///
    /// Returns
    /// -------
    /// Struct
    ///     The type, with its dtype.
    ///
    /// Raises
    /// ------
    /// KeyError
    ///     If neither the header nor a prototype defines the name. Of the types that prototypes define,
    ///     at least the last 4096 are kept.
    fn r#struct(this: &Bound<'_, Self>, name: &str) -> PyResult<Struct> {
        let (py, library) = (this.py(), this.get());
        let known = library.known().definitions.clone();
        let header = || library.declarations.structure(name);
        match py.detach(|| header().or_else(|| known.structure(name))) {
            Some(ctype) => Ok(Struct::new(name, ctype, Self::reference(this))),
            None => Err(PyKeyError::new_err(format!(
                "expected a struct that the header or a prototype of {} defines, got {name:?}; \
                 put its definition before a prototype",
                library.inner
            ))),
        }
    }

    /// Return a variable that the library exports.
    ///
    /// >>> import mapcall
    /// >>> libc = mapcall.load(None)
    /// >>> libc.variable("int opterr").value
    /// 1
    ///
    /// Parameters
    /// ----------
    /// declaration : str
    ///     The declaration of the variable in C, such as ``const double table[3]``. It may use the types of
    ///     the library's header, and types that the text defines before it.
    ///
    /// Returns
    /// -------
    /// Variable
    ///     The variable.
    ///
    /// Raises
    /// ------
    /// PrototypeError
    ///     If the declaration can't be read.
    /// LibraryError
    ///     If the library has no such variable.
    fn variable<'py>(this: &Bound<'py, Self>, declaration: &str) -> PyResult<Bound<'py, Variable>> {
        let (py, library) = (this.py(), this.get());
        let known = library.known().definitions.clone();
        let parsed = py.detach(|| library.declarations.variable_after(declaration, &known));
        drop(known);
        let (declared, definitions) = parsed.map_err(|error| errors::prototype(py, &error))?;
        let variable = Self::exported(this, declared)?;
        if !definitions.is_empty() {
            library.known().definitions.extend(definitions);
        }
        Ok(variable)
    }

    /// Make a C function pointer of a callable. Keep it as long as C may call it.
    ///
    /// >>> import mapcall
    /// >>> libc = mapcall.load(None)
    /// >>> larger = libc.callback("int larger(int a, int b)", max)
    /// >>> libc.function("int call(int a, int b)", address=larger.address)(3, 4)
    /// 4
    ///
    /// `Function.callback` and `Struct.callback` take the type from a parameter or member; this is for places
    /// without a type, such as variable arguments.
    ///
    /// Parameters
    /// ----------
    /// prototype : str
    ///     The declaration of the function in C.
    /// callable : callable
    ///     It is called with a number, text or `Handle` for each argument.
    ///
    /// Returns
    /// -------
    /// Callback
    ///     The function pointer.
    ///
    /// Raises
    /// ------
    /// PrototypeError
    ///     If the prototype can't be read.
    fn callback(&self, prototype: &str, callable: &Bound<'_, PyAny>) -> PyResult<Callback> {
        let py = callable.py();
        let parsed = py.detach(|| self.declarations.prototype(prototype));
        let parsed = parsed.map_err(|error| errors::prototype(py, &error))?;
        let CType::Function(wanted) = parsed.function_type() else {
            return Err(PyTypeError::new_err("expected the prototype of a function"));
        };
        let recipient = Recipient::Named(Arc::new(NamedRecipient {
            library: self.inner.clone(),
            function: parsed.name,
            parameter: "callback".into(),
            keeper: "library.callback(...)".into(),
        }));
        Callback::new(&recipient, &wanted, callable)
    }

    /// Make a handle of an address.
    ///
    /// >>> import mapcall
    /// >>> import numpy as np
    /// >>> libc = mapcall.load(None)
    /// >>> x = np.array([2.5, 3.5])
    /// >>> libc.handle("const double *", x.ctypes.data).array(2)
    /// array([2.5, 3.5])
    ///
    /// As in C, nothing checks that the address is right, or that the memory is there as long as the handle
    /// is used.
    ///
    /// Parameters
    /// ----------
    /// type : str
    ///     A pointer type in C, such as ``struct obj *``. A pointer to ``const`` makes a read-only handle.
    /// address : int, Handle or pointer of ctypes
    ///     The address, which is not 0. The handle keeps the object alive.
    /// destructor : Function or callable, optional
    ///     As in `function`.
    ///
    /// Returns
    /// -------
    /// Handle
    ///     The handle.
    ///
    /// Raises
    /// ------
    /// PrototypeError
    ///     If the type can't be read, or is no pointer to an object.
    /// ValueError
    ///     If the address is 0, or if the destructor does not take such a pointer.
    #[pyo3(signature = (r#type, address, destructor = None))]
    fn handle(
        this: &Bound<'_, Self>,
        r#type: &str,
        address: &Bound<'_, PyAny>,
        destructor: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Handle> {
        let (py, library) = (this.py(), this.get());
        // The type of a function's result is that of a declaration without a name.
        let text = format!("{type} f(void)");
        let parsed = py.detach(|| library.declarations.prototype(&text));
        let parsed = parsed.map_err(|error| errors::prototype(py, &error))?;
        let pointer = match parsed.returns.resolved() {
            CType::Pointer(pointer) if function_pointed_to(pointer).is_none() => pointer,
            _ => {
                let message = format!("expected a pointer to an object, got `{type}`; write `T *`");
                return Err(errors::unsupported(py, &message));
            }
        };
        let kept = Some(PyTuple::new(py, [address])?.unbind());
        let address = address_of(address)?;
        let inner = handle::at_address(&library.inner, pointer, address, KeepAlive::default());
        let target = pointer.target.clone();
        let options = Options::new(None, None, "str", destructor, None)?;
        let handle = match options.destructor {
            None => Handle::new(inner, target, kept),
            Some(Destructor::Callable(callable)) => {
                Handle::destroyed_by(inner, target, kept, callable)
            }
            Some(Destructor::Function(function)) => {
                let inner = inner.with_destructor(&function.get().inner);
                let inner = inner.map_err(|error| errors::call(py, &error))?;
                Handle::new(inner, target, kept).owning()
            }
        };
        Ok(handle.of_library(this.clone().into_any().unbind()))
    }

    /// The constants of the header by name, a read-only mapping.
    ///
    /// >>> import mapcall
    /// >>> libm = mapcall.load("m", header="math.h")
    /// >>> libm.constants["FP_NAN"], libm.FP_NAN, libm.M_PI
    /// (0, 0, 3.141592653589793)
    ///
    /// They are its enumerators, and its macros without parameters that are numbers or strings, as the C
    /// compiler evaluates them: int (also for a character), float, and str or, if a string is no UTF-8,
    /// bytes. The compiler runs once, when a macro that is an expression is first asked for; no program is
    /// run.
    ///
    /// Raises
    /// ------
    /// PrototypeError
    ///     If the compiler can't be run.
    #[getter]
    fn constants<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMappingProxy>> {
        let constants = py.detach(|| self.declarations.constants());
        let constants = constants.map_err(|error| errors::unsupported(py, &error.to_string()))?;
        let values = PyDict::new(py);
        for constant in constants {
            values.set_item(&constant.name, constant_value(py, &constant.value)?)?;
        }
        Ok(PyMappingProxy::new(py, values.as_mapping()))
    }

    /// The declarations of the header that can't be used, each with the reason: functions that can't be
    /// called, and what could not be read.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load(None, header="stdio.h").unsupported["vprintf"]
    /// "`...va_list` can't be passed: C code alone can make a list of arguments"
    #[getter]
    fn unsupported<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let reasons = PyDict::new(py);
        for function in py.detach(|| self.declarations.functions()) {
            if let Some(reason) = function.unsupported() {
                reasons.set_item(&function.name, reason)?;
            }
        }
        for (name, error) in py.detach(|| self.declarations.unread()) {
            reasons.set_item(name, error.kind.to_string())?;
        }
        Ok(reasons)
    }

    fn __getattr__<'py>(this: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let (py, library) = (this.py(), this.get());
        let known = || {
            let known = library.known();
            let function = known.functions.get(name)?;
            Some(function.clone_ref(py).into_bound(py).into_any())
        };
        if let Some(function) = known() {
            return Ok(function);
        }
        let options = Options::new(None, None, "str", None, None)?;
        let missing = match Self::declared(this, name, options) {
            Ok(Some(function)) => {
                // Another thread may have bound it since.
                if let Some(function) = known() {
                    return Ok(function);
                }
                let (name, known) = (name.to_owned(), function.clone().unbind());
                library.known().functions.insert(name, known);
                return Ok(function.into_any());
            }
            Ok(None) => match library.declared_by() {
                Some(names) => {
                    let declarations = &library.declarations;
                    let constant = py.detach(|| declarations.constant(name));
                    let constant =
                        constant.map_err(|error| errors::unsupported(py, &error.to_string()))?;
                    if let Some(value) = constant {
                        return constant_value(py, &value);
                    }
                    if let Some(variable) = py.detach(|| declarations.variable(name)) {
                        match Self::exported(this, variable) {
                            Ok(variable) => return Ok(variable.into_any()),
                            Err(error) => {
                                let message = error.value(py).str()?.to_string();
                                return Err(attribute_error(py, name, None, message));
                            }
                        }
                    }
                    format!("{names} declares no function, variable or constant {name:?}")
                }
                None => format!(
                    "a library without a header has no attribute {name:?}; bind a function by its \
                     prototype, or load the library with header="
                ),
            },
            Err(error) => {
                let message = error.value(py).str()?.to_string();
                return Err(attribute_error(py, name, None, message));
            }
        };
        Err(missing_attribute(this, name, missing))
    }

    fn __dir__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = this.py();
        let names = py
            .import("builtins")?
            .getattr("object")?
            .call_method1("__dir__", (this,))?;
        let all = PyList::empty(py);
        for name in names.try_iter()? {
            all.append(name?)?;
        }
        let library = this.get();
        for function in py.detach(|| library.declarations.functions()) {
            if function.prototype.is_ok() {
                all.append(&function.name)?;
            }
        }
        for variable in py.detach(|| library.declarations.variables()) {
            all.append(&variable.name)?;
        }
        // Without a compiler, the constants that need one are missing.
        if let Ok(constants) = py.detach(|| library.declarations.constants()) {
            for constant in constants {
                all.append(&constant.name)?;
            }
        }
        Ok(all)
    }

    fn __repr__(&self) -> String {
        match self.declared_by() {
            Some(names) => format!("<mapcall.Library: {} ({names})>", self.inner),
            None => format!("<mapcall.Library: {}>", self.inner),
        }
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other
            .cast::<Self>()
            .is_ok_and(|other| self.inner == other.get().inner)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.inner.hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let package = Package::get(py)?;
        let reload = package.import(py, "_pickling", "reload")?;
        if let Some(code) = &self.code {
            return (reload, (py.None(), py.None(), code.reduced(py)?))
                .into_pyobject(py)
                .map(Bound::into_any);
        }
        let header = self
            .header
            .as_ref()
            .map(|source| source.reduced(py))
            .transpose()?;
        let path = self.source();
        let digest = match &path {
            Some(path) => package
                .import(py, "_pickling", "identify")?
                .call1((path,))?,
            None => py.None().into_bound(py),
        };
        (reload, (path, digest, header))
            .into_pyobject(py)
            .map(Bound::into_any)
    }
}

/// Returns the value of a constant as a Python object.
fn constant_value<'py>(py: Python<'py>, value: &ConstantValue) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        ConstantValue::Integer(value) => value.into_pyobject(py)?.into_any(),
        ConstantValue::Float(value) => value.into_pyobject(py)?.into_any(),
        ConstantValue::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => PyString::new(py, text).into_any(),
            Err(_) => PyBytes::new(py, bytes).into_any(),
        },
        value => PyString::new(py, &value.to_string()).into_any(),
    })
}

/// Return the function that a pickle refers to.
///
/// >>> import mapcall, pickle
/// >>> cos = mapcall.load("m").function("double cos(double x)")
/// >>> pickle.loads(pickle.dumps(cos))(0.0)
/// 1.0
#[pyfunction]
pub(crate) fn rebind<'py>(
    library: &Bound<'py, Library>,
    name: &str,
    prototype: Option<&str>,
    options: &Bound<'py, PyDict>,
    is_unchecked: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = library.py();
    let function = match prototype {
        Some(prototype) => library.call_method("function", (prototype,), Some(options))?,
        None => library.getattr(PyString::new(py, name))?,
    };
    if is_unchecked {
        function.getattr("unchecked")
    } else {
        Ok(function)
    }
}
