//! Prototypes of C functions: parameters, result and extents of arrays.

use std::fmt::{self, Write as _};

use crate::ctype::{CType, Function};
use crate::error::PrototypeError;
use crate::extent::Extent;

/// The prototype of a C function.
///
/// ```
/// use mapcall_decl::Prototype;
///
/// let f = Prototype::parse("
///     enum { CHANNELS = 1 << 2 };
///     typedef struct { double re, im; } sample;
///     double power(const sample frame[n][CHANNELS], size_t n);
/// ")?;
/// assert_eq!(f.name, "power");
/// assert_eq!(f.returns.to_string(), "double");
/// assert_eq!(f.parameters[0].ctype.size(), Some(16));
/// assert_eq!(f.signature(), "(n,4)->()");
/// assert_eq!(f.to_string(), "double power(const sample frame[n][4], size_t n)");
/// # Ok::<(), mapcall_decl::PrototypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prototype {
    /// The name in C.
    pub name: String,
    /// The symbol in the library, if an `__asm__` label gives one that differs from the name.
    pub symbol: Option<String>,
    /// The type of the result.
    pub returns: CType,
    /// The parameters, in order.
    pub parameters: Vec<Parameter>,
    /// Whether the function takes a variable number of arguments after its parameters (`...`).
    pub is_variadic: bool,
}

/// A parameter of a function.
///
/// ```
/// use mapcall_decl::Prototype;
///
/// let f = Prototype::parse("void f(const float (*restrict m)[3], float *p, int);")?;
/// let [m, p, last] = &f.parameters[..] else { panic!() };
/// // A pointer to an array is an array whose outermost extent is unknown.
/// assert_eq!((m.ctype.to_string(), m.rank()), ("float".into(), 2));
/// assert!(m.is_const && m.is_restrict);
/// assert_eq!((p.ctype.to_string(), p.rank()), ("float *".into(), 0));
/// assert_eq!(last.name, "arg2");
/// # Ok::<(), mapcall_decl::PrototypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// The name; a parameter without a name is called `arg` and its position from 0, such as `arg0`.
    pub name: String,
    /// The type; of an array, the type of its elements.
    pub ctype: CType,
    /// The extents of an array, outermost first; empty for other parameters, also for pointers.
    pub extents: Vec<Extent>,
    /// Whether the elements of the array, or the target of the pointer, are `const`.
    pub is_const: bool,
    /// Whether the pointer or array is `restrict`.
    pub is_restrict: bool,
    /// Whether it is an integer that is by itself the extent of an array axis, such as `n` in `x[n]`.
    pub is_inferred: bool,
    /// The owner of the target of a pointer after the call.
    pub ownership: Ownership,
}

/// The owner of the object that an argument points to after the call, by Clang's ownership attributes.
///
/// ```
/// use mapcall_decl::Prototype;
/// use mapcall_decl::prototype::Ownership;
///
/// let text = "void *realloc(void *p, size_t n) __attribute__((ownership_takes(malloc, 1)))";
/// let realloc = Prototype::parse(text)?;
/// assert_eq!(realloc.parameters[0].ownership, Ownership::Taken);
/// assert_eq!(realloc.parameters[1].ownership, Ownership::Kept);
/// assert_eq!(realloc.to_string(), text);
/// # Ok::<(), mapcall_decl::PrototypeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ownership {
    /// The caller.
    #[default]
    Kept,
    /// C; the caller must not use the pointer any more: `ownership_takes(kind, number, ...)`.
    Taken,
    /// C; the caller may still use the pointer: `ownership_holds(kind, number, ...)`.
    Held,
}

impl Parameter {
    /// Returns the type in C; that of the elements if it is an array.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let f = Prototype::parse("void f(const float x[3], const char *restrict name)")?;
    /// assert_eq!(f.parameters[0].declared_type(), "const float");
    /// assert_eq!(f.parameters[1].declared_type(), "const char *restrict");
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn declared_type(&self) -> String {
        let is_const = self.is_const && !self.extents.is_empty();
        self.ctype.declare_qualified(is_const, "")
    }

    /// Returns the number of axes: 0 for scalars and pointers.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.extents.len()
    }

    /// Returns whether the parameter is an output: an array that a call may leave out, which is then
    /// allocated and returned. Such an array is not `const`, and all its extents are known.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let f = Prototype::parse("void f(int n, const float x[n], float y[n], float work[], float *p)")?;
    /// let outputs = f.parameters.iter().filter(|parameter| parameter.is_output());
    /// assert_eq!(outputs.map(|parameter| &parameter.name).collect::<Vec<_>>(), ["y"]);
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn is_output(&self) -> bool {
        self.rank() > 0 && !self.is_const && !self.extents.contains(&Extent::Unknown)
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.extents.is_empty() {
            return f.write_str(&self.ctype.declare(&self.name));
        }
        let mut declarator = self.name.clone();
        for (axis, extent) in self.extents.iter().enumerate() {
            let restrict = if axis == 0 && self.is_restrict {
                "restrict"
            } else {
                ""
            };
            let extent = extent.to_string();
            let space = if restrict.is_empty() || extent.is_empty() {
                ""
            } else {
                " "
            };
            let _ = write!(declarator, "[{restrict}{space}{extent}]");
        }
        f.write_str(&self.ctype.declare_qualified(self.is_const, &declarator))
    }
}

