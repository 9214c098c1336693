//! The schema: the release before can use a database after every migration, and a database says which releases can use it.

use std::{fs, path::Path};

use sea_orm::{ConnectionTrait as _, Statement};

use crate::harness::{Store, World, create_auditorium, events::feed, in_hours, new_showtime};

/// The rule applies to migrations from this version on (see `src/store/migrations.rs`).
const FIRST_CHECKED: u32 = 6;

/// One statement of a migration, in capitals and without comments, and the comments at its lines and directly above it.
#[derive(Default)]
struct SqlStatement {
    code: String,
    comments: String,
}

fn statements(text: &str) -> Vec<SqlStatement> {
    let mut found = vec![SqlStatement::default()];
    for line in text.lines() {
        let (code, comment) = line.split_once("--").unwrap_or((line, ""));
        let mut last = found.pop().unwrap_or_default();
        // An empty line ends the comments that belong to the next statement.
        if line.trim().is_empty() && last.code.trim().is_empty() {
            last = SqlStatement::default();
        }
        last.comments.push_str(&comment.to_lowercase());
        let mut parts = code.split(';');
        last.code.push_str(parts.next().unwrap_or_default());
        last.code.push(' ');
        found.push(last);
        found.extend(parts.map(|part| SqlStatement { code: format!("{part} "), comments: String::new() }));
    }
    for statement in &mut found {
        statement.code = statement.code.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase();
    }
    found.retain(|statement| !statement.code.is_empty());
    found
}

/// Returns why the release before could not use the schema after this statement.
fn contraction(code: &str) -> Option<&'static str> {
    let words: Vec<&str> =
        code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    let has = |words: &[&str], phrase: &[&str]| words.windows(phrase.len()).any(|window| window == phrase);
    let alters = words.starts_with(&["ALTER", "TABLE"]);
    let adds_required = || {
        let clauses = top_level_clauses(code);
        clauses.iter().any(|clause| {
            let words: Vec<&str> = clause.split_whitespace().collect();
            has(&words, &["ADD"]) && has(&words, &["NOT", "NULL"]) && !words.contains(&"DEFAULT")
        })
    };
    match () {
        () if words.contains(&"DROP") => Some("drops something"),
        () if words.contains(&"RENAME") => Some("renames something"),
        () if alters && words.contains(&"TYPE") => Some("changes a type"),
        () if alters && has(&words, &["SET", "NOT", "NULL"]) => Some("requires a column"),
        () if alters && adds_required() => Some("adds a required column without a default"),
        () => None,
    }
}

/// Splits a statement at the commas outside parentheses.
fn top_level_clauses(code: &str) -> Vec<String> {
    let (mut clauses, mut depth) = (vec![String::new()], 0);
    for character in code.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                clauses.push(String::new());
                continue;
            }
            _ => {}
        }
        clauses.last_mut().expect("there is a first clause").push(character);
    }
    clauses
}

/// Whether a comment names the release that made a contraction safe: "Safe since 0.4.0".
fn names_a_release(comments: &str) -> bool {
    comments.split("safe since ").skip(1).any(|rest| {
        let release: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let numbers: Vec<&str> = release.trim_end_matches('.').split('.').collect();
        numbers.len() == 3 && numbers.iter().all(|number| !number.is_empty())
    })
}

/// Returns the statements of a migration that break the rule.
fn violations(text: &str) -> Vec<String> {
    let contracting = statements(text).into_iter().filter(|statement| !names_a_release(&statement.comments));
    contracting.filter_map(|SqlStatement { code, .. }| Some(format!("{}: {code}", contraction(&code)?))).collect()
}

#[test]
fn the_release_before_can_use_every_migrated_database() {
    let mut read = 0;
    for store in ["postgres", "sqlite"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(store);
        for file in fs::read_dir(folder).expect("the migrations").flatten() {
            let name = file.file_name().into_string().expect("a name is text");
            if name[..4].parse::<u32>().expect("a name begins with its version") >= FIRST_CHECKED {
                let found = violations(&fs::read_to_string(file.path()).expect("a migration is text"));
                assert!(found.is_empty(), "{store}/{name} breaks programs of the release before: {found:#?}");
                read += 1;
            }
        }
    }
    assert!(read >= 2, "the rule was applied to {read} files");
}

