//! Progress on standard error: a bar on a terminal, a line now and then elsewhere.

use super::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far one step of a command is.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    unit: Unit,
    /// When the last line was written, if lines are written at all.
    last_line: Option<Mutex<Instant>>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes, shown as KiB, MiB, GiB.
    Bytes,
    /// Messages.
    Messages,
    /// Rows of a store.
    Rows,
    /// Sockets.
    Sockets,
}

impl Progress {
    /// Progress of the step `what`, up to `total` if that is known.
    pub(crate) fn new(what: &'static str, total: Option<u64>, unit: Unit) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(8);
        let bar = ProgressBar::with_draw_target(total, target);
        let counts = match unit {
            Unit::Bytes => "{bytes} of {total_bytes}",
            Unit::Messages => "{human_pos} of {human_len} messages",
            Unit::Rows => "{human_pos} of {human_len} rows",
            Unit::Sockets => "{human_pos} of {human_len} sockets",
        };
        let template = match total {
            Some(_) => format!("{{msg:>10}} [{{wide_bar}}] {counts}, {{eta}} left"),
            None => {
                format!("{{msg:>10}} {{spinner}} {}", counts.split(" of ").next().unwrap_or(""))
            }
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        let terminal = std::io::stderr().is_terminal();
        let last_line = (!terminal).then(|| Mutex::new(Instant::now()));
        Self { bar, what, unit, last_line }
    }

    /// Sets how much is done.
    pub(crate) fn set(&self, done: u64) {
        self.bar.set_position(done);
        self.line_now_and_then();
    }

    /// How much is done.
    pub(crate) fn done(&self) -> u64 {
        self.bar.position()
    }

    /// Adds to what is done.
    pub(crate) fn add(&self, more: u64) {
        self.set(self.bar.position() + more);
    }

    /// Writes a line above the bar.
    pub(crate) fn log(&self, text: &str) {
        self.bar.suspend(|| output::log(text));
    }

    /// Takes the bar away: the step is over.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line_now_and_then(&self) {
        let Some(mut last) = self.last_line.as_ref().and_then(|last| last.lock().ok()) else {
            return;
        };
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            output::log(&self.text());
        }
    }

    fn text(&self) -> String {
        let done = self.bar.position();
        let counted = match self.unit {
            Unit::Bytes => indicatif::HumanBytes(done).to_string(),
            Unit::Messages => format!("{} messages", indicatif::HumanCount(done)),
            Unit::Rows => format!("{} rows", indicatif::HumanCount(done)),
            Unit::Sockets => format!("{} sockets", indicatif::HumanCount(done)),
        };
        match self.bar.length().filter(|total| *total > 0) {
            Some(total) => {
                let percent = u128::from(done.min(total)) * 100 / u128::from(total);
                format!("{}: {percent} %, {counted}", self.what)
            }
            None => format!("{}: {counted}", self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far_it_is() {
        let known = Progress::new("reading", Some(4096), Unit::Bytes);
        known.add(1024);
        known.add(1024);
        assert_eq!(known.text(), "reading: 50 %, 2.00 KiB");
        let unknown = Progress::new("writing", None, Unit::Messages);
        unknown.set(12_345);
        assert_eq!(unknown.text(), "writing: 12,345 messages");
    }
}
