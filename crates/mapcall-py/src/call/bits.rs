//! The values of bit-fields in structured arrays.

use mapcall::ctype::{CType, StoredBits};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::structure;
use crate::once::intern;

/// A bit-field in the records of an array, or in one record.
pub(super) struct Bits<'a, 'py> {
    /// The name of the struct.
    of: &'a str,
    name: &'a str,
    place: StoredBits,
    records: &'a Bound<'py, PyAny>,
    /// The field of the dtype that has the bits.
    field: Bound<'py, PyAny>,
    numpy: Bound<'py, PyModule>,
}

impl<'a, 'py> Bits<'a, 'py> {
    /// Finds a bit-field of a struct in records of its dtype.
    ///
    /// # Errors
    ///
    /// `ValueError` if the struct has no bit-field of that name, or if the records have another dtype.
    pub(super) fn new(
        (of, ctype): (&'a str, &CType),
        records: &'a Bound<'py, PyAny>,
        name: &'a str,
    ) -> PyResult<Self> {
        let py = records.py();
        let found = match ctype.resolved() {
            CType::Record(record) => record.bit_field(name),
            _ => None,
        };
        let Some(place) = found else {
            return Err(PyValueError::new_err(format!(
                "{of}: expected the name of a bit-field, got {name:?}"
            )));
        };
        let dtype = structure::dtype(py, ctype)?;
        let found = records.getattr(intern!(py, "dtype"))?;
        if !found.eq(&dtype)? {
            return Err(PyValueError::new_err(format!(
                "{of}: expected records of dtype {dtype}, got {found}; take the struct's own dtype"
            )));
        }
        let numpy = py.import(intern!(py, "numpy"))?;
        let field = records.get_item(&place.field)?;
        let field = numpy.call_method1(intern!(py, "asarray"), (field,))?;
        Ok(Self {
            of,
            name,
            place,
            records,
            field,
            numpy,
        })
    }

    /// Returns the bytes of the field of all records in C order, and their number in each.
    fn bytes(&self) -> PyResult<(Vec<u8>, usize)> {
        let py = self.records.py();
        let bytes = self.field.call_method0(intern!(py, "tobytes"))?;
        let size: usize = self.field.getattr(intern!(py, "itemsize"))?.extract()?;
        Ok((bytes.cast::<PyBytes>()?.as_bytes().to_vec(), size.max(1)))
    }

    /// Returns an array of the shape of the records from bytes, or a scalar for one record.
    fn array(&self, bytes: &[u8], dtype: impl IntoPyObject<'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.records.py();
        let buffer = PyBytes::new(py, bytes);
        let array = self
            .numpy
            .call_method1(intern!(py, "frombuffer"), (buffer, dtype))?;
        let shape = self.field.getattr(intern!(py, "shape"))?;
        array
            .call_method1(intern!(py, "reshape"), (shape,))?
            .get_item(PyTuple::empty(py))
    }

    /// Returns the values.
    pub(super) fn get(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.records.py();
        let (bytes, size) = self.bytes()?;
        let values = bytes.chunks_exact(size).flat_map(|bytes| {
            let bytes = bytes.get(self.place.offset..).unwrap_or_default();
            let value = self.place.bits.read(bytes).to_ne_bytes();
            // The low 64 bits, which hold every value.
            let low = if cfg!(target_endian = "big") { 8 } else { 0 };
            value.into_iter().skip(low).take(8)
        });
        let values = self.array(&values.collect::<Vec<_>>(), "i8")?;
        let dtype = structure::dtype(py, &self.place.ctype)?;
        values.call_method1(intern!(py, "astype"), (dtype,))
    }

    /// Sets the values, which broadcast to the shape of the records.
    ///
    /// # Errors
    ///
    /// `TypeError` if they are no integers, `OverflowError` if one is not in the range of the bit-field; then no
    /// record is changed.
    pub(super) fn set(&self, values: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.records.py();
        let (of, name) = (self.of, self.name);
        let values = self.numpy.call_method1(intern!(py, "asarray"), (values,))?;
        let kind: String = values.getattr("dtype")?.getattr("kind")?.extract()?;
        if !matches!(&*kind, "i" | "u" | "b" | "O") {
            return Err(PyTypeError::new_err(format!(
                "{of}: {name}: expected integers, got an array of dtype {}",
                values.getattr("dtype")?
            )));
        }
        let shape = self.field.getattr(intern!(py, "shape"))?;
        let values = self
            .numpy
            .call_method1(intern!(py, "broadcast_to"), (values, shape))?;
        let values = values.call_method0(intern!(py, "ravel"))?;
        let values = values.call_method0(intern!(py, "tolist"))?;
        let (mut bytes, size) = self.bytes()?;
        let (least, largest) = self.place.bits.range();
        for (bytes, value) in bytes.chunks_exact_mut(size).zip(values.try_iter()?) {
            let value = value?;
            let number: i128 = value.call_method0(intern!(py, "__index__"))?.extract()?;
            if number < least || number > largest {
                return Err(PyOverflowError::new_err(format!(
                    "{of}: {name}: expected an integer from {least} to {largest}, got {number}"
                )));
            }
            let bytes = bytes.get_mut(self.place.offset..).unwrap_or_default();
            self.place.bits.write(bytes, number);
        }
        let dtype = self.field.getattr(intern!(py, "dtype"))?;
        let new = self.array(&bytes, dtype)?;
        self.records.set_item(&self.place.field, new)
    }
}
