//! What the system says of a process, and of the whole machine.

use std::fs;

/// In which it counts time: a hundred a second, on every Linux.
const TICKS: f64 = 100.0;

/// Resident memory.
pub(crate) fn resident_kib(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
}

/// Seconds of a processor that a process has had, its own and the system's on its behalf.
pub(crate) fn processor(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Its name, in brackets, may have anything in it. User time is the twelfth after that, system time the next.
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// How long all processors were at work, and how long there was, since the machine started.
pub(crate) fn machine() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let times: Vec<f64> = line.split_whitespace().skip(1).take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let all: f64 = times.iter().sum();
    // Idle, and idle because a disk is not.
    let idle: f64 = times.iter().skip(3).take(2).sum();
    ((all - idle) / TICKS, all / TICKS)
}