impl Prototype {
    /// Returns the parameter of a name, and its position.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<(usize, &Parameter)> {
        self.parameters
            .iter()
            .enumerate()
            .find(|(_, parameter)| parameter.name == name)
    }

    /// Returns the type that is passed for each parameter: a pointer to the elements for an array.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let f = Prototype::parse("void f(int n, const float x[n])")?;
    /// let types = f.passed_types().iter().map(ToString::to_string).collect::<Vec<_>>();
    /// assert_eq!(types, ["int", "const float *"]);
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn passed_types(&self) -> Vec<CType> {
        let passed = |parameter: &Parameter| {
            if parameter.rank() > 0 {
                CType::pointer(parameter.ctype.clone(), parameter.is_const, false)
            } else {
                parameter.ctype.clone()
            }
        };
        self.parameters.iter().map(passed).collect()
    }

    /// Returns whether the prototype has a function type, as C compares types: typedef names are resolved.
    #[must_use]
    pub fn is_of(&self, function: &Function) -> bool {
        let parameters = self.passed_types();
        self.is_variadic == function.is_variadic
            && self.returns.is_same(&function.returns)
            && parameters.len() == function.parameters.len()
            && parameters
                .iter()
                .zip(&function.parameters)
                .all(|(one, other)| one.is_same(other))
    }

    /// Returns the signature of the function as a generalized ufunc of NumPy.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let f = Prototype::parse("
    ///     double fit(int n, int k, const double x[n], double work[], double y[n + 1][k]);
    /// ")?;
    /// assert_eq!(f.signature(), "(n),(?)->(),(n+1,k)");
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    ///
    /// Before the arrow are, in order, the parameters that the caller must give: those that are only read,
    /// and arrays with an unknown extent (`?`). Parameters that are inferred from extents are left out, as
    /// they are core dimensions. After the arrow are the result, unless it is `void`, and the
    /// [outputs](Parameter::is_output). An array that is read and written (`y` in `saxpy`) can't be told from
    /// one that is only written.
    #[must_use]
    pub fn signature(&self) -> String {
        let inputs: Vec<_> = self
            .parameters
            .iter()
            .filter(|parameter| !parameter.is_inferred && !parameter.is_output())
            .map(core_dimensions)
            .collect();
        let mut outputs = Vec::new();
        if self.returns.resolved() != &CType::Void {
            outputs.push("()".to_owned());
        }
        outputs.extend(
            self.parameters
                .iter()
                .filter(|parameter| parameter.is_output())
                .map(core_dimensions),
        );
        format!("{}->{}", inputs.join(","), outputs.join(","))
    }
}

fn core_dimensions(parameter: &Parameter) -> String {
    let extents: Vec<_> = parameter
        .extents
        .iter()
        .map(|extent| match extent {
            Extent::Unknown => "?".to_owned(),
            Extent::Dynamic(expression) => expression.to_string(),
        })
        .collect();
    format!("({})", extents.join(","))
}

/// Writes the prototype in C, with the names of types, and without the semicolon.
impl fmt::Display for Prototype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parameters: Vec<_> = self.parameters.iter().map(Parameter::to_string).collect();
        if self.is_variadic {
            parameters.push("...".to_owned());
        }
        let list = if parameters.is_empty() {
            "void".to_owned()
        } else {
            parameters.join(", ")
        };
        f.write_str(&self.returns.declare(&format!("{}({list})", self.name)))?;
        if let Some(symbol) = &self.symbol {
            write!(f, " __asm__({symbol:?})")?;
        }
        for (name, ownership) in [
            ("ownership_takes", Ownership::Taken),
            ("ownership_holds", Ownership::Held),
        ] {
            let parameters = (1..).zip(&self.parameters);
            let owned = parameters.filter(|(_, parameter)| parameter.ownership == ownership);
            let numbers: Vec<_> = owned.map(|(number, _)| format!(", {number}")).collect();
            if !numbers.is_empty() {
                let numbers = numbers.concat();
                // The attribute needs a name for the kind of the object, which has no effect here.
                write!(f, " __attribute__(({name}(malloc{numbers})))")?;
            }
        }
        Ok(())
    }
}

/// A function of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Declared {
    /// The name.
    pub name: String,
    /// The prototype, or the reason why the function can't be called.
    pub prototype: Result<Prototype, PrototypeError>,
}

impl Declared {
    /// Returns the reason why the function can't be called, in one line.
    #[must_use]
    pub fn unsupported(&self) -> Option<String> {
        self.prototype
            .as_ref()
            .err()
            .map(|error| error.kind.to_string())
    }
}

/// A variable of a header.
///
/// ```
/// use mapcall_decl::Declarations;
///
/// let header = Declarations::parse("extern const double table[2][3]; extern int *const last;");
/// let [table, last] = header.variables() else { panic!() };
/// assert_eq!((table.name.as_str(), table.ctype.size(), table.is_const), ("table", Some(48), true));
/// assert_eq!((last.ctype.to_string(), last.is_const), ("int *const".into(), true));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable {
    /// The name.
    pub name: String,
    /// The symbol in the library, if an `__asm__` label gives one that differs from the name.
    pub symbol: Option<String>,
    /// The type; of an array without a length, one of incomplete type.
    pub ctype: CType,
    /// Whether the variable is `const`; of an array, its elements.
    pub is_const: bool,
}
