//! The outcomes of all contestants: medians, and how they compare.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::tally::Outcome;

/// A contestant: its name, and its number of calls in flight.
pub(crate) type Key = (&'static str, usize);

/// Which side of a bound is good.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast,
    AtMost,
}

/// A ratio or another figure with its bounds.
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) bound: Bound,
    /// The bound that must be kept.
    pub(crate) must: f64,
    /// The bound that is aimed at.
    pub(crate) aim: f64,
}

impl Ratio {
    pub(crate) fn at_least(name: &'static str, value: f64, must: f64, aim: f64) -> Self {
        Self { name, value, bound: Bound::AtLeast, must, aim }
    }

    pub(crate) fn at_most(name: &'static str, value: f64, must: f64, aim: f64) -> Self {
        Self { name, value, bound: Bound::AtMost, must, aim }
    }
}

/// The outcomes of each contestant, round by round, in the order in which the contestants first took their turn.
#[derive(Default)]
pub(crate) struct Table(Vec<(Key, Vec<Outcome>)>);

impl Table {
    pub(crate) fn add(&mut self, key: Key, outcome: Outcome) {
        match self.0.iter_mut().find(|(other, _)| *other == key) {
            Some((_, outcomes)) => outcomes.push(outcome),
            None => self.0.push((key, vec![outcome])),
        }
    }

    pub(crate) fn of(&self, key: Key) -> &[Outcome] {
        self.0.iter().find(|(other, _)| *other == key).map_or(&[], |(_, outcomes)| outcomes)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.0.iter().map(|(key, _)| *key)
    }

    fn median(&self, key: Key, field: fn(&Outcome) -> f64) -> f64 {
        median(self.of(key).iter().map(field).collect())
    }

    /// The ratio of two contestants' rates: the median of the ratios of each round. Load from elsewhere that lasts for a
    /// while slows both of a round.
    pub(crate) fn ratio(&self, key: Key, with: Key) -> f64 {
        let pairs = self.of(key).iter().zip(self.of(with));
        median(pairs.map(|(one, other)| one.rate / other.rate).collect())
    }

    /// Prints a row for each contestant, and returns the rows.
    pub(crate) fn print(&self) -> Vec<Value> {
        println!("{:<28} {:>9} {:>12} {:>9} {:>9} {:>8}", "", "in flight", "per second", "p50 ms", "p99 ms", "bytes");
        let mut results = Vec::new();
        for ((name, in_flight), outcomes) in &self.0 {
            let median = |field| self.median((name, *in_flight), field);
            let (rate, p50, p99) = (median(|o| o.rate), median(|o| o.p50), median(|o| o.p99));
            let bytes = median(|outcome| outcome.bytes as f64);
            println!("{name:<28} {in_flight:>9} {rate:>12.0} {:>9} {:>9} {bytes:>8.0}", shown(p50), shown(p99));
            let rounds: Vec<_> = outcomes.iter().map(|outcome| outcome.rate.round()).collect();
            results.push(json!({
                "name": name, "in_flight": in_flight, "rate": rate, "p50_ms": p50, "p99_ms": p99,
                "answer_bytes": bytes, "rates": rounds,
            }));
        }
        results
    }
}

/// Prints these figures beside their bounds, and returns them by name. A figure of a contestant that did not take part is NaN
/// and is left out.
pub(crate) fn print_ratios(title: &str, ratios: &[Ratio]) -> Map<String, Value> {
    println!("\n{title:<32} {:>8} {:>8} {:>8}", "", "must", "aim");
    let mut values = Map::new();
    for Ratio { name, value, bound, must, aim } in ratios.iter().filter(|ratio| !ratio.value.is_nan()) {
        let (reached, sign) = match bound {
            Bound::AtLeast => (value >= must, '≥'),
            Bound::AtMost => (value <= must, '≤'),
        };
        let verdict = if reached { "" } else { "not reached" };
        println!("{name:<32} {value:>8.2} {sign}{must:>7} {sign}{aim:>7} {verdict}");
        values.insert((*name).to_owned(), json!(value));
    }
    values
}

/// Writes the figures of a bench to `target/bench/<bench>.json`.
pub(crate) fn write(bench: &str, figures: &Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder).expect("a folder for the figures");
    let text = serde_json::to_string_pretty(figures).expect("figures as JSON");
    fs::write(folder.join(format!("{bench}.json")), text).expect("the figures are written");
}

/// A number with two decimals, or `-` if there is none.
pub(crate) fn shown(number: f64) -> String {
    if number.is_nan() { "-".to_owned() } else { format!("{number:.2}") }
}

/// The median, or NaN of nothing.
pub(crate) fn median(values: Vec<f64>) -> f64 {
    quartile(values, 2)
}

/// The first, second or third quartile, or NaN of nothing.
pub(crate) fn quartile(mut values: Vec<f64>, number: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * number / 4).copied().unwrap_or(f64::NAN)
}
