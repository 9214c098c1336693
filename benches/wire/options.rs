//! The options of a bench: `--rounds 7 --seconds 3 --only 'list 256' --against /elsewhere/boxoffice`.

use std::path::PathBuf;

use super::{service::Program, table::Key};

/// The options of a bench.
pub(crate) struct Options {
    /// Rounds in which every contestant takes its turn.
    pub(crate) rounds: usize,
    /// Seconds of a turn, after its warm-up.
    pub(crate) seconds: f64,
    /// Terms of which one must match a contestant. Without any, all contestants take part.
    only: Vec<String>,
    /// Another program of the service, to which this one is compared.
    against: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments of the bench. Cargo adds `--bench`, which is ignored.
    pub(crate) fn parse(arguments: &[String]) -> Self {
        let mut options = Self { rounds: 5, seconds: 2.0, only: Vec::new(), against: None };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{name} takes a value"));
            match name.as_str() {
                "--rounds" => options.rounds = value().parse().expect("--rounds takes a whole number"),
                "--seconds" => options.seconds = value().parse().expect("--seconds takes a number"),
                "--only" => options.only = value().to_lowercase().split(',').map(str::to_owned).collect(),
                "--against" => {
                    let path = value();
                    let path = std::fs::canonicalize(path).unwrap_or_else(|error| panic!("--against {path}: {error}"));
                    options.against = Some(path);
                }
                "--bench" => {}
                other => panic!("unknown option {other}; there are --rounds, --seconds, --only and --against"),
            }
        }
        options
    }

    /// Whether this contestant takes part.
    pub(crate) fn selects(&self, key: &Key) -> bool {
        self.only.is_empty() || self.only.iter().any(|term| matches(term, key))
    }

    /// Whether this run is a whole one of one program, whose figures are worth writing to a file.
    pub(crate) fn is_complete(&self) -> bool {
        self.only.is_empty() && self.against.is_none()
    }

    /// The programs of the service that take part: the built one, and with `--against` the other one.
    pub(crate) fn programs(&self) -> Vec<Program> {
        [Program::Built].into_iter().chain(self.against.clone().map(Program::At)).collect()
    }

    /// The order in which the programs have this turn, as indexes of [`Self::programs`]. It alternates from turn to turn.
    pub(crate) fn order(&self, turn: usize) -> Vec<usize> {
        match self.against {
            None => vec![0],
            Some(_) => vec![turn % 2, 1 - turn % 2],
        }
    }
}

/// Whether a contestant has all words of a term. A number must be its number of callers or a word of its name; any other word
/// must be a part of its name. A word that begins with `-` must not be there.
fn matches(term: &str, (name, number): &Key) -> bool {
    let name = name.to_lowercase();
    let has = |word: &str| match word.parse::<usize>() {
        Ok(value) => value == *number || name.split([' ', ',']).any(|part| part == word),
        Err(_) => name.contains(word),
    };
    term.split_whitespace().all(|word| word.strip_prefix('-').map_or_else(|| has(word), |word| !has(word)))
}
