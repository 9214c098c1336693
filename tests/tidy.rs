//! Rules for the project's files: which room may import which, how long files and functions may be, and what must not be written.
//!
//! The rules replace the boundaries between the crates of a workspace. They read text, so they rely on the indentation of
//! rustfmt, and they do not see a path that a macro composes. For each rule a test shows that it catches a violation.

mod bounds;
mod cycles;
mod rooms;
mod source;

use self::source::{Source, is_word, paths};

const LONGEST_FILE: usize = 400;
const LONGEST_FUNCTION: usize = 70;
const LONGEST_MAIN: usize = 40;
const LONGEST_README: usize = 250;

/// Words that must not be written, each with the file that is the exception, if there is one.
const BANNED: [(&str, Option<&str>); 14] = [
    ("todo!", None),
    ("dbg!", None),
    ("unimplemented!", None),
    ("#[ignore", None),
    ("#[allow(", None),
    ("#![allow(", None),
    ("Utc::now", Some("src/clock.rs")),
    ("Local::now", Some("src/clock.rs")),
    ("SystemTime::now", Some("src/clock.rs")),
    ("Uuid::new_v4", Some("src/clock.rs")),
    ("Uuid::now_v7", Some("src/clock.rs")),
    ("env::var", Some("src/config.rs")),
    ("unbounded_channel", None),
    ("mpsc::channel()", None),
];

/// Functions that make SQL from text. They are allowed where statements were measured (see `docs/adr/`), and in the migrations.
const RAW_SQL: [&str; 8] = [
    "from_sql_and_values",
    "Statement::from_string",
    "query_one_raw",
    "query_all_raw",
    "execute_raw",
    "execute_unprepared",
    "find_by_statement",
    "sqlx::query",
];
const RAW_SQL_ALLOWED_IN: [&str; 4] =
    ["src/store/ledger.rs", "src/store/ledger/", "src/store/migrations", "src/reports/migrations"];

/// The number of entries of `BANNED` that apply to tests and benches too. These may read the clock.
const BANNED_EVERYWHERE: usize = 6;

fn too_long(source: &Source) -> Vec<String> {
    let limit = match source.path.as_str() {
        "src/main.rs" => LONGEST_MAIN,
        "README.md" => LONGEST_README,
        _ => LONGEST_FILE,
    };
    let lines = source.text.lines().count();
    if lines > limit { vec![format!("{}: {lines} lines, {limit} are allowed", source.path)] } else { Vec::new() }
}

fn long_functions(source: &Source) -> Vec<String> {
    let code = source.code();
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
        let ends = |line: &&str| line.trim_end().ends_with(['{', ';', '}']);
        let Some(body) = lines[start..].iter().position(ends) else { continue };
        if !lines[start + body].trim_end().ends_with('{') {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        let Some(length) = lines[start..].iter().position(|line| line.trim_end() == closing) else { continue };
        if length >= LONGEST_FUNCTION {
            let position = format!("{}:{}", source.path, start + 1);
            found.push(format!("{position}: a function of {} lines, {LONGEST_FUNCTION} are allowed", length + 1));
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    let words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub") || ["const", "async", "unsafe", "extern", "in"].contains(word) || word.ends_with(')')
    });
    words.take(1).any(|word| word == "fn")
}

fn banned(source: &Source) -> Vec<String> {
    let product = source.path.starts_with("src/");
    let rules = if product { &BANNED[..] } else { &BANNED[..BANNED_EVERYWHERE] };
    let mut found = Vec::new();
    for (number, line) in source.code().lines().enumerate() {
        for (word, exception) in rules {
            let written = line.match_indices(word).any(|(at, _)| !line[..at].ends_with(is_word));
            if written && *exception != Some(&source.path) {
                found.push(format!("{}:{}: {word} must not be written here", source.path, number + 1));
            }
        }
    }
    found
}

fn raw_sql(source: &Source) -> Vec<String> {
    if RAW_SQL_ALLOWED_IN.iter().any(|prefix| source.path.starts_with(prefix)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in source.product().lines().enumerate() {
        for word in RAW_SQL.iter().filter(|word| line.contains(**word)) {
            found.push(format!("{}:{}: {word} makes SQL from text outside the ledger", source.path, number + 1));
        }
    }
    found
}

fn without_introduction(source: &Source) -> Vec<String> {
    let introduced = source.text.starts_with("//!") || source.text.starts_with("#!/");
    if introduced { Vec::new() } else { vec![format!("{}: does not start with //!", source.path)] }
}

/// Finds folders of the author's machine. Their names are composed here so that this file does not break its own rule.
fn machine_paths(source: &Source) -> Vec<String> {
    let folders = [["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"], ["/wo", "rk/"]].map(|halves| halves.concat());
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        if let Some(folder) = folders.iter().find(|folder| names_folder(line, folder)) {
            found.push(format!("{}:{}: {folder} is a folder of one machine", source.path, number + 1));
        }
    }
    found
}

