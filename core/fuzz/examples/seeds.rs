//! Writes what fuzzing begins with to the folder that is named, one folder for each target.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "corpus".into()));
    for (target, name, bytes) in backscroll_fuzz::seeds::seeds() {
        std::fs::create_dir_all(folder.join(target))?;
        std::fs::write(folder.join(target).join(name), bytes)?;
    }
    Ok(())
}
