//! Prototypes of C functions: parameters, result and extents of arrays.

use std::fmt::{self, Write as _};

pub use crate::ctype::Nullability;
use crate::ctype::{CType, Function, Integer, write_attributes};
use crate::error::PrototypeError;
use crate::extent::{Expr, Extent};

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
    /// Whether a null result is a failure: the attribute `returns_nonnull`.
    pub returns_nonnull: bool,
    /// The functions that destroy what the function returns, in order: the attribute `malloc(function)`.
    pub destructors: Vec<Destructor>,
}

/// A function that destroys the object that another function returns: GNU's `malloc(function, argument)`.
///
/// ```
/// use mapcall_decl::Prototype;
///
/// let text = "FILE *fopen(const char *name, const char *mode) __attribute__((malloc(fclose, 1)))";
/// let fopen = Prototype::parse(&format!("typedef struct file FILE; {text}"))?;
/// assert_eq!((fopen.destructors[0].function.as_str(), fopen.destructors[0].argument), ("fclose", 1));
/// assert_eq!(fopen.to_string(), text);
/// # Ok::<(), mapcall_decl::PrototypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destructor {
    /// The name of the function, without the prefix `__builtin_`.
    pub function: String,
    /// The number of its parameter that takes the pointer, from 1.
    pub argument: usize,
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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, that the others do not imply"
)]
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
    /// Whether a pointer or an array may be null.
    pub nullability: Nullability,
    /// How the function accesses the target of a pointer, if GNU's attribute `access` says so.
    pub access: Option<Access>,
    /// Whether the extent counts bytes, whatever the type of the elements: `void p[n]`,
    /// `double *__sized_by(n) p`.
    pub is_sized: bool,
    /// Whether the first index of an array is the one that moves fastest in memory, as in Fortran:
    /// `[[mapcall::column_major]]`.
    pub is_column_major: bool,
    /// The number of elements from one row of an array to the next (from one column to the next, if it is
    /// column-major), if it is given: `[[mapcall::stride(lda)]]`.
    pub stride: Option<Expr>,
    /// The value of an integer that follows from other parameters: `[[mapcall::equals(n + 1)]]`.
    pub equals: Option<Expr>,
    /// The smallest and the largest value of a number: `[[mapcall::between(0, n)]]`.
    pub between: Option<Box<[Expr; 2]>>,
}

/// How a function accesses the target of a pointer: the mode of GNU's attribute `access`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// `read_only`
    ReadOnly,
    /// `write_only`
    WriteOnly,
    /// `read_write`
    ReadWrite,
    /// `none`: it only passes the pointer on.
    None,
}

impl Access {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "read_only" => Self::ReadOnly,
            "write_only" => Self::WriteOnly,
            "read_write" => Self::ReadWrite,
            "none" => Self::None,
            _ => return None,
        })
    }

    /// Returns the name of the mode in C.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::WriteOnly => "write_only",
            Self::ReadWrite => "read_write",
            Self::None => "none",
        }
    }
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
    /// Returns a parameter without annotations.
    pub(crate) fn new(name: String, ctype: CType) -> Self {
        Self {
            name,
            ctype,
            extents: Vec::new(),
            is_const: false,
            is_restrict: false,
            is_inferred: false,
            ownership: Ownership::Kept,
            nullability: Nullability::Unspecified,
            access: None,
            is_sized: false,
            is_column_major: false,
            stride: None,
            equals: None,
            between: None,
        }
    }

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
    /// allocated and returned. Such an array is only written, as far as the prototype tells: it is not
    /// `const`, and its access is neither `read_only` nor `read_write`. It may not be null, and all its
    /// extents are known. An integer by reference that is [inferred and written](Self::is_in_out) is an output,
    /// too.
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
        self.is_in_out()
            || self.rank() > 0
                && !self.is_only_read()
                && self.access != Some(Access::ReadWrite)
                && self.nullability != Nullability::Nullable
                && !self.extents.contains(&Extent::Unknown)
    }

    /// Returns whether the parameter is a pointer to an integer that is inferred, and that the function may
    /// write.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let f = Prototype::parse("int compress(char out[*length], unsigned long *length)")?;
    /// assert!(f.parameters[1].is_inferred && f.parameters[1].is_in_out());
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn is_in_out(&self) -> bool {
        let is_value = self.rank() == 0 && self.ctype.integer().is_some();
        self.is_inferred && !is_value && !self.is_only_read()
    }

    /// Returns whether the function does not write the target of the pointer or the elements of the array:
    /// it is `const`, or its access is `read_only` or `none`.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let f = Prototype::parse("void f(const int *p, int *q) __attribute__((access(read_only, 2)))")?;
    /// assert!(f.parameters.iter().all(|parameter| parameter.is_only_read()));
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn is_only_read(&self) -> bool {
        self.is_const || matches!(self.access, Some(Access::ReadOnly | Access::None))
    }

    /// Returns the integer type that an extent means by `*n` or `n[0]`: that of the target of a pointer, or
    /// of the only element of an array; `None` for other parameters.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    /// use mapcall_decl::ctype::Integer;
    ///
    /// let f = Prototype::parse("void f(const int *n, const long k[1], int m, double x[*n])")?;
    /// let targets = f.parameters.iter().map(|parameter| parameter.target_integer());
    /// assert_eq!(targets.collect::<Vec<_>>(), [Some(Integer::Int), Some(Integer::Long), None, None]);
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn target_integer(&self) -> Option<Integer> {
        match &self.extents[..] {
            [] => match self.ctype.resolved() {
                CType::Pointer(pointer) => pointer.target.integer(),
                _ => None,
            },
            [Extent::Unknown] => self.ctype.integer(),
            [extent] if extent.constant() == Some(1) => self.ctype.integer(),
            _ => None,
        }
    }
}

