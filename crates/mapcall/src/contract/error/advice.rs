//! The choice of the remedy for a problem.

use super::remedy::{Form, ListOf, Loss, Remedy, Replacement, Results};
use super::subject::{Access, Element};
use super::{ArgumentError, Problem};
use crate::contract::scalar::Scalar;
use mapcall_array::DType;

impl ArgumentError {
    /// Returns the remedy.
    #[expect(clippy::too_many_lines, reason = "an arm for each variant")]
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        let subject = &self.subject;
        let is_output = subject.access == Access::Output;
        match &self.problem {
            Problem::Missing
            | Problem::Null
            | Problem::Stride { found: None, .. }
            | Problem::NoneGiven {
                is_unmeasured: false,
            } => Remedy::Give,
            Problem::Unmeasured
            | Problem::NoneGiven {
                is_unmeasured: true,
            } => Remedy::GiveOrMeasure(subject.lengths.clone()),
            Problem::Type { remedy, .. } => self.for_object(remedy),
            Problem::DType { expected, found } => self.convert(expected, Some(found)),
            Problem::ForeignDType { expected, .. } => self.convert(expected, None),
            Problem::ByteOrder { expected, .. } => {
                let (to, loss) = (expected.clone(), Loss::None);
                self.replace(Form::Convert { to, loss }, Results::CopyBack)
            }
            Problem::Field { dtype, names, .. } => match names {
                None => Remedy::GiveRecords(dtype.clone()),
                Some(names) => {
                    let (to, names) = (dtype.clone(), names.clone());
                    self.replace(Form::ConvertFields { to, names }, Results::Stay)
                }
            },
            Problem::Packed { dtype, .. } => {
                let (to, names) = (dtype.clone(), Vec::new());
                self.replace(Form::ConvertFields { to, names }, Results::CopyBack)
            }
            Problem::Rank { reshaped, .. } | Problem::Extent { reshaped, .. }
                if let Some(shape) = reshaped =>
            {
                self.replace(Form::Reshape(shape.clone()), Results::None)
            }
            Problem::Rank {
                expected, shape, ..
            } if shape.len() < *expected => Remedy::GiveAxes(*expected),
            Problem::Rank { .. } | Problem::Unbatched { .. } | Problem::OwnedOnce => {
                Remedy::CallEach
            }
            Problem::Layout {
                is_column_major: true,
                is_batch,
                shape,
                ..
            } => {
                let form = if *is_batch {
                    Form::ColumnMajorItems { rank: shape.len() }
                } else {
                    Form::ColumnMajor
                };
                self.replace(form, Results::CopyBack)
            }
            Problem::NotContiguous { .. } | Problem::Layout { .. } => {
                self.replace(Form::Contiguous, Results::CopyBack)
            }
            Problem::Unaligned { .. } => self.replace(Form::Copy, Results::CopyBack),
            Problem::ReadOnly | Problem::SelfOverlap => self.replace(Form::Copy, Results::Stay),
            Problem::Overlap { .. } | Problem::Alias { .. } => match &subject.only_read {
                Some(other) => Remedy::Replace(Replacement {
                    form: Form::Copy,
                    results: Results::None,
                    or_omit: false,
                    of: Some(other.clone()).filter(|other| *other != self.parameter),
                }),
                None => self.replace(Form::Copy, Results::Stay),
            },
            Problem::Bounds { least, most, .. } => Remedy::GiveBetween {
                least: least.clone(),
                most: most.clone(),
                or_omit: false,
            },
            Problem::SameFile { .. } => Remedy::RenameFile,
            Problem::Suffix { path } => Remedy::WritePath(path.with_extension("npy")),
            Problem::Shared => Remedy::DropOthers,
            Problem::ClosedMap => Remedy::OpenAgain,
            Problem::Masked { is_written, .. } => Remedy::Unmask {
                by_copy: !is_written,
            },
            Problem::Changed => Remedy::ChangeBefore {
                or_copy: !subject.access.is_written(),
            },
            Problem::Broadcast { .. } => Remedy::Broadcast,
            Problem::Measures { .. } => Remedy::GiveNumber {
                or_omit: subject.is_inferred,
            },
            Problem::Repeated { batch, .. } => Remedy::GiveBatch {
                shape: batch.clone(),
                or_omit: is_output,
            },
            Problem::Extent {
                because: None,
                expected,
                shape,
                axis,
                extent,
                ..
            } => {
                let mut shape = shape.clone();
                let axis = (shape.len() + axis).checked_sub(subject.rank.max(1));
                if let Some(length) = axis.and_then(|axis| shape.get_mut(axis)) {
                    *length = *expected;
                }
                Remedy::GiveShape {
                    shape,
                    given: Some(extent.clone()).filter(|extent| subject.names.contains(extent)),
                }
            }
            Problem::Extent { .. } | Problem::Stride { .. } => Remedy::Agree,
            Problem::TooLong { most, .. } => Remedy::GiveShorter(*most),
            Problem::BadExtent { extent, .. } => {
                let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
                let words = extent.split(|letter| !is_word(letter));
                let words: Vec<&str> = words.collect();
                let names = subject.names.iter();
                let names = names.filter(|name| words.contains(&name.as_str()));
                Remedy::ChangeSizes(names.cloned().collect())
            }
            Problem::NotInferred => Remedy::GiveExtent,
            Problem::Disagrees { .. } | Problem::Equals { .. } => Remedy::Omit,
            Problem::Range { value } => self.in_range(*value),
            Problem::Kind { value } => of_kind(*value),
            Problem::NulInText { length, .. } => Remedy::CutText { length: *length },
            Problem::Unbounded { .. } => Remedy::Measure(subject.lengths.clone()),
            Problem::UnmeasuredBatch => Remedy::MeasureBatch(subject.lengths.clone()),
            Problem::Handle { .. } => Remedy::GiveOwnHandle,
            Problem::Closed { .. } => Remedy::OpenObject,
            Problem::InUse { .. } => Remedy::WaitForUsers,
            Problem::ReadOnlyHandle { .. } => Remedy::BindConst,
            Problem::Borrowed { .. } => Remedy::KeepArgument,
            Problem::NotOwned { .. } => Remedy::GiveHandle { or_array: false },
            Problem::VariadicBatch => Remedy::BindVariant,
            Problem::Function { .. } => Remedy::GiveFunctionOfType,
            Problem::TooMany { .. } => Remedy::OmitInferred,
            Problem::Outputs { expected, .. } => Remedy::GiveOutputs { count: *expected },
            Problem::Uncounted { .. } => Remedy::MapPart,
            Problem::Unknown {
                nearest: Some(nearest),
                ..
            } => Remedy::DidYouMean(nearest.clone()),
            Problem::Unknown { .. } => Remedy::NameOneOf(subject.names.clone()),
            Problem::Twice => Remedy::GiveOnce,
        }
    }

    /// Returns the replacement of the argument by another array. The results of a function that writes it are
    /// where `results` says.
    fn replace(&self, form: Form, results: Results) -> Remedy {
        let access = self.subject.access;
        let is_written = access.is_written();
        Remedy::Replace(Replacement {
            form,
            results: if is_written { results } else { Results::None },
            or_omit: access == Access::Output && results != Results::None,
            of: None,
        })
    }

    /// Returns the remedy for elements of another dtype; `None` for a dtype of the host language.
    fn convert(&self, expected: &DType, found: Option<&DType>) -> Remedy {
        let subject = &self.subject;
        let is_written = subject.access.is_written();
        let is_text = found.is_none_or(|found| matches!(found.kind_char(), 'S' | 'U'));
        let list = match &subject.element {
            Element::Text => Some(ListOf::Texts {
                of_elements: is_text,
            }),
            Element::Array(dtype) => Some(ListOf::Arrays {
                dtype: dtype.clone(),
                of_rows: found == Some(dtype),
            }),
            Element::Function => Some(ListOf::Functions),
            Element::Pointer => Some(ListOf::Handles),
            Element::None | Element::Number | Element::Record => None,
        };
        if let Some(list) = list {
            return Remedy::GiveList(list);
        }
        if expected.fields().is_some() {
            return Remedy::GiveRecords(expected.clone());
        }
        let give_array = || Remedy::GiveArray {
            dtype: expected.clone(),
            or_omit: subject.access == Access::Output,
        };
        let Some(found) = found else {
            let (to, loss) = (expected.clone(), Loss::Text);
            return self.replace(Form::Convert { to, loss }, Results::Stay);
        };
        if let Some(fields) = found.fields() {
            let is_number =
                |dtype: &DType| matches!(dtype.kind_char(), 'b' | 'i' | 'u' | 'f' | 'c');
            let mut fields = fields.iter().filter(|field| is_number(&field.dtype));
            return match fields.next() {
                Some(field) if !is_written => Remedy::GiveField {
                    name: field.name.clone(),
                    dtype: expected.clone(),
                },
                _ => give_array(),
            };
        }
        if found.kind_char() == 'c' && expected.kind_char() != 'c' {
            let (ctype, part) = match found.itemsize() {
                8 => ("float _Complex", Some(DType::F32)),
                16 => ("double _Complex", Some(DType::F64)),
                _ => ("long double _Complex", None),
            };
            let view = part.filter(|part| part == expected && subject.is_length_free);
            let is_only_read = subject.access == Access::Read;
            return Remedy::TakeComplex {
                ctype,
                dtype: expected.clone(),
                view,
                is_only_read,
            };
        }
        if expected.kind_char() == 'V' || matches!(found.kind_char(), 'V') {
            return give_array();
        }
        let (to, loss) = (expected.clone(), Loss::of(found, expected));
        if is_written && loss == Loss::Text {
            return give_array();
        }
        self.replace(Form::Convert { to, loss }, Results::Stay)
    }

    /// Returns the remedy for an object of another kind, by the use of the parameter.
    fn for_object(&self, remedy: &Remedy) -> Remedy {
        let subject = &self.subject;
        let list = match &subject.element {
            Element::Text => Some(ListOf::Texts { of_elements: false }),
            Element::Array(dtype) => Some(ListOf::Arrays {
                dtype: dtype.clone(),
                of_rows: false,
            }),
            Element::Function => Some(ListOf::Functions),
            Element::Pointer => Some(ListOf::Handles),
            _ => None,
        };
        match (remedy, list) {
            (Remedy::Replace(replacement), Some(list))
                if matches!(replacement.form, Form::MakeArray(_) | Form::OfNumber { .. }) =>
            {
                Remedy::GiveList(list)
            }
            (Remedy::Replace(replacement), None) => match &replacement.form {
                Form::OfNumber { dtype, .. } if subject.access.is_written() => Remedy::GiveArray {
                    dtype: dtype.clone(),
                    or_omit: subject.access == Access::Output,
                },
                form => self.replace(form.clone(), Results::Stay),
            },
            _ => remedy.clone(),
        }
    }

    /// Returns the remedy for a value that the type of the parameter does not have.
    fn in_range(&self, value: Scalar) -> Remedy {
        match (&self.subject.range, value) {
            // Each float has a neighbour, if it is not too large.
            (Some(range), Scalar::Int(whole))
                if range.is_floating && whole.unsigned_abs() < 1 << 100 =>
            {
                Remedy::GiveFloat(format!("{whole}.0"))
            }
            (Some(range), _) => range.remedy(self.subject.is_inferred),
            (None, _) => Remedy::Words(format!("give a value that {} has", self.expected)),
        }
    }
}

/// Returns the remedy for a number of another kind than the type of the parameter.
fn of_kind(value: Scalar) -> Remedy {
    match value {
        Scalar::Complex(_) => Remedy::GiveReal,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float of at most 2^63 has its floor as i128"
        )]
        Scalar::Float(number) if number.abs() <= 9.2e18 => {
            let (below, above) = (number.floor() as i128, number.ceil() as i128);
            let mut values = vec![below.to_string()];
            if above != below {
                values.push(above.to_string());
            }
            Remedy::GiveOneOf(values)
        }
        _ => Remedy::Words("give an integer".into()),
    }
}
