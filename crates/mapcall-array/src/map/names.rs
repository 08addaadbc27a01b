//! Parses the names of [`Mode`] and [`Advice`].

use std::str::FromStr;

use crate::error::MapError;
use crate::mode::Mode;
use crate::sys::Advice;

impl FromStr for Mode {
    type Err = MapError;

    fn from_str(mode: &str) -> Result<Self, MapError> {
        match mode {
            "r" | "readonly" => Ok(Self::Read),
            "r+" | "readwrite" => Ok(Self::ReadWrite),
            "w+" | "write" => Ok(Self::Write),
            "c" | "copyonwrite" => Ok(Self::CopyOnWrite),
            _ => Err(MapError::UnknownMode {
                mode: mode.to_owned(),
            }),
        }
    }
}

impl FromStr for Advice {
    type Err = MapError;

    fn from_str(advice: &str) -> Result<Self, MapError> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == advice)
            .ok_or_else(|| MapError::UnknownAdvice {
                advice: advice.to_owned(),
            })
    }
}
