//! Prototypes of function types, and the function types of prototypes.

use crate::ctype::{CType, Function, FunctionParameter};
use crate::extent::Extent;
use crate::prototype::{Parameter, Prototype, infer};

impl Prototype {
    /// Returns a prototype of a function type, such as that of a function pointer, with the extents and annotations
    /// that the type declares. Parameters whose names are not known are called `arg0`, `arg1`, ...
    ///
    /// ```
    /// use mapcall_decl::{CType, Prototype};
    ///
    /// let dlsym = Prototype::parse("typedef int (*fn)(int); fn dlsym(void *handle, const char *name)")?;
    /// let CType::Pointer(pointer) = dlsym.returns.resolved() else { panic!() };
    /// let CType::Function(function) = pointer.target.resolved() else { panic!() };
    /// let abs = Prototype::of_function("abs", function);
    /// assert_eq!(abs.to_string(), "int abs(int arg0)");
    /// assert!(abs.is_of(function));
    ///
    /// let chosen = Prototype::parse("typedef double (*norm)(int n, const double x[n]); norm chosen(void)")?;
    /// let CType::Pointer(pointer) = chosen.returns.resolved() else { panic!() };
    /// let CType::Function(function) = pointer.target.resolved() else { panic!() };
    /// let norm = Prototype::of_function("norm", function);
    /// assert_eq!(norm.to_string(), "double norm(int n, const double x[n])");
    /// assert!(norm.parameters[0].is_inferred);
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn of_function(name: &str, function: &Function) -> Self {
        let declared = function.declared.as_deref().unwrap_or_default();
        let types = function.parameters.iter().enumerate();
        let mut parameters = types
            .map(|(position, ctype)| Parameter::of_type(position, ctype, declared.get(position)))
            .collect::<Vec<_>>();
        infer(&mut parameters);
        Self {
            name: name.to_owned(),
            symbol: None,
            returns: function.returns.clone(),
            parameters,
            is_variadic: function.is_variadic,
            returns_nonnull: false,
            destructors: Vec::new(),
        }
    }

    /// Returns the type of the function.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let f = Prototype::parse("double norm(int n, const double x[n])")?;
    /// assert_eq!(f.function_type().to_string(), "double (int n, const double x[n])");
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn function_type(&self) -> CType {
        let types = self.passed_types();
        let declared = self.parameters.iter().zip(&types);
        let declared = declared.map(|(parameter, ctype)| parameter.of_function_type(ctype));
        let declared = FunctionParameter::list(declared.collect());
        let parameters = (types, declared);
        CType::function(self.returns.clone(), parameters, self.is_variadic)
    }

    /// Returns the prototype of a variadic function with parameters of these types in addition, for a
    /// call with such arguments.
    ///
    /// ```
    /// use mapcall_decl::{CType, Prototype};
    /// use mapcall_decl::ctype::Float;
    ///
    /// let printf = Prototype::parse("int printf(const char *format, ...)")?;
    /// let one = printf.with_arguments(&[CType::Float(Float::Double)]);
    /// assert_eq!(one.to_string(), "int printf(const char *format, double arg1, ...)");
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn with_arguments(&self, types: &[CType]) -> Self {
        let mut prototype = self.clone();
        let positions = self.parameters.len()..;
        let added = positions.zip(types);
        let added = added.map(|(position, ctype)| Parameter::of_type(position, ctype, None));
        prototype.parameters.extend(added);
        prototype
    }
}

impl Parameter {
    /// Returns the parameter as one of a function type, by the type that is passed.
    fn of_function_type(&self, passed: &CType) -> FunctionParameter {
        let is_known = !self.extents.contains(&Extent::Unknown);
        let (item, extents) = if self.rank() > 0 && is_known {
            (self.ctype.clone(), self.extents.clone())
        } else {
            (passed.clone(), Vec::new())
        };
        FunctionParameter {
            extents,
            is_sized: self.is_sized,
            nullability: self.nullability,
            is_column_major: self.is_column_major,
            stride: self.stride.clone(),
            equals: self.equals.clone(),
            between: self.between.clone(),
            ..FunctionParameter::new(Some(self.name.clone()), item)
        }
    }

    /// Makes the parameter of a type that is passed, with the name, extents and annotations of its declaration if
    /// there is one.
    fn of_type(position: usize, passed: &CType, declared: Option<&FunctionParameter>) -> Self {
        let (is_const, is_restrict) = match passed.resolved() {
            CType::Pointer(pointer) => (pointer.is_const, pointer.is_restrict),
            _ => (false, false),
        };
        let name = declared.and_then(|declared| declared.name.clone());
        let name = name.unwrap_or_else(|| format!("arg{position}"));
        let parameter = match declared {
            Some(declared) => {
                let ctype = match &declared.extents[..] {
                    [] => passed.clone(),
                    _ => declared.item.clone(),
                };
                Self {
                    extents: declared.extents.clone(),
                    is_sized: declared.is_sized,
                    nullability: declared.nullability,
                    is_column_major: declared.is_column_major,
                    stride: declared.stride.clone(),
                    equals: declared.equals.clone(),
                    between: declared.between.clone(),
                    ..Self::new(name, ctype)
                }
            }
            None => Self::new(name, passed.clone()),
        };
        Self {
            is_const,
            is_restrict,
            ..parameter
        }
    }
}

impl CType {
    /// Returns the type of pointers to a type.
    ///
    /// ```
    /// use mapcall_decl::CType;
    ///
    /// assert_eq!(CType::pointer_to(CType::Void, true).to_string(), "const void *");
    /// ```
    #[must_use]
    pub fn pointer_to(target: Self, is_const: bool) -> Self {
        Self::pointer(target, is_const, false)
    }

    /// Returns a pointer to the elements for a pointer to an array; any other type as it is.
    pub(crate) fn to_elements(&self) -> Self {
        let CType::Pointer(pointer) = self.resolved() else {
            return self.clone();
        };
        let mut target = &pointer.target;
        while let CType::Array(array) = target.resolved() {
            target = &array.item;
        }
        Self::pointer(target.clone(), pointer.is_const, pointer.is_restrict)
    }

    /// Returns the type that a value of this type has as a variable argument (C11 6.5.2.2, paragraphs 6
    /// and 7): small integers become `int`, `float` becomes `double`.
    ///
    /// ```
    /// use mapcall_decl::CType;
    /// use mapcall_decl::ctype::{Float, Integer};
    ///
    /// assert_eq!(CType::Integer(Integer::UShort).promoted(), CType::Integer(Integer::Int));
    /// assert_eq!(CType::Integer(Integer::ULong).promoted(), CType::Integer(Integer::ULong));
    /// assert_eq!(CType::Float(Float::Float).promoted(), CType::Float(Float::Double));
    /// ```
    #[must_use]
    pub fn promoted(&self) -> Self {
        use crate::ctype::{Float, Integer};
        match self.resolved() {
            Self::Bool => Self::Integer(Integer::Int),
            Self::Float(float) if float.size() < Float::Double.size() => Self::Float(Float::Double),
            other => match other.integer() {
                Some(integer) if integer.size() < Integer::Int.size() => {
                    Self::Integer(Integer::Int)
                }
                Some(integer) => Self::Integer(integer),
                None => self.clone(),
            },
        }
    }
}
