//! What the windows of a round say, and the figures of all rounds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::plan::{Phase, WINDOW, Window, number_of};
use crate::wire::{
    table::{Ratio, median, print_ratios},
    usage,
};

/// Windows at the beginning of a phase that do not count.
const WARM_UP: usize = 5;
/// Windows in a row that must be normal for the service to be back to normal.
const NORMAL_WINDOWS: usize = 5;
/// A window is normal if its longest call took at most so much longer than the longest call of normal load.
const LONGER: f64 = 1.5;

/// The figures of a round.
pub(crate) struct Figures {
    peak: f64,
    /// Goodput with the peak, before there is anything hostile.
    honest: f64,
    goodput: f64,
    confirmations: f64,
    growth: f64,
    back: f64,
}

/// The most calls per second that were served in one of the phases, which all have this length, and with how many callers.
pub(crate) fn most(windows: &[Window], length: Duration, callers: &[usize]) -> (f64, usize) {
    let rates = windows.chunks_exact(number_of(length)).map(|phase| rate(&phase[WARM_UP..]));
    let of_callers = rates.zip(callers.iter().copied());
    let of_callers = of_callers.inspect(|(rate, callers)| eprintln!("  {callers} callers: {rate:.0}/s"));
    of_callers.max_by(|(one, _), (other, _)| one.total_cmp(other)).expect("a phase")
}

fn rate(windows: &[Window]) -> f64 {
    let served: u32 = windows.iter().map(|window| window.served).sum();
    f64::from(served) / (windows.len() as f64 * WINDOW.as_secs_f64())
}

/// The phases of a round after the search, in their order.
const NAMES: [&str; 8] =
    ["normal", "only honest", "peak", "overload", "peak again", "overload again", "after", "peak in the end"];

/// The figures of a round with these phases.
pub(crate) fn figures(phases: &[Phase; 8], windows: &[Window], memory: &[(Duration, f64)]) -> Figures {
    let mut end = Duration::ZERO;
    let of_phases = phases.each_ref().map(|phase| {
        let begin = number_of(end);
        end += phase.length;
        &windows[begin..number_of(end)]
    });
    for (name, windows) in NAMES.into_iter().zip(of_phases) {
        describe(name, windows);
    }
    let [normal, honest, peak, overload, peak_again, overload_again, after, peak_in_the_end] = of_phases;
    let steady =
        |phases: &[&[Window]]| rate(&phases.iter().flat_map(|phase| phase[2 * WARM_UP..].to_vec()).collect::<Vec<_>>());
    let peak = steady(&[peak, peak_again, peak_in_the_end]);
    let longest = normal[WARM_UP..].iter().map(|window| window.longest).max().unwrap_or_default();
    let is_normal = |window: &Window| {
        window.refused + window.late + window.given_up == 0 && f64::from(window.longest) <= LONGER * f64::from(longest)
    };
    let back = after.windows(NORMAL_WINDOWS).position(|windows| windows.iter().all(is_normal));
    let [sent, served] = [|window: &Window| window.confirmations, |window: &Window| window.confirmations_served]
        .map(|field| [overload, overload_again].iter().flat_map(|phase| *phase).map(field).sum::<u32>());
    // The load's process needs a moment to start, and that is earlier than any phase.
    let overload_begins: Duration = phases[..3].iter().map(|phase| phase.length).sum();
    let before = |(at, _): &&(Duration, f64)| *at < overload_begins;
    let most_of = |memory: &mut dyn Iterator<Item = &(Duration, f64)>| memory.map(|(_, mib)| *mib).fold(0.0, f64::max);
    let figures = Figures {
        peak,
        honest: steady(&[honest]) / peak,
        goodput: steady(&[overload, overload_again]) / peak,
        confirmations: f64::from(served) / f64::from(sent),
        growth: most_of(&mut memory.iter()) - most_of(&mut memory.iter().filter(before)),
        back: back.map_or(f64::INFINITY, |windows| windows as f64 * WINDOW.as_secs_f64()),
    };
    let Figures { honest, goodput, confirmations, growth, back, .. } = figures;
    eprintln!(
        "  goodput {honest:.3} and {goodput:.3}, confirmations {confirmations:.5} of {sent}, memory +{growth:.1} MiB, back after {back:.1} s"
    );
    figures
}

/// Prints a line about these windows.
fn describe(name: &str, windows: &[Window]) {
    let sum = |field: fn(&Window) -> u32| {
        f64::from(windows.iter().map(field).sum::<u32>()) / (windows.len() as f64 * WINDOW.as_secs_f64())
    };
    let longest = windows.iter().map(|window| window.longest).max().unwrap_or_default();
    eprintln!(
        "  {name}: per second {:.0} served, {:.0} refused, {:.0} late, {:.0} given up; hostile {:.0} sent, {:.0} answered, {:.0} held up; \
         {:.1} closed; longest {} ms",
        sum(|window| window.served),
        sum(|window| window.refused),
        sum(|window| window.late),
        sum(|window| window.given_up),
        sum(|window| window.hostile),
        sum(|window| window.hostile_answered),
        sum(|window| window.hostile_held_up),
        sum(|window| window.closed),
        longest / 1_000,
    );
}

/// Prints the medians of the rounds with their bounds.
pub(crate) fn print(rounds: &[Figures]) {
    let of = |field: fn(&Figures) -> f64| median(rounds.iter().map(field).collect());
    println!(
        "peak: {:.0} calls per second; goodput with nothing hostile: {:.2} of it",
        of(|figures| figures.peak),
        of(|figures| figures.honest)
    );
    let _printed = print_ratios(
        "overload",
        &[
            Ratio::at_least("goodput_vs_peak", of(|figures| figures.goodput), 0.9, 0.95),
            Ratio::at_least("confirmations_served", of(|figures| figures.confirmations), 0.999, 1.0),
            Ratio::at_most("memory_growth_mib", of(|figures| figures.growth), 64.0, 32.0),
            Ratio::at_most("back_to_normal_s", of(|figures| figures.back), 2.0, 0.5),
        ],
    );
}

/// Watches the memory of a process.
pub(crate) struct MemoryWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Duration, f64)>>,
}

impl MemoryWatch {
    pub(crate) fn start(process: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut memory = Vec::new();
            while !stopped.load(Relaxed) {
                memory.push((start.elapsed(), usage::memory(process).resident / 1_024.0));
                thread::sleep(WINDOW / 2);
            }
            memory
        });
        Self { stop, thread }
    }

    /// The resident memory in MiB, with the time since the start.
    pub(crate) fn finish(self) -> Vec<(Duration, f64)> {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the memory was watched")
    }
}