#[test]
fn a_migration_that_contracts_the_schema_is_caught() {
    for (sql, expected) in [
        ("DROP TABLE a;", "drops"),
        ("-- Safe now.\nDROP INDEX a;", "drops"),
        ("ALTER TABLE a DROP COLUMN b;", "drops"),
        ("ALTER TABLE a\n    ADD COLUMN c text,\n    DROP CONSTRAINT d;", "drops"),
        ("ALTER TABLE a RENAME TO b;", "renames"),
        ("alter table a rename column b to c;", "renames"),
        ("ALTER TABLE a ALTER COLUMN b TYPE bigint;", "a type"),
        ("ALTER TABLE a ALTER b SET DATA TYPE text COLLATE \"C\";", "a type"),
        ("ALTER TABLE a ALTER COLUMN b SET NOT NULL;", "requires"),
        ("ALTER TABLE a ADD COLUMN b text NOT NULL;", "a required column"),
        ("ALTER TABLE a ADD b text NOT NULL, ADD COLUMN c integer NOT NULL DEFAULT 0;", "a required column"),
        ("-- Safe since 0.4.0: nobody reads it.\nDROP TABLE a;\nDROP TABLE b;", "drops something: DROP TABLE B"),
        ("-- Safe since 0.4.0: nobody reads it.\n\nDROP TABLE a;", "drops"),
        ("-- Safe since the next release.\nDROP TABLE a;", "drops"),
        ("CREATE FUNCTION f() AS $$ BEGIN DELETE FROM a; END $$; DROP TRIGGER t ON a;", "drops"),
    ] {
        let found = violations(sql);
        assert!(found.len() == 1 && found[0].contains(expected), "{sql}: {found:?}");
    }
    for sql in [
        "CREATE TABLE a (b text NOT NULL, c text NOT NULL DEFAULT ''); -- DROP TABLE a;",
        "ALTER TABLE a ADD COLUMN b text, ADD COLUMN c integer NOT NULL DEFAULT 0 CHECK (c IN (0, 1));",
        "-- Safe since 0.4.0: nobody reads it any more.\nALTER TABLE a DROP COLUMN b;",
        "ALTER TABLE a DROP COLUMN b; -- safe since 0.10.2",
        "UPDATE a SET dropped = renamed_type;",
    ] {
        assert_eq!(violations(sql), Vec::<String>::new(), "{sql}");
    }
}

/// Changes the database as a later release would: it has a migration that this program does not know.
async fn migrated_by_a_later_release(world: &World, usable_from: i64) {
    let migration = "INSERT INTO schema_migrations (version, name, checksum) VALUES (9998, 'from the future', 'none')";
    let compatibility = format!("UPDATE schema_compatibility SET usable_from = {usable_from}");
    for statement in [migration, &compatibility] {
        let done = world.storage.sql(statement).await.expect("a row is written");
        assert_eq!(done.rows_affected(), 1, "{statement}");
    }
}

async fn newest_migration(world: &World) -> i64 {
    number(world, "SELECT max(version) AS found FROM schema_migrations").await
}

async fn number(world: &World, sql: &str) -> i64 {
    let connection = world.storage.connect().await;
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await.expect("the query is valid").expect("there is a row");
    connection.close().await.expect("a connection closes");
    row.try_get("", "found").expect("a number")
}

#[tokio::test]
async fn a_newer_database_is_used_if_it_says_that_it_can_be() {
    for store in [Store::Sqlite, Store::Postgres] {
        let world = World::start(store).await;
        world.stop().await;
        let newest = newest_migration(&world).await;
        migrated_by_a_later_release(&world, newest).await;
        for migrate in ["auto", "manual"] {
            let server = world.setup().clone().with("--migrate", migrate).start().await;
            let auditorium = create_auditorium(server.auditoriums()).await.auditorium_id;
            let request = new_showtime(&auditorium, in_hours(0));
            server.showtimes().create_showtime(request).await.expect("the database can be used");
            server.stop().await;
        }
        let migration = world.setup().command("migrate").output().expect("the binary runs");
        assert!(migration.status.success(), "{migration:?}");
        assert_eq!(newest_migration(&world).await, 9998, "nothing was applied or removed");
    }
}

