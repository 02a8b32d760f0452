//! What these tests need of the machine: loop devices, strace; and how long they may take.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Whether the long form is asked for.
pub(crate) fn long() -> bool {
    std::env::var_os("BACKSCROLL_LONG").is_some_and(|value| value != "0")
}

/// Runs a program of the system; its standard error if it fails.
pub(crate) fn system(program: &str, arguments: &[&str]) -> Result<(), String> {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// Says on standard output that a test has shown nothing, and why.
pub(crate) fn skip(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
}

/// An ext4 file system in a file, mounted; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: TempDir,
    is_mounted: bool,
}

impl Disk {
    /// A new one of so many MiB.
    pub(crate) fn make(mebibytes: u64) -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let disk = Self { folder, is_mounted: false };
        let file = std::fs::File::create(disk.image()).map_err(|error| error.to_string())?;
        file.set_len(mebibytes << 20).map_err(|error| error.to_string())?;
        system("mkfs.ext4", &["-q", "-m", "0", path(&disk.image())])?;
        disk.mount()
    }

    /// The image of `other` as it is at this moment, as after a power failure: what `other` had not
    /// written to its disk is not in it.
    pub(crate) fn after_power_loss(other: &Self) -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let disk = Self { folder, is_mounted: false };
        std::fs::copy(other.image(), disk.image()).map_err(|error| error.to_string())?;
        disk.mount()
    }

    fn mount(mut self) -> Result<Self, String> {
        std::fs::create_dir_all(self.root()).map_err(|error| error.to_string())?;
        system("mount", &["-o", "loop", path(&self.image()), path(&self.root())])?;
        self.is_mounted = true;
        Ok(self)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// A configuration in it by which a relay leaves so many MiB of it free.
    pub(crate) fn config(&self, reserve_mebibytes: u64) -> String {
        let file = self.root().join("relay.toml");
        let text = format!("[store]\ndisk_reserve_mib = {reserve_mebibytes}\n");
        std::fs::write(&file, text).expect("a file");
        path(&file).to_owned()
    }

    /// Its free space.
    pub(crate) fn free_mebibytes(&self) -> u64 {
        let root = self.root();
        let output = Command::new("df").args(["--output=avail", "-m", path(&root)]).output();
        let text = String::from_utf8(output.expect("df runs").stdout).expect("UTF-8");
        text.lines().nth(1).and_then(|line| line.trim().parse().ok()).expect("a number")
    }

    /// Where it is mounted.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // Lazily: a relay that was just killed may still hold files.
            drop(system("umount", &["-l", path(&self.root())]));
        }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders are named in UTF-8")
}

/// Whether strace can be used here; the reason if not.
pub(crate) fn strace() -> Result<(), String> {
    system("strace", &["-f", "-o", "/dev/null", "true"])
}
