//! The rule of the architecture: which room may name which other rooms and crates.

use super::source::{Named, Source, paths};

/// The crates that a room may name.
enum Crates {
    /// These crates and the standard library.
    Only(&'static [&'static str]),
    /// All crates but these.
    Not(&'static [&'static str]),
}

struct Room {
    name: &'static str,
    /// Rooms, or paths in them: `pb::movies` allows that part of `pb` only.
    may_name: &'static [&'static str],
    crates: Crates,
}

const GRPC: [&str; 6] = ["tonic", "tonic_health", "tonic_prost", "tonic_reflection", "tonic_types", "tonic_web"];

const ROOMS: [Room; 20] = [
    Room {
        name: "domain",
        may_name: &[],
        // The last two crates are Unicode tables. The id of a customer is compared in NFC and has no invisible characters.
        crates: Crates::Only(&[
            "chrono",
            "chrono_tz",
            "serde",
            "thiserror",
            "uuid",
            "unicode_normalization",
            "unicode_properties",
        ]),
    },
    Room {
        name: "store",
        may_name: &["domain", "background", "clock", "telemetry"],
        crates: Crates::Not(&["redis", "axum"]),
    },
    Room {
        name: "ledger",
        may_name: &["domain", "store", "background", "clock", "telemetry"],
        crates: Crates::Not(&["axum"]),
    },
    Room {
        name: "feed",
        may_name: &["domain", "store", "background", "clock", "telemetry", "pb::boxoffice::events"],
        crates: Crates::Not(&["axum", "redis"]),
    },
    Room {
        name: "sinks",
        may_name: &["feed", "store", "background", "clock", "telemetry"],
        crates: Crates::Not(&["axum"]),
    },
    Room {
        name: "upstream",
        may_name: &["domain", "pb::movies", "remote", "background", "clock", "telemetry"],
        crates: Crates::Not(&["axum"]),
    },
    Room {
        name: "payments",
        may_name: &["domain", "pb::payments", "pb::google", "remote", "background", "clock", "telemetry"],
        crates: Crates::Not(&["axum", "redis"]),
    },
    Room {
        name: "tickets",
        may_name: &["domain"],
        crates: Crates::Only(&["png", "qrcode", "ring", "thiserror", "uuid"]),
    },
    Room {
        name: "app",
        may_name: &[
            "tickets",
            "domain",
            "store",
            "ledger",
            "feed",
            "reports",
            "upstream",
            "payments",
            "background",
            "clock",
            "telemetry",
        ],
        crates: Crates::Not(&["axum", "redis"]),
    },
    Room {
        name: "grpc",
        may_name: &["app", "domain", "pb::boxoffice", "pb::google", "pb::DESCRIPTORS", "clock", "telemetry"],
        crates: Crates::Not(&["redis"]),
    },
    Room {
        name: "consumer",
        may_name: &["pb::boxoffice", "background", "clock", "telemetry"],
        crates: Crates::Not(&["axum", "redis"]),
    },
    Room {
        name: "reports",
        may_name: &["domain", "consumer", "background", "clock", "telemetry", "pb::boxoffice::events", "pb::google"],
        crates: Crates::Not(&["axum", "redis"]),
    },
    Room {
        name: "webhooks",
        may_name: &["consumer", "pb::boxoffice", "pb::DESCRIPTORS", "clock", "telemetry"],
        crates: Crates::Not(&["axum", "redis"]),
    },
    Room { name: "asyncapi", may_name: &["pb::DESCRIPTORS"], crates: Crates::Only(&["prost_reflect", "serde_json"]) },
    Room {
        name: "config",
        may_name: &["telemetry::cause"],
        // redis and rustls parse the options that are passed on to them, so that a value that they refuse is reported with
        // its option.
        crates: Crates::Only(&["clap", "redis", "rustls", "serde", "serde_json", "toml", "url"]),
    },
    Room { name: "remote", may_name: &["pb::DESCRIPTORS"], crates: Crates::Not(&["axum", "redis"]) },
    // The leaves, which nearly every room may name. They may name only each other.
    Room { name: "telemetry", may_name: &["clock"], crates: Crates::Not(&["redis"]) },
    Room { name: "background", may_name: &["telemetry"], crates: Crates::Only(&["tokio", "tokio_util", "tracing"]) },
    Room { name: "clock", may_name: &[], crates: Crates::Only(&["chrono", "uuid"]) },
    Room { name: "pb", may_name: &[], crates: Crates::Only(&["tonic", "prost", "prost_types"]) },
];

