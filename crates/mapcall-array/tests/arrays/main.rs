//! Arrays and their files, against NumPy. What changes its process, or asks it for signals, stands beside this folder.

mod append;
#[path = "../common/mod.rs"]
mod common;
mod convert;
mod dtype;
mod formats;
mod layout;
mod map;
mod new_file;
mod partial;
