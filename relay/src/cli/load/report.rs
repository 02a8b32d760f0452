//! What a run found out, as lines for people or as one JSON object.

use super::super::output;
use super::check::Violation;
use super::run::Latencies;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

/// Most violations that are listed.
const LISTED_MAX: usize = 100;

/// Figures by name; the name says the unit.
pub(super) type Figures = BTreeMap<String, f64>;

/// Everything there is to say.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// What was run.
    pub(super) profile: &'static str,
    /// How.
    pub(super) parameters: BTreeMap<&'static str, String>,
    /// What was measured.
    pub(super) figures: Figures,
    /// What the machine does without a relay, or with a bare one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) floor: Figures,
    /// Figure over floor, where there is one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) ratios: Figures,
    /// What was not as it should be besides broken promises.
    pub(super) remarks: Vec<String>,
    /// How many promises were broken.
    pub(super) violations: usize,
    /// Some of them.
    pub(super) violations_listed: Vec<String>,
}

impl Report {
    /// Takes the checker's list.
    pub(super) fn take_violations(&mut self, violations: &[Violation]) {
        self.violations += violations.len();
        let room = LISTED_MAX.saturating_sub(self.violations_listed.len());
        self.violations_listed.extend(violations.iter().take(room).map(ToString::to_string));
    }

    /// Puts a floor beside the figures of the same names.
    pub(super) fn take_floor(&mut self, floor: Figures) {
        for (name, floor) in &floor {
            if let Some(figure) = self.figures.get(name).filter(|_| *floor > 0.0) {
                self.ratios.insert(name.clone(), figure / floor);
            }
        }
        self.floor.extend(floor);
    }

    /// Sets one figure over one floor of another name.
    pub(super) fn compare(&mut self, figure: &str, floor: &str) {
        let (over, under) = (self.figures.get(figure), self.floor.get(floor));
        if let (Some(over), Some(under)) = (over, under.filter(|under| **under > 0.0)) {
            self.ratios.insert(format!("{figure} / {floor}"), over / under);
        }
    }

    /// Whether everything was as it should be.
    pub(super) fn is_clean(&self) -> bool {
        self.violations == 0 && self.remarks.is_empty()
    }

    /// Prints it to standard output.
    ///
    /// # Errors
    /// Nobody reads.
    pub(super) fn print(&self, as_json: bool) -> io::Result<()> {
        if as_json {
            return output::line(&serde_json::to_string(self).map_err(io::Error::from)?);
        }
        output::line(self.text().trim_end())
    }

    fn text(&self) -> String {
        let mut text = format!("{}:", self.profile);
        for (name, value) in &self.parameters {
            let _ = write!(text, " {name} {value}");
        }
        text.push('\n');
        for (name, value) in &self.figures {
            let _ = write!(text, "  {name:<34} {:>12}", readable(*value));
            if let (Some(floor), Some(ratio)) = (self.floor.get(name), self.ratios.get(name)) {
                let _ = write!(text, "   floor {:>12}   ratio {ratio:.2}", readable(*floor));
            }
            text.push('\n');
        }
        for (name, value) in self.floor.iter().filter(|(name, _)| !self.figures.contains_key(*name))
        {
            let _ = writeln!(text, "  floor: {name:<27} {:>12}", readable(*value));
        }
        for (name, value) in self.ratios.iter().filter(|(name, _)| name.contains(" / ")) {
            let _ = writeln!(text, "  {name}: {value:.2}");
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "  {remark}");
        }
        for line in &self.violations_listed {
            let _ = writeln!(text, "  {line}");
        }
        match self.violations {
            0 => text.push_str("verdict: nothing lost, doubled, out of order or made up\n"),
            n => drop(writeln!(text, "verdict: {n} broken promises")),
        }
        text
    }
}

fn readable(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Adds the percentiles of latencies, in ms, under names that begin with `what`.
pub(super) fn percentiles(figures: &mut Figures, what: &str, latencies: &Latencies) {
    if latencies.is_empty() {
        return;
    }
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)]
    {
        let ms = latencies.value_at_quantile(share) as f64 / 1_000.0;
        figures.insert(format!("{what}_ms_{name}"), ms);
    }
}

/// A rate per second; 0 of no time.
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_stands_beside_the_figure_of_its_name() {
        let mut report = Report { profile: "publish", ..Report::default() };
        report.figures = [("acks_per_s".to_owned(), 50.0), ("ack_ms_p50".to_owned(), 3.0)].into();
        let floor = [("acks_per_s".to_owned(), 100.0), ("fdatasync_ms_p50".to_owned(), 2.0)];
        report.take_floor(floor.into());
        report.compare("ack_ms_p50", "fdatasync_ms_p50");
        assert_eq!(report.ratios["acks_per_s"], 0.5);
        assert_eq!(report.ratios["ack_ms_p50 / fdatasync_ms_p50"], 1.5);
        assert!(report.text().contains("ratio 0.50"), "{}", report.text());
        assert!(report.is_clean());
        let id = backscroll_core::message::MessageId::from_parts(1_700_000_000_000, 1);
        report.take_violations(&vec![Violation::Renumbered { id, first: 1, second: 2 }; 200]);
        assert!(report.text().ends_with("verdict: 200 broken promises\n"));
        assert_eq!(report.violations_listed.len(), LISTED_MAX);
        assert!(!report.is_clean());
    }
}
