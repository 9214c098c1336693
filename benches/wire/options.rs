//! The options of a bench: `--rounds 7 --seconds 3 --only 'list 256'`.

use super::table::Key;

/// What the command line asks for.
pub(crate) struct Options {
    /// Rounds in which every contestant takes its turn.
    pub(crate) rounds: usize,
    /// Seconds of a turn, after its warm-up.
    pub(crate) seconds: f64,
    /// Terms of `--only`. A contestant takes part if one of them selects it, or if there are none.
    only: Vec<String>,
}

impl Options {
    /// Reads the arguments of the bench. Cargo adds `--bench`, which is ignored.
    pub(crate) fn parse(arguments: &[String]) -> Self {
        let mut options = Self { rounds: 5, seconds: 2.0, only: Vec::new() };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{name} takes a value"));
            match name.as_str() {
                "--rounds" => options.rounds = value().parse().expect("--rounds takes a whole number"),
                "--seconds" => options.seconds = value().parse().expect("--seconds takes a number"),
                "--only" => options.only = value().to_lowercase().split(',').map(str::to_owned).collect(),
                "--bench" => {}
                other => panic!("unknown option {other}; there are --rounds, --seconds and --only"),
            }
        }
        options
    }

    /// Whether this contestant takes part.
    pub(crate) fn selects(&self, key: &Key) -> bool {
        self.only.is_empty() || self.only.iter().any(|term| matches(term, key))
    }

    /// Whether all contestants take part, so that the figures are worth writing to a file.
    pub(crate) fn is_complete(&self) -> bool {
        self.only.is_empty()
    }
}

/// Whether a contestant has all words of a term: a number as its number of callers or as a word of its name, any other
/// word as a part of its name. A word that begins with `-` must not be there.
fn matches(term: &str, (name, number): &Key) -> bool {
    let name = name.to_lowercase();
    let has = |word: &str| match word.parse::<usize>() {
        Ok(wanted) => wanted == *number || name.split([' ', ',']).any(|part| part == word),
        Err(_) => name.contains(word),
    };
    term.split_whitespace().all(|word| word.strip_prefix('-').map_or_else(|| has(word), |word| !has(word)))
}
