//! Source code that is compiled and loaded, with the prototypes of its functions.

#![allow(unsafe_code)]

use mapcall_decl::source::Diagnostic;
use mapcall_decl::{CompileError, SourceCode};

use crate::function::{BindError, Function};
use crate::library::{Library, LibraryError};
use crate::nearest::nearest;
use crate::{Declarations, Prototype};

/// The maximum number of suggestions for a misspelt name.
const SUGGESTIONS: usize = 3;

/// Compiles source code by the system's compiler, and loads the library.
///
/// ```
/// use mapcall::{Arg, compile};
///
/// // SAFETY: the code is sound for all arguments that fit its prototypes.
/// let kern = unsafe {
///     compile("
///         void scale(int n, const double x[n], double factor, double y[n])
///         {
///             for (int i = 0; i < n; i++)
///                 y[i] = factor * x[i];
///         }
///     ")?
/// };
/// let scale = kern.function("scale")?;
/// let mut arguments = [Arg::from(&[1.0, 2.0][..]), 3.0.into(), Arg::Out];
/// scale.call(&mut arguments)?;
/// let [.., y] = arguments;
/// let y = y.into_array().unwrap();
/// assert_eq!(y.view::<f64>()?[[1]], 6.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The prototypes are those of the text, with the lengths of arrays. A [`SourceCode`] has the options: flags of the
/// compiler, libraries, directories of headers, prototypes for C++ and Fortran. Its
/// [`build`](SourceCode::build) describes the cache, from which the library is taken if it was compiled before.
///
/// # Safety
///
/// The source code is sound: its functions do what their prototypes say, for all arguments that these allow, and
/// so do the initialisers and terminators of the library and of those that it is linked with.
///
/// # Errors
///
/// [`CompileError`] if there is no compiler, if it refuses the source code (with the line and column of each
/// error), or if the library can't be loaded.
pub unsafe fn compile(source: impl Into<SourceCode>) -> Result<Compiled, CompileError> {
    let built = source.into().build()?;
    let library = if built.is_temporary() {
        // SAFETY: the caller guarantees that the library's initialisers and terminators are sound to run.
        unsafe { Library::open_temporary(built.path()) }
    } else {
        // SAFETY: the caller guarantees that the library's initialisers and terminators are sound to run, and
        // files of the cache are replaced and never written.
        unsafe { Library::open(built.path()) }
    };
    let library = library.map_err(|error| CompileError::Load(error.into()))?;
    Ok(Compiled {
        library,
        declarations: built.declarations().clone(),
        warnings: built.warnings().to_vec(),
    })
}

/// A library that has been compiled and loaded, with the declarations of its source code.
///
/// ```
/// // SAFETY: the code is sound for all arguments that fit its prototypes.
/// let kern = unsafe { mapcall::compile("enum { TAPS = 3 }; int taps(void) { return TAPS; }")? };
/// assert_eq!(kern.function("taps")?.call(&mut [])?.to_i128(), Some(3));
/// assert_eq!(kern.declarations().constants()?[0].name, "TAPS");
/// assert!(kern.warnings().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Compiled {
    library: Library,
    declarations: Declarations,
    warnings: Vec<Diagnostic>,
}

impl Compiled {
    /// Returns the loaded library. It has no path if it is not in the cache.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Returns the declarations of the source code, or of its prototypes.
    #[must_use]
    pub fn declarations(&self) -> &Declarations {
        &self.declarations
    }

    /// Returns the warnings of the compiler.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Binds a function by the prototype that the source code has.
    ///
    /// ```
    /// use mapcall::{BindError, compile};
    ///
    /// // SAFETY: the code is sound for all arguments that fit its prototypes.
    /// let kern = unsafe { compile("int answer(void) { return 42; }")? };
    /// assert_eq!(kern.function("answer")?.call(&mut [])?.to_i128(), Some(42));
    /// assert!(matches!(kern.function("anwser"), Err(BindError::Library(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BindError`] if the source code declares no such function, if its types can't be passed, or if the library
    /// does not export it.
    pub fn function(&self, name: &str) -> Result<Function, BindError> {
        let prototype = |name: &str| -> Option<Result<Prototype, _>> {
            Some(self.declarations.function(name)?.prototype)
        };
        let Some(declared) = prototype(name) else {
            let functions = self.declarations.functions().iter();
            let names = functions.map(|function| &*function.name);
            let nearest = nearest(name, names).into_iter().take(SUGGESTIONS);
            return Err(BindError::Library(LibraryError::NoSymbol {
                library: self.library.to_string(),
                symbol: name.into(),
                nearest: nearest.map(str::to_owned).collect(),
            }));
        };
        // SAFETY: the caller of `compile` guarantees the prototypes of the source code.
        let function = unsafe { self.library.bind(declared?)? };
        if function.prototype().destructors.is_empty() {
            return Ok(function);
        }
        let destructor = function
            .prototype()
            .destructor(|name| prototype(name)?.ok());
        // SAFETY: the caller of `compile` guarantees the prototypes of the source code.
        Ok(unsafe { function.with_destructor(destructor) })
    }
}
