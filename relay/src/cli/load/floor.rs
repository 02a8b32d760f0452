//! Floors: what this machine does without a relay, measured beside every figure.

use super::super::connect::RelayUrl;
use super::run::{Latencies, latencies, record};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long writes are measured: some hundreds of them.
const MEASURE: Duration = Duration::from_millis(1_500);

/// Latencies of appending `bytes` to a file in `folder` and waiting until they are on disk.
///
/// # Errors
/// The folder cannot be written to.
pub(super) fn fdatasync(folder: &Path, bytes: usize) -> io::Result<Latencies> {
    let path = folder.join(format!("backscroll-floor-{}", std::process::id()));
    let measured = append(&path, bytes);
    let removed = std::fs::remove_file(&path);
    let latencies = measured?;
    removed?;
    Ok(latencies)
}

fn append(path: &Path, bytes: usize) -> io::Result<Latencies> {
    let mut file = File::create_new(path)?;
    let data = vec![b'.'; bytes];
    let mut latencies = latencies();
    let begun = Instant::now();
    while begun.elapsed() < MEASURE {
        let since = Instant::now();
        file.write_all(&data)?;
        file.sync_data()?;
        record(&mut latencies, since.elapsed());
    }
    Ok(latencies)
}

/// A bare broadcast in a process of its own, which ends with this.
#[derive(Debug)]
pub(super) struct Bare {
    child: Child,
    pub(super) url: RelayUrl,
}

impl Bare {
    /// Starts one.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start() -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("floor-relay")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let url = line.strip_prefix("listening on ").and_then(|url| url.trim_end().parse().ok());
        match (read, url) {
            (Some(Ok(_)), Some(url)) => Ok(Self { child, url }),
            _ => {
                child.kill()?;
                child.wait()?;
                Err(io::Error::other(format!("the floor's process said {line:?}")))
            }
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!fdatasync(folder.path(), 256).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(fdatasync(&folder.path().join("none"), 256).is_err());
    }
}
