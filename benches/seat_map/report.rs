//! The table of watches, and the ratios of the bench.

use serde_json::{Map, Value, json};

use super::fan_out::{FanOut, Latency};
use crate::wire::{
    comparison::Figure,
    table::{Key, Ratio, Table, median, shown},
};

/// Numbers of watchers.
pub(crate) const WATCHERS: [usize; 3] = [1_000, 5_000, 10_000];
/// Numbers of `GetSeatMap` calls in flight.
const IN_FLIGHT: [usize; 2] = [64, 256];
pub(crate) const SHOW: &str = "seat map";
pub(crate) const SHOW_UNDER_WRITES: &str = "seat map under writes";
pub(crate) const ECHO: &str = "echo";
/// Answers per second of the server's processor time.
pub(crate) const SHOW_CPU: &str = "seat map, per CPU second";
pub(crate) const ECHO_CPU: &str = "echo, per CPU second";
pub(crate) const WATCH: &str = "watch";
pub(crate) const FLOOR: &str = "floor";
pub(crate) const WATCH_MAXIMUM: &str = "watch, maximum rate";
pub(crate) const FLOOR_MAXIMUM: &str = "floor, maximum rate";
pub(crate) const TWO_INSTANCES: &str = "watch, other instance";

/// The results of all watches, round by round, in the order in which the contestants first took their turn.
#[derive(Default)]
pub(crate) struct FanOuts(Vec<(Key, Vec<FanOut>)>);

impl FanOuts {
    pub(crate) fn add(&mut self, key: Key, result: FanOut) {
        match self.0.iter_mut().find(|(other, _)| *other == key) {
            Some((_, results)) => results.push(result),
            None => self.0.push((key, vec![result])),
        }
    }

    fn of(&self, key: Key) -> &[FanOut] {
        self.0.iter().find(|(other, _)| *other == key).map_or(&[], |(_, results)| results)
    }

    fn median(&self, key: Key, field: impl Fn(&FanOut) -> f64) -> f64 {
        median(self.of(key).iter().map(field).collect())
    }

    /// The median of the ratios of each round.
    fn ratio(&self, key: Key, with: Key, field: impl Fn(&FanOut) -> f64) -> f64 {
        let pairs = self.of(key).iter().zip(self.of(with));
        median(pairs.map(|(one, other)| field(one) / field(other)).collect())
    }

    fn rate_ratio(&self, watchers: usize) -> f64 {
        self.ratio((WATCH_MAXIMUM, watchers), (FLOOR_MAXIMUM, watchers), |result| result.delivered)
    }

    fn cost_ratio(&self, watchers: usize) -> f64 {
        self.ratio((WATCH, watchers), (FLOOR, watchers), |result| result.cost)
    }

    /// Prints a row for each contestant, and returns the rows.
    pub(crate) fn print(&self) -> Vec<Value> {
        println!("\n{HEADINGS}");
        self.0.iter().map(|(key, results)| self.print_row(*key, results)).collect()
    }

    fn print_row(&self, key: Key, results: &[FanOut]) -> Value {
        let latency = |of: fn(&FanOut) -> Option<Latency>, percentile: fn(Latency) -> f64| {
            self.median(key, |result| of(result).map_or(f64::NAN, percentile))
        };
        let (sent, answered) = (|result: &FanOut| result.since_sent, |result: &FanOut| result.since_answered);
        let sent = [latency(sent, |latency| latency.p50), latency(sent, |latency| latency.p99)];
        let answered = [latency(answered, |latency| latency.p50), latency(answered, |latency| latency.p99)];
        let median = |field: fn(&FanOut) -> f64| self.median(key, field);
        let (changes, delivered, messages) = (median(|r| r.changes), median(|r| r.delivered), median(|r| r.messages));
        let (bytes, kib, cost) = (median(|r| r.bytes as f64), median(|r| r.kib), median(|r| r.cost));
        let (processors, busy) = (median(|r| r.processors), median(|r| r.busy));
        let (name, watchers) = key;
        println!(
            "{name:<22} {watchers:>8} {changes:>9.0} {delivered:>12.0} {messages:>10.0} {bytes:>6.0} \
             {:>8} {:>8} {:>8} {:>8} {kib:>7.1} {cost:>8.3} {processors:>5.2} {:>5.0}",
            shown(sent[0]),
            shown(sent[1]),
            shown(answered[0]),
            shown(answered[1]),
            busy * 100.0,
        );
        json!({
            "name": name, "watchers": watchers, "changes": changes, "delivered": delivered, "messages": messages,
            "message_bytes": bytes, "since_sent_p50_ms": sent[0], "since_sent_p99_ms": sent[1],
            "since_answered_p50_ms": answered[0], "since_answered_p99_ms": answered[1], "watcher_kib": kib,
            "cpu_us_of_delivery": cost, "cpu_us_a_second_of_watcher": processors * 1e6 / watchers as f64,
            "server_processors": processors, "machine_busy": busy,
            "snapshots": results.iter().map(|result| result.snapshots).collect::<Vec<_>>(),
            "rounds": results,
        })
    }
}

