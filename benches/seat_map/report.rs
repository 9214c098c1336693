//! What came of the watching, and how it compares.

use serde_json::{Map, Value, json};

use super::fan::{Latency, Told};
use crate::wire::table::{Key, Ratio, Table, middle, shown};

/// How many watch.
pub(crate) const CROWDS: [usize; 3] = [1_000, 5_000, 10_000];
/// What a second of the server's processor time is good for.
pub(crate) const SHOW_CPU: &str = "seat map, of a processor";
pub(crate) const ECHO_CPU: &str = "echo, of a processor";
pub(crate) const WATCH: &str = "watch";
pub(crate) const FLOOR: &str = "floor";
pub(crate) const WATCH_ALL: &str = "watch, all it can";
pub(crate) const FLOOR_ALL: &str = "floor, all it can";
pub(crate) const TWO: &str = "watch, other instance";

/// All that came of it, round by round, in the order in which the contestants first took their turn.
#[derive(Default)]
pub(crate) struct Fans(Vec<(Key, Vec<Told>)>);

impl Fans {
    pub(crate) fn add(&mut self, key: Key, told: Told) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, all)) => all.push(told),
            None => self.0.push((key, vec![told])),
        }
    }

    fn of(&self, key: Key) -> &[Told] {
        self.0.iter().find(|(known, _)| *known == key).map_or(&[], |(_, all)| all)
    }

    fn median(&self, key: Key, field: impl Fn(&Told) -> f64) -> f64 {
        middle(self.of(key).iter().map(field).collect())
    }

    /// How these compare, neighbours of the same round, in the middle of all rounds.
    fn ratio(&self, key: Key, with: Key, field: impl Fn(&Told) -> f64) -> f64 {
        let pairs = self.of(key).iter().zip(self.of(with));
        middle(pairs.map(|(one, other)| field(one) / field(other)).collect())
    }

    fn rate(&self, watchers: usize) -> f64 {
        self.ratio((WATCH_ALL, watchers), (FLOOR_ALL, watchers), |told| told.delivered)
    }

    fn cost(&self, watchers: usize) -> f64 {
        self.ratio((WATCH, watchers), (FLOOR, watchers), |told| told.cost)
    }

    /// Prints everything; answers with it.
    pub(crate) fn print(&self) -> Vec<Value> {
        println!(
            "\n{:<22} {:>8} {:>9} {:>12} {:>10} {:>6} {:>8} {:>8} {:>8} {:>8} {:>7} {:>8} {:>5} {:>5}",
            "",
            "",
            "changes",
            "delivered",
            "messages",
            "bytes",
            "p50 ms",
            "p99 ms",
            "p50 ms",
            "p99 ms",
            "KiB",
            "µs of",
            "pro-",
            "busy",
        );
        println!(
            "{:<22} {:>8} {:>9} {:>12} {:>10} {:>6} {:>8} {:>8} {:>8} {:>8} {:>7} {:>8} {:>5} {:>5}",
            "",
            "watchers",
            "a second",
            "a second",
            "a second",
            "each",
            "of send",
            "of send",
            "of answ.",
            "of answ.",
            "each",
            "delivery",
            "cess.",
            "%",
        );
        self.0.iter().map(|(key, all)| self.row(*key, all)).collect()
    }

    fn row(&self, key: Key, all: &[Told]) -> Value {
        let late = |of: fn(&Told) -> Option<Latency>, part: fn(Latency) -> f64| {
            self.median(key, |told| of(told).map_or(f64::NAN, part))
        };
        let (sent, answered) = (|told: &Told| told.sent, |told: &Told| told.answered);
        let sent = [late(sent, |late| late.p50), late(sent, |late| late.p99)];
        let answered = [late(answered, |late| late.p50), late(answered, |late| late.p99)];
        let median = |field: fn(&Told) -> f64| self.median(key, field);
        let (changes, delivered, messages) = (median(|t| t.changes), median(|t| t.delivered), median(|t| t.messages));
        let (bytes, kib, cost) = (median(|told| told.bytes as f64), median(|told| told.kib), median(|told| told.cost));
        let (processors, busy) = (median(|told| told.processors), median(|told| told.busy));
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
            "message_bytes": bytes, "from_sending_p50_ms": sent[0], "from_sending_p99_ms": sent[1],
            "from_answer_p50_ms": answered[0], "from_answer_p99_ms": answered[1], "watcher_kib": kib,
            "cpu_us_of_delivery": cost, "cpu_us_a_second_of_watcher": processors * 1e6 / watchers as f64,
            "server_processors": processors, "machine_busy": busy,
            "told_everything": all.iter().map(|told| told.everything).collect::<Vec<_>>(),
            "rounds": all,
        })
    }
}

/// Of several, the worst.
pub(crate) fn ratios(calls: &Table, fans: &Fans) -> Vec<Ratio> {
    let shown = |name| [64, 256].map(|at| calls.ratio((name, at), ("echo", at))).into_iter().fold(f64::NAN, f64::min);
    let rate = CROWDS.map(|watchers| fans.rate(watchers)).into_iter().fold(f64::NAN, f64::min);
    vec![
        Ratio::at_least("seat_map_vs_echo", shown("seat map"), 1.2, 1.5),
        Ratio::at_least("seat_map_under_writes_vs_echo", shown("seat map under writes"), 0.9, 1.2),
        Ratio::at_least("fanout_vs_floor", rate, 0.8, 1.5),
        Ratio::at_most("fanout_cpu_vs_floor", fans.cost(CROWDS[2]), 1.2, 0.6),
    ]
}

/// What else has bounds: memory of the crowd in which a watcher takes most, and how late another instance hears.
pub(crate) fn bounds(fans: &Fans) -> Vec<Ratio> {
    let kib = CROWDS.map(|watchers| fans.median((WATCH, watchers), |told| told.kib));
    let late = fans.median((TWO, CROWDS[0]), |told| told.answered.map_or(f64::NAN, |late| late.p99));
    vec![
        Ratio::at_most("watcher_kib", kib.into_iter().fold(f64::NAN, f64::max), 16.0, 5.0),
        Ratio::at_most("cross_instance_p99_ms", late, 50.0, 50.0),
    ]
}

/// Each of which the worst was taken, by name.
pub(crate) fn each(calls: &Table, fans: &Fans) -> Map<String, Value> {
    let of_calls = [64, 256].into_iter().flat_map(|at| {
        let of = move |name| calls.ratio((name, at), ("echo", at));
        [
            (format!("seat_map_vs_echo_{at}"), of("seat map")),
            (format!("seat_map_vs_echo_of_a_processor_{at}"), calls.ratio((SHOW_CPU, at), (ECHO_CPU, at))),
            (format!("under_writes_vs_echo_{at}"), of("seat map under writes")),
        ]
    });
    let of_fans = CROWDS.into_iter().flat_map(|watchers| {
        let (rate, cost) = (fans.rate(watchers), fans.cost(watchers));
        [(format!("fanout_vs_floor_{watchers}"), rate), (format!("fanout_cpu_vs_floor_{watchers}"), cost)]
    });
    let all: Vec<_> = of_calls.chain(of_fans).filter(|(_, value)| !value.is_nan()).collect();
    println!("\nof which the worst was taken, or that of most watchers");
    for (name, value) in &all {
        println!("{name:<38} {value:>8.2}");
    }
    all.into_iter().map(|(name, value)| (name, json!(value))).collect()
}