/// Whether a path starts with the folder. The path of `https://example.org/home/` does not.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-$}".contains(c)))
}

/// Finds private registries in lock files. Such a file works on one machine only, and publishes the name of the registry.
fn private_registries(source: &Source) -> Vec<String> {
    let name = source.path.rsplit('/').next().unwrap_or_default();
    let (key, public) = match name {
        "Cargo.lock" => ("source = \"", "source = \"registry+https://github.com/rust-lang/crates.io-index\""),
        "package-lock.json" => ("\"resolved\": \"http", "\"resolved\": \"https://registry.npmjs.org/"),
        "requirements.txt" => ("index-url", "nothing"),
        ".npmrc" => ("registry=", "nothing"),
        _ => return Vec::new(),
    };
    let private = source.text.lines().find(|line| line.contains(key) && !line.contains(public));
    private.map(|line| format!("{}: not from a public registry: {}", source.path, line.trim())).into_iter().collect()
}

/// Returns the names of all dependencies as code writes them.
fn dependencies(manifest: &str) -> Vec<String> {
    let table: toml::Table = toml::from_str(manifest).expect("Cargo.toml is TOML");
    let names = |section: &str| table.get(section).and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let both = names("dependencies").into_iter().chain(names("dev-dependencies"));
    both.map(|(name, _)| name.replace('-', "_")).chain(["sqlx".to_owned(), "sea_query".to_owned()]).collect()
}

