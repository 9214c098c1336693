//! Two programs of the service side by side, for `--against`: the same contestants in alternating turns.

use super::{
    service::Program,
    table::{Key, Ratio, Table, median, quartile},
};

/// A figure of both programs, round by round.
pub(crate) struct Figure {
    name: String,
    /// Pairs of a round: the built program's, the other's.
    rounds: Vec<[f64; 2]>,
}

impl Figure {
    pub(crate) fn new((name, number): Key, unit: &str, rounds: Vec<[f64; 2]>) -> Self {
        Self { name: format!("{name} {number}, {unit}"), rounds }
    }
}

/// The rates and the median latencies of all contestants of which each program had turns of its own.
pub(crate) fn figures(tables: [&Table; 2]) -> Vec<Figure> {
    let [built, other] = tables;
    let mut figures = Vec::new();
    for key in built.keys() {
        let pairs = || built.of(key).iter().zip(other.of(key));
        figures.push(Figure::new(key, "per s", pairs().map(|(one, two)| [one.rate, two.rate]).collect()));
        figures.push(Figure::new(key, "p50 ms", pairs().map(|(one, two)| [one.p50, two.p50]).collect()));
    }
    // A baseline had one turn for both programs, and the same figure in both tables.
    figures.retain(|figure| figure.rounds.iter().any(|[built, other]| built.to_bits() != other.to_bits()));
    figures
}

/// Prints medians of both programs, their quotient, and the quartiles of the quotients of each round: if 1 is between these,
/// the programs do not differ by more than the noise. Then the ratios of both to their baselines.
pub(crate) fn print(other: &Program, figures: &[Figure], ratios: [Vec<Ratio>; 2]) {
    let Program::At(path) = other else { return };
    println!("\nagainst {}", path.display());
    println!("{:<48} {:>10} {:>10} {:>9} {:>17}", "", "this", "other", "quotient", "middle half of rounds");
    for Figure { name, rounds } in figures {
        let [this, other] = [0, 1].map(|program| median(rounds.iter().map(|round| round[program]).collect()));
        let quotients: Vec<_> = rounds.iter().map(|[this, other]| this / other).collect();
        let [low, high] = [1, 3].map(|number| quartile(quotients.clone(), number));
        println!("{name:<48} {this:>10.2} {other:>10.2} {:>9.3} {low:>9.3} to {high:.3}", this / other);
    }
    let [these, others] = ratios;
    for (this, other) in these.iter().zip(&others).filter(|(this, _)| !this.value.is_nan()) {
        let (name, this, other) = (this.name, this.value, other.value);
        println!("{name:<48} {this:>10.2} {other:>10.2} {:>9.3}", this / other);
    }
}