/// The modules that put everything together and may name every room.
const UNRESTRICTED: [&str; 3] = ["server", "main", "lib"];

/// The rooms that may name the crates of the database. Each has a database of its own.
const DATABASE_ROOMS: [&str; 3] = ["store", "reports", "webhooks"];

/// The rooms that may name the crates of gRPC.
const GRPC_ROOMS: [&str; 7] = ["grpc", "consumer", "upstream", "payments", "remote", "telemetry", "pb"];

/// Further paths that the files with this prefix may name.
const FURTHER: [(&str, &[&str]); 3] = [
    ("src/upstream/demo", &["pb::boxoffice::demo"]),
    ("src/payments/demo", &["pb::boxoffice::demo"]),
    // An event is stored in the form in which subscribers get it.
    ("src/store/outbox", &["pb::boxoffice::events", "pb::google"]),
];

/// Returns every import in a file of `src/` that the rule forbids. `crates` are the names of all dependencies.
pub(super) fn violations(source: &Source, crates: &[String]) -> Vec<String> {
    let Some(inside) = source.path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")) else {
        return Vec::new();
    };
    let modules: Vec<&str> = inside.split('/').collect();
    let home = modules[0];
    let room = ROOMS.iter().find(|room| room.name == home);
    if room.is_none() && !UNRESTRICTED.contains(&home) {
        return vec![format!("{}: there is no room called {home}", source.path)];
    }
    let named = paths(&source.product());
    let targets: Vec<_> = named.iter().map(|named| target(&named.path, modules.len())).collect();
    // After `use crate::pb;` a file may name `pb::movies::Empty`, which must be checked too.
    let whole: Vec<&String> =
        targets.iter().flatten().filter(|target| target.len() == 1).map(|target| &target[0]).collect();
    let mut found = Vec::new();
    for (Named { line, sure, path }, target) in named.iter().zip(&targets) {
        let reason = match target {
            Some(target) => room.and_then(|room| forbidden_room(room, target, &source.path)),
            None if *sure && whole.contains(&&path[0]) => {
                room.and_then(|room| forbidden_room(room, path, &source.path))
            }
            None if *sure && crates.contains(&path[0]) => forbidden_crate(room, home, &path[0]),
            None => None,
        };
        found.extend(reason.map(|reason| format!("{}:{line}: {reason}", source.path)));
    }
    found
}

/// Returns the path from the root of the crate if the path starts there, by `crate::` or by enough `super::`.
fn target(path: &[String], depth: usize) -> Option<&[String]> {
    let ups = path.iter().take_while(|word| *word == "super").count();
    let start = match path.first().map(String::as_str) {
        Some("crate") => 1,
        Some("super") if ups == depth => ups,
        _ => return None,
    };
    // `use crate::pb::{self}` names `pb`.
    let end = path.len() - usize::from(path.last().is_some_and(|word| word == "self"));
    let target = path.get(start..end)?;
    // In a unit test, `super::` is the module of the file. So a path is taken for a room only if it has the name of one.
    let is_room = |name: &String| ROOMS.iter().any(|room| room.name == name) || UNRESTRICTED.contains(&name.as_str());
    let leads_out = target.first().is_some_and(|first| path[0] == "crate" || is_room(first));
    leads_out.then_some(target)
}

fn forbidden_room(room: &Room, target: &[String], file: &str) -> Option<String> {
    let joined = target.join("::");
    let within = |path: &str, whole: &str| path == whole || path.starts_with(&format!("{whole}::"));
    let further = FURTHER.iter().filter(|(prefix, _)| file.starts_with(prefix)).flat_map(|(_, paths)| *paths);
    let mut allowed = room.may_name.iter().copied().chain(further.copied()).chain([room.name]);
    // A room may be named as a whole if a part of it is allowed. The paths inside it are checked where they are named.
    let permitted = allowed.any(|path| within(&joined, path) || target.len() == 1 && within(path, &joined));
    (!permitted).then(|| format!("{} may not name crate::{joined}", room.name))
}

fn forbidden_crate(room: Option<&Room>, home: &str, name: &str) -> Option<String> {
    let allowed = match (name, room.map(|room| &room.crates)) {
        ("sea_orm" | "sea_query" | "sqlx", _) => DATABASE_ROOMS.contains(&home),
        (name, Some(_)) if GRPC.contains(&name) => GRPC_ROOMS.contains(&home),
        (name, Some(Crates::Only(list))) => list.contains(&name),
        (name, Some(Crates::Not(list))) => !list.contains(&name),
        (_, None) => true,
    };
    (!allowed).then(|| format!("{home} may not name the crate {name}"))
}
