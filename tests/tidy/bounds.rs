//! The bounds of the benches: `docs/benchmarks.md` has the same ratios as the benches, with the same bounds.

use std::collections::BTreeMap;

use super::source::Source;

const DOCUMENT: &str = "docs/benchmarks.md";

/// The bound that a ratio must reach and the one that it aims at, by the name of the ratio.
type Bounds = BTreeMap<String, (f64, f64)>;

/// Returns each ratio whose bounds differ between the benches and the document, or that only one of them has.
pub(super) fn violations(sources: &[Source]) -> Vec<String> {
    let is_bench = |source: &&Source| source.path.starts_with("benches/");
    let measured: Bounds =
        sources.iter().filter(is_bench).flat_map(|source| source.text.lines().filter_map(in_bench)).collect();
    let document = sources.iter().filter(|source| source.path == DOCUMENT);
    let documented: Bounds = document.flat_map(|source| source.text.lines().flat_map(in_table)).collect();
    let names: std::collections::BTreeSet<_> = measured.keys().chain(documented.keys()).collect();
    let differs = |name: &&String| measured.get(*name) != documented.get(*name);
    let shown =
        |bounds: Option<&(f64, f64)>| bounds.map_or("none".to_owned(), |(must, aim)| format!("{must} and {aim}"));
    let differing = names.into_iter().filter(differs);
    differing
        .map(|name| {
            let (bench, document) = (shown(measured.get(name)), shown(documented.get(name)));
            format!("{name}: the bench has {bench}, {DOCUMENT} has {document}")
        })
        .collect()
}

/// Reads a line such as `ratio("list_showtimes_vs_echo", "list, postgres", 0.5, 0.8),`.
fn in_bench(line: &str) -> Option<(String, (f64, f64))> {
    let line = line.trim().strip_suffix(',')?.strip_suffix(')')?;
    let (_, rest) = line.split_once("(\"")?;
    let (name, rest) = rest.split_once('"')?;
    let mut numbers = rest.rsplitn(3, ", ");
    let (aim, must) = (numbers.next()?, numbers.next()?);
    Some((name.to_owned(), (must.parse().ok()?, aim.parse().ok()?)))
}

/// Reads a row such as "| `one`, `two` | what they compare | 0.5, at most 2.0 | 0.8, 1.5 |". If it names several ratios but
/// has one bound, that is the bound of each.
fn in_table(line: &str) -> Vec<(String, (f64, f64))> {
    let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").collect();
    let [names, _, must, aim] = cells[..] else { return Vec::new() };
    let bounds = |cell: &str| -> Vec<f64> {
        let number = |bound: &str| bound.trim().trim_start_matches("at most ").parse();
        cell.split(',').filter_map(|bound| number(bound).ok()).collect()
    };
    let (must, aim) = (bounds(must), bounds(aim));
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let names = names.split('`').skip(1).step_by(2).filter(is_name).enumerate();
    let nth = |bounds: &[f64], at: usize| bounds.get(at).or(bounds.last()).copied();
    names.filter_map(|(at, name)| Some((name.to_owned(), (nth(&must, at)?, nth(&aim, at)?)))).collect()
}
