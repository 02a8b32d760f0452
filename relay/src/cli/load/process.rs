//! What the system says of a process: memory, processor time, limits. Linux only; elsewhere there
//! are no figures.

use std::fs;

/// Ticks per second of processor times in `/proc`, on every Linux there is (`getconf CLK_TCK`).
const TICKS_PER_S: f64 = 100.0;

/// Resident memory of a process, in bytes.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    kib_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

/// Memory that the kernel keeps in small objects, sockets among them, in bytes.
pub(super) fn slab_bytes() -> Option<u64> {
    kib_of(&fs::read_to_string("/proc/meminfo").ok()?, "Slab:")
}

/// Processor time of a process since it began, in seconds.
pub(super) fn cpu_s(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, parentheses too; user and system time are 12th and 13th after it.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(f64::from(user + system) / TICKS_PER_S)
}

/// How many files this process may have open.
pub(super) fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells() {
        let own = std::process::id();
        assert!(resident_bytes(own).unwrap() > 1 << 20);
        assert!(cpu_s(own).is_some() && slab_bytes().is_some());
        assert!(open_files_max().unwrap() >= 64);
        assert_eq!(kib_of("A: 1 kB\nVmRSS:   12 kB", "VmRSS:"), Some(12 << 10));
    }
}
