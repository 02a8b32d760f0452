//! A folder to work in, and the binary run in it.

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder of its own for one test.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) log: String,
}

impl Run {
    /// The run, which must have this exit status.
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.log);
        self
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backscroll"));
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        command
    }

    /// Runs `backscroll` with arguments that hold no white space.
    pub(crate) fn run(&self, arguments: &str) -> Run {
        Self::run_of(self.command(arguments).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, arguments: &str, input: &[u8]) -> Run {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Self::run_of(child.wait_with_output().unwrap())
    }

    pub(crate) fn run_of(output: Output) -> Run {
        Run {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            log: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The rows `export` writes.
    pub(crate) fn export(&self, data: &str, channel: &str) -> Vec<Value> {
        rows(&self.run(&format!("export --data {data} --channel {channel}")).ended(0).out)
    }
}

/// JSON Lines as values.
pub(crate) fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One field of every row, as text.
pub(crate) fn field(rows: &[Value], name: &str) -> Vec<String> {
    rows.iter().map(|row| row[name].as_str().unwrap_or_default().to_owned()).collect()
}
