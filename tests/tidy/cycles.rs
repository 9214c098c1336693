//! Finds files that import each other in a circle.
//!
//! A file imports another if a path in its code leads there: `crate::`, `self::` and `super::` are followed to the longest
//! part that is a file. A re-export (`pub use`) is not an import, because it only adds a second path to a name.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, is_word, paths};

/// The folders whose files are checked. Each is the root of the module paths below it.
const ROOTS: [&str; 2] = ["src", "benches"];

/// Entities name each other: a relation has two ends, and SeaORM declares both.
const RELATED: &str = "src/store/entities/";

/// The files that each file imports.
type Imports<'s> = BTreeMap<&'s str, BTreeSet<&'s str>>;

/// Returns each group of files that import each other in a circle, with these imports.
pub(super) fn violations(sources: &[Source]) -> Vec<String> {
    let imports = imports(sources);
    let mut reported = BTreeSet::new();
    let mut found = Vec::new();
    for file in imports.keys() {
        let circle: BTreeSet<_> =
            reachable(&imports, file).into_iter().filter(|other| reachable(&imports, other).contains(file)).collect();
        if circle.is_empty() || !reported.insert(circle.clone()) {
            continue;
        }
        let edges = circle.iter().flat_map(|from| {
            let inside = imports[from].iter().filter(|to| circle.contains(*to));
            inside.map(move |to| format!("{from} -> {to}"))
        });
        found.push(format!("a circle of {} files: {}", circle.len(), edges.collect::<Vec<_>>().join(", ")));
    }
    found
}

fn imports(sources: &[Source]) -> Imports<'_> {
    let files: BTreeMap<String, &str> =
        sources.iter().filter_map(|source| Some((module(source)?, &*source.path))).collect();
    let mut imports = Imports::new();
    for source in sources {
        let Some(own) = module(source) else { continue };
        let named = paths(&without_re_exports(&source.product()));
        let targets = named.iter().filter_map(|named| target(&own, &named.path, &files));
        let related = |path: &str| path.starts_with(RELATED) && source.path.starts_with(RELATED);
        let others = targets.filter(|path| *path != source.path && !related(path)).collect();
        imports.insert(&source.path, others);
    }
    imports
}

/// Returns the files to which imports lead from this one. The file itself is among them only if it is in a circle.
fn reachable<'s>(imports: &Imports<'s>, from: &str) -> BTreeSet<&'s str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = imports[from].iter().copied().collect();
    while let Some(file) = next.pop() {
        if found.insert(file) {
            next.extend(imports.get(file).into_iter().flatten());
        }
    }
    found
}

/// Returns the module path of a file, with the folder as its first part: `src::store::pools`. The roots have none, because
/// they only declare modules.
fn module(source: &Source) -> Option<String> {
    let path = source.path.strip_suffix(".rs")?;
    let (root, inside) = path.split_once('/')?;
    let is_root = ["lib", "main"].contains(&inside) || root == "benches" && !inside.contains('/') && is_bench(source);
    (ROOTS.contains(&root) && !is_root).then(|| path.replace('/', "::"))
}

fn is_bench(source: &Source) -> bool {
    source.code().contains("fn main(")
}

/// Returns the file to which a path leads, seen from the module `own`.
fn target<'s>(own: &str, path: &[String], files: &BTreeMap<String, &'s str>) -> Option<&'s str> {
    let own: Vec<&str> = own.split("::").collect();
    let ups = path.iter().take_while(|word| *word == "super").count();
    let (base, rest) = match path.first().map(String::as_str) {
        Some("crate") => (&own[..1], &path[1..]),
        Some("self") => (&own[..], &path[1..]),
        Some("super") => (own.get(..own.len().checked_sub(ups)?)?, &path[ups..]),
        // A child of this module.
        Some(_) if path.len() > 1 => (&own[..], path),
        _ => return None,
    };
    let mut parts: Vec<&str> = base.iter().copied().chain(rest.iter().map(String::as_str)).collect();
    while parts.len() > 1 {
        if let Some(file) = files.get(&parts.join("::")) {
            return Some(file);
        }
        parts.pop();
    }
    None
}

/// Blanks out what looks like an import and is not one: `pub use …;` with any visibility, and visibilities such as `pub(super)`.
fn without_re_exports(code: &str) -> String {
    let mut blanked = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("pub") {
        let (before, here) = rest.split_at(at);
        blanked.push_str(before);
        let begins_word = !before.ends_with(is_word);
        let end = if begins_word { blank_length(here) } else { "pub".len() };
        blanked.extend(here[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &here[end..];
    }
    blanked + rest
}

/// Returns the length of the visibility or of the re-export with which the text starts.
fn blank_length(text: &str) -> usize {
    let after = &text["pub".len()..];
    let visibility = if after.starts_with('(') { after.find(')').map_or(0, |end| end + 1) } else { 0 };
    let item = after[visibility..].trim_start();
    let is_use = item.strip_prefix("use").is_some_and(|name| !name.starts_with(is_word));
    let whole = text.find(';').filter(|_| is_use).map(|end| end + 1);
    whole.unwrap_or("pub".len() + visibility)
}