/// Writes the parameter in C, with its annotations except those that belong to the function: `access`,
/// `nonnull` and the ownership.
impl Parameter {
    /// Returns the position of the parameter that gives the extent of an array with GNU's attribute `access`,
    /// which may name a later parameter, as an extent in C may not.
    fn measured_by(&self) -> Option<usize> {
        match (self.access, &self.extents[..]) {
            (Some(_), [extent]) => extent.parameter(),
            _ => None,
        }
    }

    /// Returns the declaration of an array as the pointer that it is in C.
    fn declare_pointer(&self) -> String {
        let is_nullable = self.nullability == Nullability::Nullable;
        let nullable = if is_nullable { "_Nullable " } else { "" };
        let restrict = if self.is_restrict { "restrict " } else { "" };
        let declarator = format!("*{restrict}{nullable}{}", self.name);
        self.ctype.declare_qualified(self.is_const, &declarator)
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = (self.is_column_major, self.stride.as_ref());
        write_attributes(f, layout, self.equals.as_ref(), self.between.as_deref())?;
        let nullable = match self.nullability {
            Nullability::Nullable => "_Nullable",
            Nullability::Unspecified | Nullability::Nonnull => "",
        };
        if self.extents.is_empty() {
            let space = if nullable.is_empty() { "" } else { " " };
            let declarator = format!("{nullable}{space}{}", self.name);
            return f.write_str(&self.ctype.declare(&declarator));
        }
        if let (true, [extent], false) = (
            self.is_sized,
            &self.extents[..],
            self.ctype.resolved() == &CType::Void,
        ) {
            let or_null = if nullable.is_empty() { "" } else { "_or_null" };
            let restrict = if self.is_restrict { "restrict " } else { "" };
            let declarator = format!("*__sized_by{or_null}({extent}) {restrict}{}", self.name);
            return f.write_str(&self.ctype.declare_qualified(self.is_const, &declarator));
        }
        let mut declarator = self.name.clone();
        for (axis, extent) in self.extents.iter().enumerate() {
            let restrict = if self.is_restrict { "restrict" } else { "" };
            let extent = extent.to_string();
            let words = if axis == 0 {
                [restrict, nullable, &extent]
            } else {
                ["", "", &extent]
            };
            let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let _ = write!(declarator, "[{}]", words.join(" "));
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

    /// Returns all expressions over the parameters: extents, strides, values and bounds.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let f = Prototype::parse("void f([[mapcall::equals(n * 2)]] int m, int n, double x[n + 1])")?;
    /// assert_eq!(f.expressions().map(ToString::to_string).collect::<Vec<_>>(), ["n*2", "n+1"]);
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        self.parameters.iter().flat_map(|parameter| {
            let extents = parameter.extents.iter().filter_map(|extent| match extent {
                Extent::Dynamic(expression) => Some(expression),
                Extent::Unknown => None,
            });
            let between = parameter.between.iter().flat_map(|between| between.iter());
            extents
                .chain(&parameter.stride)
                .chain(&parameter.equals)
                .chain(between)
        })
    }

    /// Adds what the attributes of another declaration of the function say, as compilers do.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.returns_nonnull |= other.returns_nonnull;
        for destructor in &other.destructors {
            if !self.destructors.contains(destructor) {
                self.destructors.push(destructor.clone());
            }
        }
        if self.parameters.len() != other.parameters.len() {
            return;
        }
        for (own, other) in self.parameters.iter_mut().zip(&other.parameters) {
            own.access = own.access.or(other.access);
            if own.nullability == Nullability::Unspecified {
                own.nullability = other.nullability;
            }
            if own.ownership == Ownership::Kept {
                own.ownership = other.ownership;
            }
        }
    }

