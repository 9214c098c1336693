//! What came of it all: the median of each contestant, and how they compare.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::wire::load::Outcome;

/// A contestant: its name, and how many calls it has in flight.
pub(crate) type Key = (&'static str, usize);

/// Which side of a bound is good.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast,
    AtMost,
}

/// A comparison, what it must be, and what would be better.
struct Ratio {
    name: &'static str,
    value: f64,
    bound: Bound,
    must: f64,
    aim: f64,
}

/// All outcomes, round by round, in the order in which the contestants first took their turn.
#[derive(Default)]
pub(crate) struct Table(Vec<(Key, Vec<Outcome>)>);

impl Table {
    pub(crate) fn add(&mut self, key: Key, outcome: Outcome) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, outcomes)) => outcomes.push(outcome),
            None => self.0.push((key, vec![outcome])),
        }
    }

    fn of(&self, key: Key) -> &[Outcome] {
        self.0.iter().find(|(known, _)| *known == key).map_or(&[], |(_, outcomes)| outcomes)
    }

    fn median(&self, key: Key, field: fn(&Outcome) -> f64) -> f64 {
        middle(self.of(key).iter().map(field).collect())
    }

    /// How these compare, neighbours of the same round, in the middle of all rounds: what disturbs the machine for a while
    /// disturbs both.
    fn ratio(&self, key: Key, with: Key) -> f64 {
        let pairs = self.of(key).iter().zip(self.of(with));
        middle(pairs.map(|(one, other)| one.rate / other.rate).collect())
    }

    /// One reservation alone, over one statement alone and the echo of one call.
    fn single(&self) -> f64 {
        let ours = self.of(("reserve", 1)).iter();
        let theirs = self.of(("one statement", 1)).iter().zip(self.of(("echo", 1)));
        middle(ours.zip(theirs).map(|(ours, (statement, echo))| ours.p50 / (statement.p50 + echo.p50)).collect())
    }

    fn ratios(&self) -> Vec<Ratio> {
        let reserve = ("reserve", 256);
        let (usual, statement) = (("usual way", 64), ("one statement", 64));
        let (crowd, refusals) = (("crowd", 500), ("echo, as refusals", 500));
        let (million, ten) = (("reserve, 1,000,000 past", 256), ("reserve, 10 past", 256));
        let (sqlite, usual_sqlite) = (("reserve, SQLite", 256), ("usual way, SQLite", 1));
        let at_least = |name, key, with, must, aim| {
            let value = self.ratio(key, with);
            Ratio { name, value, bound: Bound::AtLeast, must, aim }
        };
        let single = "single_vs_statement_plus_echo";
        vec![
            at_least("reserve_vs_usual", reserve, usual, 3.0, 5.0),
            at_least("reserve64_vs_usual", ("reserve", 64), usual, 2.5, 4.0),
            at_least("reserve_vs_statement", reserve, statement, 1.4, 2.5),
            at_least("refusals_vs_echo", crowd, refusals, 0.5, 0.8),
            at_least("million_vs_empty", million, ten, 0.9, 0.97),
            at_least("sqlite_reserve_vs_usual", sqlite, usual_sqlite, 4.0, 8.0),
            Ratio { name: single, value: self.single(), bound: Bound::AtMost, must: 2.0, aim: 1.5 },
        ]
    }

    /// Prints everything; answers with it, and what else is worth knowing, in one.
    pub(crate) fn report(&self, circumstances: &Value) -> Value {
        println!("{:<28} {:>9} {:>12} {:>9} {:>9} {:>8}", "", "in flight", "a second", "p50 ms", "p99 ms", "bytes");
        let mut results = Vec::new();
        for ((name, in_flight), outcomes) in &self.0 {
            let median = |field| self.median((name, *in_flight), field);
            let (rate, p50, p99) = (median(|o| o.rate), median(|o| o.p50), median(|o| o.p99));
            let bytes = median(|outcome| outcome.bytes as f64);
            println!("{name:<28} {in_flight:>9} {rate:>12.0} {p50:>9.3} {p99:>9.3} {bytes:>8.0}");
            let rounds: Vec<_> = outcomes.iter().map(|outcome| outcome.rate.round()).collect();
            results.push(json!({
                "name": name, "in_flight": in_flight, "rate": rate, "p50_ms": p50, "p99_ms": p99,
                "answer_bytes": bytes, "rates": rounds,
            }));
        }
        println!("\n{:<32} {:>8} {:>8} {:>8}", "ratios", "", "must", "aim");
        let mut ratios = serde_json::Map::new();
        for Ratio { name, value, bound, must, aim } in self.ratios().iter().filter(|ratio| !ratio.value.is_nan()) {
            let (reached, sign) = match bound {
                Bound::AtLeast => (value >= must, '≥'),
                Bound::AtMost => (value <= must, '≤'),
            };
            let verdict = if reached { "" } else { "not reached" };
            println!("{name:<32} {value:>8.2} {sign}{must:>7} {sign}{aim:>7} {verdict}");
            ratios.insert((*name).to_owned(), json!(value));
        }
        json!({ "ratios": ratios, "results": results, "circumstances": circumstances })
    }
}

/// Writes the figures to their file.
pub(crate) fn write(figures: &Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder).expect("a folder for the figures");
    let text = serde_json::to_string_pretty(figures).expect("figures as text");
    fs::write(folder.join("seat_contention.json"), text).expect("the figures to be written");
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
