//! Names that are no option, and the option that was probably meant.

use std::{collections::BTreeMap, ffi::OsString};

use super::row::{PREFIX, Row};

/// A sentence for each environment variable that looks like one of ours and is none. It is a warning and not an error,
/// because an orchestrator may set such variables by itself.
pub(super) fn unknown_variables(environment: &BTreeMap<OsString, OsString>, options: &[Row]) -> Vec<String> {
    let variables: Vec<_> = options.iter().map(Row::variable).collect();
    let ours = environment.keys().map(|name| name.to_string_lossy().into_owned());
    ours.filter(|name| name.starts_with(PREFIX) && !variables.contains(name) && !is_service_link(name))
        .map(|name| format!("{name} is not an option{}", suggestion(&name, variables.iter().cloned())))
        .collect()
}

/// Kubernetes sets such variables for each service of the namespace, and one of those may be called `boxoffice`.
fn is_service_link(name: &str) -> bool {
    ["PORT", "SERVICE_HOST", "SERVICE_PORT"].iter().any(|link| {
        name.strip_prefix(PREFIX)
            .and_then(|name| name.strip_prefix(link))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })
}

/// The end of a sentence about a wrong name: the nearest right one, or nothing if none is near.
pub(super) fn suggestion(name: &str, names: impl Iterator<Item = String>) -> String {
    let nearest = names.map(|candidate| (distance(name, &candidate), candidate)).min();
    match nearest {
        Some((distance, candidate)) if distance * 4 <= name.len() => format!("; did you mean {candidate}?"),
        _ => String::new(),
    }
}

/// How many letters must be added, dropped or changed to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.bytes().enumerate() {
        let mut next = vec![row + 1];
        for (column, b) in other.bytes().enumerate() {
            let changed = last[column] + usize::from(a != b);
            next.push(changed.min(last[column + 1] + 1).min(next[column] + 1));
        }
        last = next;
    }
    last[other.len()]
}