#[tokio::test]
async fn a_newer_database_is_refused_if_it_does_not_say_that_it_can_be_used() {
    for store in [Store::Sqlite, Store::Postgres] {
        let world = World::start(store).await;
        world.stop().await;
        let newest = newest_migration(&world).await;
        migrated_by_a_later_release(&world, newest + 1).await;
        let expected = format!(
            "the database is at migration 9998, newer than this program's {newest}, and can be used from {} on: use a \
             newer boxoffice",
            newest + 1
        );
        let assert_start_fails = async || {
            for migrate in ["auto", "manual"] {
                let (code, printed) = world.setup().clone().with("--migrate", migrate).failed_start().await;
                assert_ne!(code, Some(0), "{printed}");
                let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(printed.contains(&expected) || printed.contains("can be used from 9998 on"), "{printed}");
            }
        };
        assert_start_fails().await;
        world.storage.sql("DELETE FROM schema_compatibility").await.expect("the row is deleted");
        assert_start_fails().await;
    }
}

/// Showtimes of the release before get their cinema when the database is migrated, and those that it inserts later do, too.
#[tokio::test]
async fn showtimes_of_the_release_before_have_a_cinema() {
    for store in [Store::Sqlite, Store::Postgres] {
        let world = World::start(store).await;
        let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
        world.showtimes().create_showtime(new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free");
        world.stop().await;
        let (undo, id) = match store {
            Store::Sqlite => {
                ("DROP TRIGGER showtimes_fill_cinema; DROP TRIGGER outbox_is_fed; DROP TABLE feed;", "randomblob(16)")
            }
            Store::Postgres => (
                "DROP FUNCTION showtimes_fill_cinema CASCADE; ALTER TABLE outbox DROP COLUMN xid; DROP VIEW feed; DROP TABLE feed_segments;",
                "gen_random_uuid()",
            ),
        };
        let undo = format!(
            "{undo} ALTER TABLE showtimes DROP COLUMN price_list; ALTER TABLE reservations DROP COLUMN lines; \
             DROP TABLE blocked_seats; DROP INDEX reservations_by_refund_due; ALTER TABLE reservations DROP COLUMN amendment; ALTER TABLE reservations DROP COLUMN refund_due_time; DROP INDEX reservations_without_purchase; ALTER TABLE reservations DROP COLUMN pay_until; ALTER TABLE reservations DROP COLUMN purchase_id; DROP TABLE tickets; DROP TABLE signing_keys; DROP TABLE secrets; DROP TABLE purchase_notes; DROP TABLE refund_notes; DROP TABLE refunds; DROP TABLE money_entries; DROP TABLE payments; DROP TABLE purchases; \
             ALTER TABLE outbox DROP COLUMN event_count; DROP TABLE dead_letters; DROP TABLE sinks; DROP TABLE feed_head; DROP INDEX showtimes_by_cinema; ALTER TABLE showtimes DROP COLUMN cinema; \
             DROP TABLE schema_compatibility; DELETE FROM schema_migrations WHERE version >= 6"
        );
        world.storage.sql(&undo).await.expect("the migration is undone");
        world.setup().clone().start().await.stop().await;
        let columns = "auditorium_id, movie_id, movie, start_time, end_time, free_again, local_date, currency, \
             price_minor, hold_us, create_time";
        let insert = format!(
            "INSERT INTO showtimes (showtime_id, {columns}, state, cancel_time) \
             SELECT {id}, {columns}, 'cancelled', create_time FROM showtimes"
        );
        world.storage.sql(&insert).await.expect("the release before inserts like this");
        let with_cinema = "SELECT count(*) AS found FROM showtimes s JOIN auditoriums a USING (auditorium_id) \
             WHERE s.cinema = a.cinema";
        assert_eq!(number(&world, with_cinema).await, 2);
        // The event of the first showtime was there before events were counted, and is counted as one.
        let row = format!(
            "INSERT INTO outbox (aggregate, seq, last_seq, events, create_time) \
             SELECT {id}, 1, 1, events, create_time FROM outbox LIMIT 1"
        );
        world.storage.sql(&row).await.expect("an event is written");
        let server = world.setup().clone().start().await;
        feed(&server, 2).await;
        server.stop().await;
        let counted = match store {
            Store::Sqlite => {
                "SELECT count(*) AS found FROM feed WHERE position = 1 AND events_to IS NULL OR events_to = 2"
            }
            Store::Postgres => {
                "SELECT sum(cardinality(events)) AS found FROM feed_segments WHERE events_to = last AND 1 = ALL (events)"
            }
        };
        assert_eq!(number(&world, counted).await, 2);
    }
}
