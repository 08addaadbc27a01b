//! The standard output: buffered, with errors returned, and with colours only on a terminal.

use std::io::{self, BufWriter, Write};

use anstream::AutoStream;
use serde::Serialize;

/// The standard output.
pub(crate) type Output = BufWriter<AutoStream<io::StdoutLock<'static>>>;

/// Calls `write` with the standard output, and flushes it.
pub(crate) fn write(write: impl FnOnce(&mut Output) -> io::Result<()>) -> io::Result<()> {
    let mut output = BufWriter::new(AutoStream::auto(io::stdout().lock()));
    write(&mut output)?;
    output.flush()
}

/// Writes a JSON object on a line.
pub(crate) fn json_line(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, value)?;
    output.write_all(b"\n")
}
