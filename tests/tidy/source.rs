//! Reading the project's own files: the text, the code without comments and strings, and the paths that the code names.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file of the project.
pub(super) struct Source {
    /// The path from the root of the project, with `/`, such as `src/store/pools.rs`.
    pub(super) path: String,
    pub(super) text: String,
}

/// Files and folders that do not belong to the project or are not under version control.
const SKIPPED: [&str; 5] = [".git", "target", "node_modules", "boxoffice-data", "__pycache__"];

/// Returns every text file of the project.
pub(super) fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("a folder of the project can be read");
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| !SKIPPED.iter().any(|name| path.ends_with(name)));
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let inside = path.strip_prefix(root).expect("the path is below the root");
                found.push(Source { path: inside.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

impl Source {
    pub(super) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// Returns the code with blanks instead of comments and strings. Line numbers do not change.
    pub(super) fn code(&self) -> String {
        strip(&self.text)
    }

    /// Returns the code that is compiled into the program. Unit tests, at the end of a file or in a file of their own, are
    /// left out.
    pub(super) fn product(&self) -> String {
        if self.path.contains("/tests/") || self.path.ends_with("/tests.rs") {
            return String::new();
        }
        let code = self.code();
        let end = ["\n#[cfg(test)]\nmod tests {", "\n#[cfg(test)]\npub(crate) mod tests {"]
            .iter()
            .find_map(|start| code.find(start))
            .unwrap_or(code.len());
        code[..end].to_owned()
    }
}

/// Blanks out comments, strings and characters.
pub(super) fn strip(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = blank_length(rest, code.chars().next_back());
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// Returns the length of the comment, string or character with which `rest` starts, or 0 if it starts with code.
fn blank_length(rest: &str, before: Option<char>) -> usize {
    let after = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return after("*/", 2);
    }
    let word_goes_on = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !word_goes_on);
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return after(&format!("\"{}", "#".repeat(hashes)), rest.len() - raw.len() + hashes + 1);
        }
    }
    let quote = match rest.as_bytes() {
        [b'"', ..] => '"',
        // A character such as `'a'` or `'\n'`, and not a lifetime.
        [b'\'', b'\\', ..] => '\'',
        [b'\'', ..] if rest.chars().nth(2) == Some('\'') => '\'',
        _ => return 0,
    };
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A path that the code names, such as `["crate", "pb", "movies"]`, and the line where it starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) line: usize,
    /// Whether this is certainly a path, and not the name of a variable.
    pub(super) sure: bool,
    pub(super) path: Vec<String>,
}

/// Returns every path that the code names. `use a::{b, c::d}` has two paths.
pub(super) fn paths(code: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let word = word_length(rest);
        if word == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        // `x::tonic` is a name in `x`, but `::tonic` is the crate.
        let before = code[..at].trim_end();
        let owner = before.strip_suffix("::").map(str::trim_end);
        let goes_on = owner.is_some_and(|owner| owner.ends_with(|c: char| c.is_alphanumeric() || "_>".contains(c)));
        if goes_on {
            at += word;
        } else {
            let line = code[..at].matches('\n').count() + 1;
            at += expand(rest, &[], (line, before.ends_with("use")), &mut found);
        }
    }
    found
}

/// Reads the path with which `text` starts, and returns its length.
fn expand(text: &str, prefix: &[String], (line, imported): (usize, bool), found: &mut Vec<Named>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if text[at..].starts_with('{') {
            at += 1;
            while !text[at..].is_empty() && !text[at..].starts_with('}') {
                let skipped = text[at..].find(|c: char| c == '}' || c == '*' || c == '{' || is_word(c));
                at += skipped.unwrap_or(text.len() - at);
                if text[at..].starts_with('}') {
                    break;
                }
                let length = expand(&text[at..], &path, (line, imported), found);
                // An alias, `as b`, is not a path of its own.
                at += length.max(1);
                at += text[at..].find([',', '}']).unwrap_or(0);
            }
            return (at + 1).min(text.len());
        }
        let word = word_length(&text[at..]);
        path.push(text[at..at + word].to_owned());
        at += word;
        let next = text[at..].trim_start();
        let joined = next.strip_prefix("::").map(str::trim_start);
        match joined {
            Some(joined) if joined.starts_with('{') || word_length(joined) > 0 => at = text.len() - joined.len(),
            _ => break,
        }
    }
    found.push(Named { line, sure: path.len() > 1 || imported, path });
    at
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { text.find(|c| !is_word(c)).unwrap_or(text.len()) }
}
