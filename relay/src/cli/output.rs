//! Standard output and standard error. A reader that went away is an error like any other here;
//! `main` lets it end the command quietly.

use std::error::Error;
use std::io::{self, BufWriter, StdoutLock, Write};

/// Standard output for results, buffered: flush it when others must see what was written.
pub(crate) fn results() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// Writes one line of result and flushes.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes one line to standard error. Nobody is left to tell if that fails.
pub(crate) fn log(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether the error, or one behind it, says that the reader of our output has gone.
pub(crate) fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::BrokenPipe) {
            return true;
        }
        at = error.source();
    }
    false
}
