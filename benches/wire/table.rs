//! What came of it all: the median of each contestant, and how they compare.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::load::Outcome;

/// A contestant: its name, and how many calls it has in flight.
pub(crate) type Key = (&'static str, usize);

/// Which side of a bound is good.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast,
    AtMost,
}

/// A comparison, or another figure: what it is, what it must be, and what would be better.
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) bound: Bound,
    pub(crate) must: f64,
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

    pub(crate) fn of(&self, key: Key) -> &[Outcome] {
        self.0.iter().find(|(known, _)| *known == key).map_or(&[], |(_, outcomes)| outcomes)
    }

    fn median(&self, key: Key, field: fn(&Outcome) -> f64) -> f64 {
        middle(self.of(key).iter().map(field).collect())
    }

    /// How these compare, neighbours of the same round, in the middle of all rounds: what disturbs the machine for a while
    /// disturbs both.
    pub(crate) fn ratio(&self, key: Key, with: Key) -> f64 {
        let pairs = self.of(key).iter().zip(self.of(with));
        middle(pairs.map(|(one, other)| one.rate / other.rate).collect())
    }

    /// Prints everything; answers with it.
    pub(crate) fn print(&self) -> Vec<Value> {
        println!("{:<28} {:>9} {:>12} {:>9} {:>9} {:>8}", "", "in flight", "a second", "p50 ms", "p99 ms", "bytes");
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

/// Prints how these stand to what they must be; answers with what they are, by name. Who did not take part is left out.
pub(crate) fn judge(title: &str, ratios: &[Ratio]) -> Map<String, Value> {
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

/// Writes the figures of this bench to their file.
pub(crate) fn write(bench: &str, figures: &Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder).expect("a folder for the figures");
    let text = serde_json::to_string_pretty(figures).expect("figures as text");
    fs::write(folder.join(format!("{bench}.json")), text).expect("the figures to be written");
}

/// Milliseconds, if there are any.
pub(crate) fn shown(milliseconds: f64) -> String {
    if milliseconds.is_nan() { "-".to_owned() } else { format!("{milliseconds:.2}") }
}

/// The one in the middle.
pub(crate) fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