/// Returns each `file::test` that a table names as the proof of its row and that does not exist. The file is in `tests/`, or in
/// `src/` if its name has a `/`.
fn unproven(guarantees: &Source) -> Vec<String> {
    let rows = guarantees.text.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let named = rows.flat_map(|(at, line)| line.split('`').skip(1).step_by(2).map(move |name| (at + 1, name)));
    let tests = named.filter_map(|(line, name)| Some((line, name.split_once("::")?)));
    let missing = tests.filter(|(_, (file, test))| {
        let folder = if file.contains('/') { "src" } else { "tests" };
        let path = format!("{}/{folder}/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        !Source { path: String::new(), text }.code().contains(&format!("fn {test}("))
    });
    missing.map(|(line, (file, test))| format!("{}:{line}: there is no test {file}::{test}", guarantees.path)).collect()
}

fn assert_tidy(rule: impl Fn(&Source) -> Vec<String>, applies: impl Fn(&Source) -> bool) {
    let sources: Vec<Source> = source::all().into_iter().filter(applies).collect();
    assert!(!sources.is_empty(), "the rule was applied to no file at all");
    let found: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[track_caller]
fn assert_caught(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str, expected: &[&str]) {
    let found = rule(&Source { path: path.to_owned(), text: text.to_owned() });
    let matching = found.len() == expected.len() && found.iter().zip(expected).all(|(one, part)| one.contains(part));
    assert!(matching, "expected {expected:?}, found {found:?}");
}

#[test]
fn rooms_import_only_what_they_may() {
    let crates = dependencies(include_str!("../Cargo.toml"));
    assert_tidy(|source| rooms::violations(source, &crates), |source| source.path.starts_with("src/"));
}

#[test]
fn a_forbidden_import_is_caught() {
    let crates = dependencies(include_str!("../Cargo.toml"));
    let caught = |path: &str, text: &str, expected: &[&str]| {
        assert_caught(|source| rooms::violations(source, &crates), path, text, expected);
    };
    caught("src/domain/money.rs", "use std::fmt;\nuse tokio::time;", &[":2: domain may not name the crate tokio"]);
    caught(
        "src/domain/money.rs",
        "use crate::{domain::ids, clock::Clock};",
        &["domain may not name crate::clock::Clock"],
    );
    caught("src/domain/money.rs", "use super::super::store;", &["domain may not name crate::store"]);
    caught("src/domain.rs", "fn f() { super::app::g() }", &["domain may not name crate::app::g"]);
    caught("src/store/pools.rs", "fn f(_: ::tonic::Status) {}", &["store may not name the crate tonic"]);
    caught("src/store/pools.rs", "use crate::{app::{App, Error as E}};", &["crate::app::App", "crate::app::Error"]);
    caught("src/app/movies.rs", "use crate::pb;\nuse sea_orm::{A, B};", &["crate::pb", ":2: ", ":2: "]);
    caught("src/app/movies.rs", "use redis::aio;", &["app may not name the crate redis"]);
    caught("src/grpc/movies.rs", "use crate::{store, upstream as u};", &["crate::store", "crate::upstream"]);
    caught("src/grpc/movies.rs", "use crate::pb::movies;", &["crate::pb::movies"]);
    caught("src/grpc/movies.rs", "use crate::pb::{self};\nfn f(_: pb::movies::Empty) {}", &[":2: grpc may not name"]);
    caught("src/grpc/movies.rs", "pub(crate) mod a;\nuse crate::pb;\nfn f(_: pb::boxoffice::v1::Movie) {}", &[]);
    caught("src/upstream/cache.rs", "use crate::pb::{movies::A, boxoffice::demo::v1};", &["crate::pb::boxoffice"]);
    caught(
        "src/upstream/demo/faults.rs",
        "use crate::pb::boxoffice::{demo::v1, v1::Movie};",
        &["boxoffice::v1::Movie"],
    );
    caught("src/payments/gateway.rs", "use crate::{upstream::Movies, pb::boxoffice::demo};", &["upstream", "demo"]);
    caught("src/server.rs", "use sea_orm::Database;", &["server may not name the crate sea_orm"]);
    caught("src/config/cli.rs", "use crate::store;\nuse tokio::fs;", &["crate::store", "the crate tokio"]);
    caught("src/attic/old.rs", "", &["no room called attic"]);

    // Text that only looks like a forbidden import.
    caught("src/domain/money.rs", "// use tokio::time;\nconst A: &str = \"crate::app\"; fn f() { x::tokio::y() }", &[]);
    caught("src/domain/money.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use proptest::prelude::*;\n}\n", &[]);
    caught("src/grpc/movies.rs", "use crate::{app::App, pb::boxoffice::v1::{self as pb, Movie}};", &[]);
    caught("src/store/pools.rs", "use super::{entities::*, super::super::x};\nuse crate::store::facts;", &[]);
}

#[test]
fn files_of_a_room_do_not_import_each_other_in_a_circle() {
    let found = cycles::violations(&source::all());
    assert!(found.is_empty(), "{} circles:\n{}", found.len(), found.join("\n"));
    let circle = |files: &[(&str, &str)]| {
        let source = |(path, text): &(&str, &str)| Source { path: (*path).to_owned(), text: (*text).to_owned() };
        cycles::violations(&files.iter().map(source).collect::<Vec<_>>())
    };
    // Two files of one folder import each other, then a file and its child, then three files in a circle.
    let found = circle(&[("src/a/b.rs", "use super::c::X;"), ("src/a/c.rs", "fn f() { crate::a::b::g() }")]);
    assert_eq!(found, ["a circle of 2 files: src/a/b.rs -> src/a/c.rs, src/a/c.rs -> src/a/b.rs"]);
    assert_eq!(circle(&[("src/a.rs", "use b::X;"), ("src/a/b.rs", "use super::{Y, Z};")]).len(), 1);
    let three = [("src/a.rs", "use super::b;"), ("src/b.rs", "use super::c::X;"), ("src/c.rs", "use crate::a;")];
    assert_eq!(circle(&three).len(), 1);
    // A re-export is not an import, and an import of tests does not count.
    assert!(
        circle(&[("src/a.rs", "pub use b::X;\npub(crate) use b::{Y, Z};"), ("src/a/b.rs", "use super::X;")]).is_empty()
    );
    let test = "\n#[cfg(test)]\nmod tests {\n    use super::super::b::X;\n}\n";
    assert!(circle(&[("src/a.rs", test), ("src/b.rs", "use crate::a::X;")]).is_empty());
}

#[test]
fn sql_is_made_from_text_in_the_ledger_only() {
    assert_tidy(raw_sql, |source| source.path.starts_with("src/"));
    assert_caught(
        raw_sql,
        "src/store/showtimes.rs",
        "let s = Statement::from_sql_and_values(b, sql, v);",
        &["from_sql"],
    );
    assert_caught(raw_sql, "src/app/movies.rs", "sqlx::query(\"SELECT 1\")", &["sqlx::query"]);
    assert_caught(raw_sql, "src/store/ledger/postgres.rs", "sqlx::query(text)", &[]);
}

#[test]
fn files_are_short() {
    assert_tidy(too_long, |source| source.is_rust() || source.path == "README.md");
    assert_caught(too_long, "src/a.rs", &"x\n".repeat(LONGEST_FILE + 1), &["401 lines"]);
    assert_caught(too_long, "src/a.rs", &"x\n".repeat(LONGEST_FILE), &[]);
    assert_caught(too_long, "README.md", &"x\n".repeat(LONGEST_README + 1), &["251 lines"]);
    assert_caught(too_long, "src/main.rs", &"x\n".repeat(LONGEST_MAIN + 1), &["41 lines"]);
}

#[test]
fn functions_are_short() {
    assert_tidy(long_functions, Source::is_rust);
    let function = |head: &str, lines: usize| format!("{head} {{\n{}}}\n", "    x();\n".repeat(lines));
    for head in ["fn f()", "pub(crate) async fn f()", "pub const fn f<T>(\n    a: T,\n) -> T\nwhere\n    T: Copy,"] {
        let signature = head.lines().count();
        let longest = LONGEST_FUNCTION - signature - 1;
        assert_caught(long_functions, "src/a.rs", &function(head, longest), &[]);
        assert_caught(long_functions, "src/a.rs", &function(head, longest + 1), &[":1: a function of 71 lines"]);
    }
    let between = format!("trait A {{\n    fn f();\n}}\nfn g() {{}}\n{}", "struct B;\n".repeat(LONGEST_FUNCTION));
    assert_caught(long_functions, "src/a.rs", &between, &[]);
}

#[test]
fn banned_words_are_not_written() {
    assert_tidy(banned, Source::is_rust);
    for (word, _) in BANNED {
        assert_caught(banned, "src/app/a.rs", &format!("fn f() {{}}\n{word}"), &[word]);
    }
    assert_caught(banned, "src/clock.rs", "Utc::now()", &[]);
    assert_caught(banned, "tests/a.rs", "SystemTime::now()", &[]);
    assert_caught(banned, "tests/a.rs", "#[ignore = \"later\"]", &["#[ignore"]);
    assert_caught(banned, "src/app/a.rs", "// todo!\nlet a = \"dbg!\"; let b = '\"'; my_unbounded_channels", &[]);
}

#[test]
fn files_start_with_an_introduction() {
    assert_tidy(without_introduction, Source::is_rust);
    assert_caught(without_introduction, "src/a.rs", "use std::fmt;", &["does not start with //!"]);
}

#[test]
fn no_file_names_a_folder_or_registry_of_one_machine() {
    assert_tidy(|source| [machine_paths(source), private_registries(source)].concat(), |_| true);
    let folder = ["/ho", "me/somebody"].concat();
    assert_caught(machine_paths, "README.md", &format!("see {folder}/notes"), &["is a folder of one machine"]);
    assert_caught(machine_paths, "README.md", &format!("see https://example.org{folder}"), &[]);
    let lock = "  \"resolved\": \"https://registry.example/left-pad.tgz\"";
    assert_caught(private_registries, "tests/clients/node/package-lock.json", lock, &["registry.example"]);
    let lock = "source = \"registry+https://crates.example/index\"";
    assert_caught(private_registries, "Cargo.lock", lock, &["crates.example"]);
}

#[test]
fn every_test_that_guarantees_name_exists() {
    assert_tidy(unproven, |source| source.path == "docs/guarantees.md");
    let rows =
        "| one | `tidy::every_test_that_guarantees_name_exists` |\n| two | `tidy::missing`, `missing::missing` |";
    assert_caught(unproven, "docs/guarantees.md", rows, &[":2: there is no test tidy::missing", "missing::missing"]);
}

#[test]
fn every_test_that_the_table_of_limits_names_exists() {
    let operations = include_str!("../docs/operations.md");
    let (_, limits) = operations.split_once("\n## Limits").expect("the section with the limits");
    let (table, _) = limits.split_once("\n## ").expect("a section after it");
    let table = Source { path: "docs/operations.md".to_owned(), text: table.to_owned() };
    assert!(table.text.contains("`grpc/connections/tests::") && table.text.contains("`wire::"));
    assert_eq!(unproven(&table), Vec::<String>::new());
    assert_caught(unproven, "docs/operations.md", "| 1 | `server/listener::no` |", &["server/listener::no"]);
}

#[test]
fn the_bounds_of_the_benches_are_documented() {
    let found = bounds::violations(&source::all());
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
    let found = |bench: &str, row: &str| {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        bounds::violations(&[source("benches/a.rs", bench), source("docs/benchmarks.md", row)])
    };
    let bench = "        Ratio::at_most(\"one_vs_two\", single(table), 2.0, 1.5),";
    assert!(found(bench, "| `one_vs_two` | this with that | at most 2.0 | 1.5 |").is_empty());
    for row in ["| `one_vs_two` | this with that | at most 2.1 | 1.5 |", "| `two` | this with that | 2 | 1 |", ""] {
        assert!(found(bench, row).iter().any(|one| one.starts_with("one_vs_two: the bench has 2 and 1.5")), "{row}");
    }
    assert_eq!(found("", "| `one`, `two` | this with that | 2 | 1, 3 |").len(), 2, "no bench has these ratios");
}

#[test]
fn the_scanner_expands_braces() {
    let code = "use a::{b, c::{d as e, *}, self};\nlet x = f::<g::H>(i::j);";
    let found: Vec<String> = paths(code).iter().map(|named| named.path.join("::")).collect();
    for path in ["a::b", "a::c::d", "a::self", "g::H", "i::j"] {
        assert!(found.iter().any(|one| one == path), "{path} is not in {found:?}");
    }
}
