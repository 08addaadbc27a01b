//! The extension module `mapcall._mapcall`: Python objects for the Rust core.
//!
//! It has conversions only; the types that it converts to are in `mapcall-array` and `mapcall`.

#![allow(
    clippy::doc_link_with_quotes,
    clippy::doc_markdown,
    reason = "the docs of Python objects are Python docstrings"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "PyO3 passes converted arguments by value"
)]

mod appender;
mod bytes;
mod call;
mod command;
mod convert;
mod ctypes;
mod errors;
mod exit;
mod faults;
mod map;
mod mapped_array;
mod memory;
mod once;
mod open;
mod package;
mod partial;
mod pickle;
mod resize;
mod source;

// The fields of arrays are read without a lock other than the GIL.
#[pyo3::pymodule(gil_used = true)]
mod _mapcall {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::appender::{Appender, append};
    #[pymodule_export]
    use super::call::{
        Annotation, Callback, Function, Handle, Library, Parameter, Struct, StructObject, Variable,
        compile, describe_call, get_errno, keyword_of, load, option_names, rebind,
    };
    #[pymodule_export]
    use super::command::command;
    #[pymodule_export]
    use super::ctypes::Ctypes;
    #[pymodule_export]
    use super::errors::{ChangedFileError, FormatError, ReplacedFileWarning};
    #[pymodule_export]
    use super::map::Map;
    #[pymodule_export]
    use super::mapped_array::map_of;
    #[pymodule_export]
    use super::open::{create, memmap, open, open_raw};
    #[pymodule_export]
    use super::partial::PartialFile;
    #[pymodule_export]
    use super::pickle::{reduce, reopen};
    #[pymodule_export]
    use super::resize::{append_to, grow, refresh, truncate};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::once::prepare(module.py())?;
        super::exit::install(module)?;
        super::call::install(module.py())?;
        super::call::Doc::install(&module.py().get_type::<Function>())?;
        module.setattr("_lazy_arrays", super::call::lazy_classes(module.py()))?;
        module.setattr("_trust", super::pickle::trust(module.py())?)?;
        // `add` would append the name to `__all__`.
        for function in [
            wrap_pyfunction!(super::faults::take_fault, module)?,
            wrap_pyfunction!(super::faults::prepare, module)?,
            wrap_pyfunction!(super::faults::without_guard, module)?,
        ] {
            let name: String = function.getattr("__name__")?.extract()?;
            module.setattr(name, function)?;
        }
        let initialise = wrap_pyfunction!(super::package::initialise, module)?;
        module.setattr("_initialise", initialise)?;
        module.setattr("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add(
            "MappedArray",
            super::mapped_array::type_object(module.py())?,
        )
    }
}
