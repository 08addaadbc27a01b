//! The files that outputs of a batch are written to.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use mapcall::array::is_npy_name;
use mapcall::contract::{Contract, Role, Rule};

use super::OutputError;
use super::same_file::is_same_file;
use crate::value::{Value, split_name};

/// The name of the function's result as an output; it is a keyword of C, so no parameter can have it.
const RETURN: &str = "return";

/// The outputs of a batch, in the order of [`Function::map`](mapcall::Function::map).
pub(super) struct OutputFiles(Vec<OutputFile>);

/// One output of a batch, and the file it is written to.
pub(super) struct OutputFile {
    pub(super) name: String,
    /// The new file; `None` if the output stays in memory, or is an array that the user has given.
    pub(super) file: Option<PathBuf>,
    /// Whether the user has given the array as an argument, so that the function writes it in place.
    is_given: bool,
}

impl OutputFiles {
    /// Parses the values of `-o`.
    pub(super) fn new(
        contract: &Contract,
        values: &[Option<Value>],
        texts: &[OsString],
    ) -> Result<Self, OutputError> {
        let output = |role: &Role| match role {
            Role::Parameter(position) => OutputFile {
                name: contract.name(*position).to_owned(),
                file: None,
                // A number that C reads and writes is given as a number, and what C writes is an output.
                is_given: values.get(*position).is_some_and(Option::is_some)
                    && !matches!(contract.rules().get(*position), Some(Rule::InOut(_))),
            },
            Role::Result | Role::Mask => OutputFile {
                name: RETURN.to_owned(),
                file: None,
                is_given: false,
            },
        };
        let mut outputs = Self(contract.outputs().iter().map(output).collect());
        for text in texts {
            outputs.add(contract, text)?;
        }
        Ok(outputs)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OutputFile> {
        self.0.iter()
    }

    pub(super) fn have_files(&self) -> bool {
        self.0.iter().any(|output| output.file.is_some())
    }

    /// Returns the names of the outputs that may be written to a new file.
    fn names(&self) -> Vec<&str> {
        let made = self.0.iter().filter(|output| !output.is_given);
        made.map(|output| &*output.name).collect()
    }

    fn add(&mut self, contract: &Contract, text: &OsStr) -> Result<(), OutputError> {
        let function = || contract.prototype().name.clone();
        if self.0.is_empty() {
            return Err(OutputError::None {
                function: function(),
            });
        }
        let names = self.names().join(", ");
        let assigned = split_name(text).filter(|(name, _)| is_identifier(name));
        let (output, path) = if let Some((name, path)) = &assigned {
            let output = self.0.iter_mut().find(|output| output.name == *name);
            let unknown = || OutputError::Unknown {
                function: function(),
                name: (*name).to_owned(),
                names,
            };
            (output.ok_or_else(unknown)?, Path::new(path))
        } else {
            let wanted = |output: &&mut OutputFile| !output.is_given;
            let given = self.0.iter().find(|output| output.is_given);
            let given = given.map(|output| output.name.clone());
            let mut candidates = self.0.iter_mut().filter(wanted);
            match (candidates.next(), candidates.next()) {
                (Some(only), None) => (only, Path::new(text)),
                (None, _) => {
                    let function = function();
                    return Err(match given {
                        Some(name) => OutputError::Given { function, name },
                        None => OutputError::None { function },
                    });
                }
                (Some(_), Some(_)) => {
                    return Err(OutputError::Unnamed {
                        function: function(),
                        text: text.to_owned(),
                        names,
                    });
                }
            }
        };
        let name = output.name.clone();
        if output.is_given {
            return Err(OutputError::Given {
                function: function(),
                name,
            });
        }
        if output.file.is_some() {
            return Err(OutputError::Twice {
                function: function(),
                name,
                text: text.to_owned(),
            });
        }
        let path = path.to_owned();
        if !is_npy_name(&path) {
            return Err(OutputError::Suffix {
                function: function(),
                name,
                path,
            });
        }
        output.file = Some(path.clone());
        let others = self.0.iter().filter(|other| other.name != name);
        for other in others {
            if let Some(taken) = &other.file
                && is_same_file(taken, &path)
            {
                return Err(OutputError::Same {
                    function: function(),
                    name,
                    path,
                    other: other.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// Returns an error if an output without a file is larger than `max` bytes.
    pub(super) fn check_sizes(
        &self,
        contract: &Contract,
        sizes: &[usize],
        max: usize,
    ) -> Result<(), OutputError> {
        for (output, &bytes) in self.0.iter().zip(sizes) {
            let is_kept = output.file.is_none() && !output.is_given;
            if is_kept && bytes > max {
                return Err(OutputError::TooLarge {
                    function: contract.prototype().name.clone(),
                    name: output.name.clone(),
                    bytes,
                    is_only: self.names().len() == 1,
                });
            }
        }
        Ok(())
    }
}

fn is_identifier(text: &str) -> bool {
    let mut letters = text.chars();
    let is_first = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    letters.next().is_some_and(is_first)
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