/// Two lines above the rows of [`FanOuts::print`].
const HEADINGS: &str = concat!(
    "                                  changes    delivered   messages ",
    " bytes   p50 ms   p99 ms   p50 ms   p99 ms     KiB   µs per  CPUs  busy\n",
    "                       watchers     per s        per s      per s  ",
    " each  of send  of send of answ. of answ.    each delivery           %",
);

/// The ratios with bounds. Where there are several numbers of callers or watchers, the worst one counts.
pub(crate) fn ratios(calls: &Table, watches: &FanOuts) -> Vec<Ratio> {
    let worst = |ratios: &[f64]| ratios.iter().copied().fold(f64::NAN, f64::min);
    let shown = |name| worst(&IN_FLIGHT.map(|number| calls.ratio((name, number), (ECHO, number))));
    let rate = worst(&WATCHERS.map(|watchers| watches.rate_ratio(watchers)));
    vec![
        Ratio::at_least("seat_map_vs_echo", shown(SHOW), 1.2, 1.5),
        Ratio::at_least("seat_map_under_writes_vs_echo", shown(SHOW_UNDER_WRITES), 0.9, 1.2),
        Ratio::at_least("fanout_vs_floor", rate, 0.8, 1.5),
        Ratio::at_most("fanout_cpu_vs_floor", watches.cost_ratio(WATCHERS[2]), 1.2, 0.6),
    ]
}

/// The other figures with bounds: memory of a watcher, where it is largest, and the latency of changes at another instance.
pub(crate) fn bounds(watches: &FanOuts) -> Vec<Ratio> {
    let kib = WATCHERS.map(|watchers| watches.median((WATCH, watchers), |result| result.kib));
    let p99 = |result: &FanOut| result.since_answered.map_or(f64::NAN, |latency| latency.p99);
    let p99 = watches.median((TWO_INSTANCES, WATCHERS[0]), p99);
    vec![
        Ratio::at_most("watcher_kib", kib.into_iter().fold(f64::NAN, f64::max), 16.0, 5.0),
        Ratio::at_most("cross_instance_p99_ms", p99, 50.0, 50.0),
    ]
}

/// Prints and returns the ratios for each number of callers or watchers, by name.
pub(crate) fn each(calls: &Table, watches: &FanOuts) -> Map<String, Value> {
    let of_calls = IN_FLIGHT.into_iter().flat_map(|number| {
        let ratio = move |name| calls.ratio((name, number), (ECHO, number));
        [
            (format!("seat_map_vs_echo_{number}"), ratio(SHOW)),
            (format!("seat_map_vs_echo_per_cpu_second_{number}"), calls.ratio((SHOW_CPU, number), (ECHO_CPU, number))),
            (format!("under_writes_vs_echo_{number}"), ratio(SHOW_UNDER_WRITES)),
        ]
    });
    let of_watches = WATCHERS.into_iter().flat_map(|watchers| {
        let (rate, cost) = (watches.rate_ratio(watchers), watches.cost_ratio(watchers));
        [(format!("fanout_vs_floor_{watchers}"), rate), (format!("fanout_cpu_vs_floor_{watchers}"), cost)]
    });
    let all: Vec<_> = of_calls.chain(of_watches).filter(|(_, value)| !value.is_nan()).collect();
    println!("\nfor each number of callers or watchers");
    for (name, value) in &all {
        println!("{name:<38} {value:>8.2}");
    }
    all.into_iter().map(|(name, value)| (name, json!(value))).collect()
}

/// The figures of watches of which each program had turns of its own, for `--against`.
pub(crate) fn figures([built, other]: [&FanOuts; 2]) -> Vec<Figure> {
    let services = built.0.iter().map(|(key, _)| *key).filter(|(name, _)| name.starts_with(WATCH));
    let figures = services.flat_map(|key| {
        let pairs = |field: fn(&FanOut) -> f64| {
            built.of(key).iter().zip(other.of(key)).map(|(one, two)| [field(one), field(two)]).collect()
        };
        [
            Figure::new(key, "delivered per s", pairs(|result| result.delivered)),
            Figure::new(key, "CPU µs per delivery", pairs(|result| result.cost)),
        ]
    });
    figures.collect()
}
