//! Memory and processor time of a process, and processor time of the whole machine, as Linux reports them in `/proc`.

use std::fs;

/// Unit of the times in `/proc`, per second. Linux reports in hundredths on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory of a process, in KiB.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// All resident pages.
    pub(crate) resident: f64,
    /// Resident pages that belong to no file: heap and stacks, without the program itself.
    pub(crate) anonymous: f64,
}

/// The memory of a process; zeros if the process does not exist.
pub(crate) fn memory(process: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
    };
    Memory { resident: field("VmRSS:"), anonymous: field("RssAnon:") }
}

/// The number of threads of a process; zero if the process does not exist.
pub(crate) fn threads(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap_or_default();
    count.trim().parse().unwrap_or_default()
}

/// Processor time that a process has used, in seconds: its own and the kernel's on its behalf.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in brackets, may contain spaces. User time is the twelfth field after it, system time the next.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2);
    times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// Processor time of the machine since it started, in seconds of all processors.
#[derive(Clone, Copy)]
pub(crate) struct MachineTime {
    pub(crate) busy: f64,
    pub(crate) total: f64,
}

/// The processor time of the machine so far.
pub(crate) fn machine_time() -> MachineTime {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let times: Vec<f64> = line.split_whitespace().skip(1).take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let total: f64 = times.iter().sum();
    // The fourth time is idle, the fifth is idle while a disk is awaited.
    let idle: f64 = times.iter().skip(3).take(2).sum();
    MachineTime { busy: (total - idle) / TICKS_PER_SECOND, total: total / TICKS_PER_SECOND }
}
