//! A relay process: started on a free port over a folder of its own, stopped or killed.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The path of the built `backscroll` binary: `BACKSCROLL_BIN`, or beside this test's own.
///
/// # Panics
/// There is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("BACKSCROLL_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a test has a path");
    let folder = own.parent().and_then(Path::parent).expect("tests are built in target/*/deps");
    let path = folder.join("backscroll");
    assert!(path.exists(), "build the relay first: cargo build --release -p backscroll-relay");
    path
}

/// Runs a subcommand to its end, with `input` on standard input.
///
/// # Panics
/// It cannot be started.
#[must_use]
pub fn run(arguments: &[&str], input: &[u8]) -> Output {
    use std::io::Write;
    let mut child = Command::new(binary())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends");
    output
}

/// Runs a subcommand that must succeed; its standard output.
///
/// # Panics
/// It fails; shows its standard error.
#[must_use]
pub fn run_ok(arguments: &[&str], input: &[u8]) -> String {
    let output = run(arguments, input);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} failed: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Between two looks at whether a process has ended.
const POLL: Duration = Duration::from_millis(5);

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    data: PathBuf,
    arguments: Vec<String>,
    /// `host:port` it listens on.
    pub address: String,
    /// Keeps the folder until the last relay over it is gone.
    _folder: Option<TempDir>,
}

impl Relay {
    /// A relay over an empty folder.
    #[must_use]
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut relay = Self::start_on(folder.path(), &[]);
        relay._folder = Some(folder);
        relay
    }

    /// A relay over `data`, with further arguments.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_on(data: &Path, arguments: &[&str]) -> Self {
        Self::start_wrapped(&[], data, arguments)
    }

    /// As [`Self::start_on`], run by another program: one that becomes the relay, as `strace -D`.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start_wrapped(wrapper: &[&str], data: &Path, arguments: &[&str]) -> Self {
        Self::try_start_wrapped(wrapper, data, arguments).unwrap_or_else(|| {
            let log = std::fs::read_to_string(data.with_extension("relay.log"));
            panic!("the relay did not come up; its log:\n{}", log.unwrap_or_default());
        })
    }

    /// As [`Self::start_wrapped`]; `None` if the relay ends before it is ready.
    #[must_use]
    pub fn try_start_wrapped(wrapper: &[&str], data: &Path, arguments: &[&str]) -> Option<Self> {
        let (child, address) = spawn(wrapper, data, arguments)?;
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Some(Self { child, data: data.to_owned(), address, arguments, _folder: None })
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The WebSocket address of `path`.
    #[must_use]
    pub fn ws(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// The HTTP address of `path`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process as `kill -9` does.
    ///
    /// # Panics
    /// It cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Starts it again over the same folder with the same arguments, on a new port.
    ///
    /// # Panics
    /// It does not come up.
    pub fn restart(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let again = spawn(&[], &self.data, &arguments);
        (self.child, self.address) = again.expect("the relay comes up again");
    }

    /// Asks it to end with SIGTERM and waits; its exit code.
    ///
    /// # Panics
    /// It does not end in time.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
        self.ended()
    }

    /// Waits until it has ended by itself; its exit code.
    ///
    /// # Panics
    /// It does not end in time.
    pub fn ended(&mut self) -> Option<i32> {
        let from = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status.code();
            }
            assert!(from.elapsed() < crate::DEADLINE, "the relay does not end");
            std::thread::sleep(POLL);
        }
    }

    /// Resident memory of the process, in bytes.
    ///
    /// # Panics
    /// The process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process runs");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("kB");
        kib * 1024
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(wrapper: &[&str], data: &Path, arguments: &[&str]) -> Option<(Child, String)> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(data.with_extension("relay.log"))
        .expect("a log file");
    let mut command = match wrapper.split_first() {
        Some((program, rest)) => {
            let mut command = Command::new(program);
            command.args(rest).arg(binary());
            command
        }
        None => Command::new(binary()),
    };
    let mut child = command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the relay starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("its first line");
    let address = line.strip_prefix("listening on http://").map(|rest| rest.trim().to_owned());
    let Some(address) = address else {
        drop(child.wait());
        return None;
    };
    // Nothing else may come on standard output; a reader that stops would show it as SIGPIPE.
    std::thread::spawn(move || {
        let mut rest = String::new();
        drop(stdout.read_to_string(&mut rest));
        assert!(rest.is_empty(), "more than one line on standard output: {rest}");
    });
    Some((child, address))
}