    /// Returns the prototype of the function that destroys what this one returns: of its
    /// [`destructors`](Self::destructors), the first that takes the pointer alone. `declared` returns the
    /// prototype of a function that is known; for another one, the result is void.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let strdup = Prototype::parse("char *strdup(const char *s) __attribute__((malloc(__builtin_free, 1)))")?;
    /// assert_eq!(strdup.destructor(|_| None).unwrap().to_string(), "void free(char *arg0)");
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn destructor(&self, declared: impl Fn(&str) -> Option<Self>) -> Option<Self> {
        if !matches!(self.returns.resolved(), CType::Pointer(_)) {
            return None;
        }
        let first = self.destructors.iter().filter(|other| other.argument == 1);
        let mut prototypes = first.map(|destructor| {
            declared(&destructor.function).unwrap_or_else(|| Self {
                name: destructor.function.clone(),
                symbol: None,
                returns: CType::Void,
                parameters: vec![Parameter::new("arg0".into(), self.returns.clone())],
                is_variadic: false,
                returns_nonnull: false,
                destructors: Vec::new(),
            })
        });
        prototypes.find(|prototype| prototype.parameters.len() == 1)
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

    /// Returns whether the prototype has a function type, as C compares types: typedef names are resolved. An array
    /// of any rank counts as a pointer to its elements.
    #[must_use]
    pub fn is_of(&self, function: &Function) -> bool {
        let parameters = self.passed_types();
        self.is_variadic == function.is_variadic
            && self.returns.is_same(&function.returns)
            && parameters.len() == function.parameters.len()
            && parameters
                .iter()
                .zip(&function.parameters)
                .all(|(one, other)| one.is_same(&other.to_elements()))
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
            .filter(|parameter| !parameter.is_inferred && parameter.equals.is_none())
            .filter(|parameter| !parameter.is_output())
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

/// Marks the parameters that are inferred: those that are by themselves an extent or a stride.
pub(crate) fn infer(parameters: &mut [Parameter]) {
    let extents = parameters
        .iter()
        .flat_map(|parameter| &parameter.extents)
        .filter_map(Extent::parameter);
    let strides = parameters
        .iter()
        .filter_map(|parameter| parameter.stride.as_ref()?.parameter());
    let inferred: Vec<_> = extents.chain(strides).collect();
    for position in inferred {
        if let Some(parameter) = parameters.get_mut(position) {
            // `n[0]` of a longer array is not inferred.
            parameter.is_inferred = parameter.rank() == 0 || parameter.target_integer().is_some();
        }
    }
}

fn core_dimensions(parameter: &Parameter) -> String {
    if parameter.is_in_out() {
        return "(1)".to_owned();
    }
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
        let declare = |parameter: &Parameter| match parameter.measured_by() {
            Some(_) => parameter.declare_pointer(),
            None => parameter.to_string(),
        };
        let mut parameters: Vec<_> = self.parameters.iter().map(declare).collect();
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
        for (number, parameter) in (1..).zip(&self.parameters) {
            if let Some(access) = parameter.access {
                write!(f, " __attribute__((access({}, {number}", access.name())?;
                if let Some(index) = parameter.measured_by() {
                    write!(f, ", {}", index + 1)?;
                }
                f.write_str(")))")?;
            }
        }
        let nonnull = (1..).zip(&self.parameters);
        let nonnull = nonnull.filter(|(_, other)| other.nullability == Nullability::Nonnull);
        let nonnull: Vec<_> = nonnull.map(|(number, _)| number.to_string()).collect();
        if !nonnull.is_empty() {
            write!(f, " __attribute__((nonnull({})))", nonnull.join(", "))?;
        }
        if self.returns_nonnull {
            f.write_str(" __attribute__((returns_nonnull))")?;
        }
        for Destructor { function, argument } in &self.destructors {
            write!(f, " __attribute__((malloc({function}, {argument})))")?;
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
/// assert_eq!((last.ctype.to_string(), last.is_const), ("int *".into(), true));
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
