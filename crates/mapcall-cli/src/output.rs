//! The standard output, written at once and with its errors.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

/// Calls `write` with the standard output, and sees to it that all is written.
pub(crate) fn write(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
) -> io::Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    write(&mut output)?;
    output.flush()
}

/// One JSON object on a line of its own.
pub(crate) fn json_line(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, value)?;
    output.write_all(b"\n")
}
