//! Which source wins, what is refused and how, and that secrets are not printed.

use std::{fs, time::Duration};

use super::{Command, Config, Cors, DatabaseLocation, Migrate, OrphanSeats, Stop, cli, from, row::Row, variables};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn call(line: &str, environment: Pairs) -> Result<super::Parsed, Stop> {
    from(std::iter::once("boxoffice").chain(line.split_whitespace()), environment.iter().copied())
}

fn config(line: &str, environment: Pairs) -> Config {
    match call(line, environment).unwrap().command {
        Command::Serve(config) | Command::Migrate(config) | Command::CheckConfig { config, .. } => config,
        other => panic!("not a configuration of the service: {other:?}"),
    }
}

fn refusal(line: &str, environment: Pairs) -> String {
    let stop = call(line, environment).unwrap_err();
    assert_eq!(stop.exit_code(), 2);
    stop.to_string()
}

fn with_file(content: &str, line: &str, environment: Pairs) -> (String, Result<super::Parsed, Stop>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boxoffice.toml");
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let parsed = call(&format!("--config {path} {line}"), environment);
    (path, parsed)
}

#[test]
fn defaults_make_the_embedded_service() {
    let config = config("", &[]);
    assert_eq!(config.grpc.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.http.admin_listen.address().unwrap().to_string(), "127.0.0.1:9464");
    assert_eq!(config.database.location(), DatabaseLocation::Sqlite("./boxoffice-data/boxoffice.db".into()));
    assert_eq!(config.database.migrate, Migrate::Auto);
    assert!(config.cache.redis_url.is_none() && config.provider.provider_url.is_none() && config.wants_sample());
    assert_eq!(config.cinema.hold_duration, Duration::from_mins(10));
    assert_eq!(config.provider.provider_stale, Duration::from_hours(7 * 24));
    assert_eq!(config.limits.max_message_bytes, 262_144);
    assert_eq!(config.http.cors_origin, Cors::Listed(Vec::new()));
    assert_eq!((config.cinema.max_seats, config.cinema.max_customer_seats), (10, 10));
    assert_eq!(config.cinema.orphan_seats, OrphanSeats::Allow);
    assert!(config.seats.sweep);
    assert_eq!(config.seats.sweep_interval, Duration::from_secs(1));
    assert!(config.limits.coalesce_writes);
}

#[test]
fn values_are_read_from_flags() {
    let line = "--max-seats 4 --max-customer-seats 20 --sales-closing 15m --hold-extension 30s --orphan-seats refuse";
    let cinema = config(line, &[]).cinema;
    assert_eq!((cinema.max_seats, cinema.max_customer_seats), (4, 20));
    assert_eq!((cinema.sales_closing, cinema.hold_extension), (Duration::from_mins(15), Duration::from_secs(30)));
    assert_eq!(cinema.orphan_seats, OrphanSeats::Refuse);
    assert!(!config("--sweep=false --sweep-interval 5s", &[]).seats.sweep);
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let file = "turnaround = \"1m\"\nhold_duration = \"1m\"\nmax_requests = 7\ntrusted_network = true";
    let environment =
        [("BOXOFFICE_HOLD_DURATION", "2m"), ("BOXOFFICE_TURNAROUND", "2m"), ("BOXOFFICE_MAX_REQUESTS", "")];
    let (path, parsed) = with_file(file, "--hold-duration 3m check-config --trusted-network=false", &environment);
    let Command::CheckConfig { config, report } = parsed.unwrap().command else { panic!("another command") };
    assert_eq!(config.cinema.hold_duration, Duration::from_mins(3));
    assert_eq!(config.cinema.turnaround, Duration::from_mins(2));
    assert_eq!(config.limits.max_requests, 7, "an empty variable counts as none");
    assert_eq!(config.limits.max_connections, 10_000);
    for (line, source) in [
        ("hold_duration = \"3m\"", "--hold-duration"),
        ("turnaround = \"2m\"", "BOXOFFICE_TURNAROUND"),
        ("max_requests = 7", &format!("max_requests in {path}")),
        ("max_connections = 10000", "default"),
        ("trusted_network = false", "--trusted-network"),
    ] {
        let found = report.lines().any(|text| text.starts_with(line) && text.ends_with(&format!(" # {source}")));
        assert!(found, "{line} from {source} is not in\n{report}");
    }
    let again: toml::Table = toml::from_str(&report).unwrap();
    assert_eq!(again["hold_duration"].as_str(), Some("3m"), "what is shown can stand in a file");
}

#[test]
fn options_stand_before_and_after_the_subcommand_and_without_one() {
    for line in ["--listen 127.0.0.1:1", "serve --listen 127.0.0.1:1", "--listen 127.0.0.1:1 serve"] {
        assert_eq!(config(line, &[]).grpc.listen.port(), 1, "{line}");
    }
    assert_eq!(config("--listen 127.0.0.1:1 serve --listen 127.0.0.1:2", &[]).grpc.listen.port(), 2);
    assert!(refusal("--listen 127.0.0.1:1 demo-provider", &[]).contains("--listen before demo-provider"));
    assert!(call("--log-level debug demo-provider", &[]).is_ok());
}

#[test]
fn every_wrong_value_is_named_with_its_source_in_one_answer() {
    let file = "max_requests = 0\nhold_durations = \"1m\"\nprovider_fresh = 1.5";
    let environment = [("BOXOFFICE_HOLD_DURATION", "10"), ("BOXOFFICE_SAMPLE", "maybe")];
    let (path, parsed) = with_file(file, "--listen localhost:1 --turnaround 48h", &environment);
    let text = parsed.unwrap_err().to_string();
    for part in [
        "7 values are wrong",
        "--listen: \"localhost:1\" is not an IP address with a port",
        "--turnaround: 48h is not within 0s and 1d",
        "--hold-duration (BOXOFFICE_HOLD_DURATION): \"10\" is not a length of time such as",
        "--sample (BOXOFFICE_SAMPLE): \"maybe\" is not one of auto, on, off",
        &format!("--max-requests (max_requests in {path}): 0 is not within 1 and 1000000"),
        &format!("provider_fresh in {path}: must be a text, a whole number"),
        &format!("hold_durations in {path}: is not an option; did you mean hold_duration?"),
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

#[test]
fn values_out_of_bounds_or_out_of_form_are_refused() {
    for (line, reason) in [
        ("--hold-duration 999ms", "999ms is not within 1s and 1d"),
        ("--hold-duration 25h", "25h is not within 1s and 1d"),
        ("--hold-duration 99999999999999999999d", "is not a length of time"),
        ("--provider-attempts -1", "\"-1\" is not a whole number"),
        ("--max-concurrent-streams 0", "0 is not within 1 and 1000000"),
        ("--max-seats 101", "101 is not within 1 and 100"),
        ("--sweep-interval 99ms", "99ms is not within 100ms and 1h"),
        ("--orphan-seats maybe", "is not one of allow, refuse"),
        ("--admin-listen nowhere", "nor \"off\""),
        ("--migrate later", "is not one of auto, manual"),
        ("--trusted-network=yes", "is not one of true, false"),
        ("--cors-origin cinema.example", "is not a web origin"),
        ("--cors-origin https://cinema.example/page", "is not a web origin"),
        ("--cors-origin https://cinema.example,*", "is not a web origin"),
        ("--log-level inof", "\"inof\" is neither a level"),
        ("--database-url mysql://localhost/x", "must begin with postgres:// or sqlite://"),
        ("--database-url sqlite::memory:", "must name a file"),
        ("--database-url sqlite:///", "must name a file"),
        ("--database-url sqlite:///tmp", "names a folder"),
        ("--redis-url http://localhost", "must begin with redis:// or rediss://"),
        ("--redis-url localhost", "is not a URL"),
        ("--provider-url https://movies.example/path", "nothing after them"),
        ("--otlp-endpoint ftp://localhost", "must be http:// or https://"),
        ("--config /nowhere/boxoffice.toml", "cannot be read"),
        ("demo-provider --failure-percent 101", "101 is not within 0 and 100"),
        ("demo-provider --listen 0.0.0.0:1", "--trusted-network"),
        ("demo-provider --tls-cert cert.pem", "needs --tls-key beside it"),
        ("demo-gateway --lost-reply-percent 101", "101 is not within 0 and 100"),
        ("demo-gateway --listen 0.0.0.0:1", "--trusted-network"),
        ("demo-gateway --tls-key key.pem", "needs --tls-cert beside it"),
        ("demo-gateway --data-dir Cargo.toml", "is a file, not a folder"),
        ("healthcheck --listen 127.0.0.1:0", "must be given where --listen leaves the port open"),
    ] {
        let text = refusal(line, &[]);
        assert!(text.contains(reason), "{line}: {reason}\nis not in\n{text}");
        assert!(text.contains("1 value is wrong"), "{line}: one mistake, one problem, not\n{text}");
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for (line, reason) in [
        ("--listen 127.0.0.1:1 --admin-listen 127.0.0.1:1", "--admin-listen: is the address of --listen, too"),
        ("--request-timeout 31s", "--request-timeout: is longer than --max-request-timeout"),
        ("--provider-fresh 8d", "--provider-fresh: is longer than --provider-stale"),
        ("--provider-insecure", "only with a --provider-url that begins with https://"),
        ("--provider-url http://localhost:1 --provider-insecure", "that begins with https://"),
        ("--provider-api-key k", "only with a --provider-url"),
        ("--provider-url http://localhost:1 --provider-ca-file Cargo.toml", "that begins with https://"),
        ("--provider-url https://localhost:1 --provider-ca-file Cargo.toml", "holds no CERTIFICATE"),
        ("--payment-gateway-insecure", "only with a --payment-gateway-url that begins with https://"),
        ("--payment-gateway-key k", "only with a --payment-gateway-url"),
        ("--payment-gateway-url https://a:1 --payment-gateway-ca-file Cargo.toml", "holds no CERTIFICATE"),
    ] {
        let text = refusal(line, &[]);
        assert!(text.contains(reason), "{line}: {reason}\nis not in\n{text}");
    }
}

#[test]
fn an_address_that_other_machines_can_reach_needs_a_second_option() {
    for line in ["--listen 0.0.0.0:1", "--listen [::]:1", "--admin-listen 192.168.1.1:1"] {
        assert!(refusal(line, &[]).contains("callers are not authenticated"), "{line}");
        config(line, &[("BOXOFFICE_TRUSTED_NETWORK", "true")]);
        config(&format!("{line} --trusted-network"), &[]);
    }
    for line in ["--listen [::1]:1", "--listen 127.9.9.9:1", "--listen [::ffff:127.0.0.1]:1", "--admin-listen off"] {
        config(line, &[]);
    }
}

#[test]
fn parts_are_switched_by_their_urls() {
    assert!(config("--provider-url https://movies --provider-insecure", &[]).provider.provider_insecure);
    let sqlite = config("--database-url sqlite:///var/boxoffice.db", &[]);
    assert_eq!(sqlite.database.location(), DatabaseLocation::Sqlite("/var/boxoffice.db".into()));
    assert!(!sqlite.wants_sample() && !config("--provider-url http://movies:80", &[]).wants_sample());
    assert!(config("--provider-url http://movies:80 --sample on", &[]).wants_sample());
    let listed = config("--cors-origin https://a.example --cors-origin http://b.example:8080/", &[]).http.cors_origin;
    assert_eq!(listed, Cors::Listed(vec!["https://a.example".to_owned(), "http://b.example:8080".to_owned()]));
    assert_eq!(config("--cors-origin *", &[]).http.cors_origin, Cors::Any);
}

#[test]
fn the_health_check_asks_where_the_service_listens() {
    let address = |line: &str, environment: Pairs| match call(line, environment).unwrap().command {
        Command::Healthcheck { address, .. } => address.to_string(),
        other => panic!("not a health check: {other:?}"),
    };
    assert_eq!(address("healthcheck", &[]), "127.0.0.1:50051");
    // Only its own options are checked: a probe must not depend on files that the service needs.
    let environment = [("BOXOFFICE_LISTEN", "0.0.0.0:7"), ("BOXOFFICE_PROVIDER_CA_FILE", "/nowhere")];
    assert_eq!(address("healthcheck", &environment), "127.0.0.1:7");
    assert_eq!(address("healthcheck", &[("BOXOFFICE_LISTEN", "[::]:7")]), "[::1]:7");
    assert_eq!(address("--listen 127.0.0.1:8 healthcheck", &environment), "127.0.0.1:8");
    assert_eq!(address("healthcheck --address 127.0.0.2:9", &environment), "127.0.0.2:9");
}

#[test]
fn a_projector_needs_a_service_and_a_database_that_is_not_the_services() {
    // The database of the service is not taken for its own.
    let text = refusal("project", &[("BOXOFFICE_DATABASE_URL", "postgres://db/boxoffice")]);
    assert!(text.contains("--from") && text.contains("--database-url"), "{text}");
    let text = refusal("project --from http://a/b --database-url mysql://db/reports --from-ca-file ca.pem", &[]);
    assert!(["--from:", "--database-url:", "--from-ca-file:"].iter().all(|flag| text.contains(flag)), "{text}");
    let line = "project --from http://localhost:50051 --database-url sqlite://reports.db --rebuild";
    let Command::Project(config) = call(line, &[]).unwrap().command else { panic!("another command") };
    assert!(config.projector.rebuild && !config.projector.once);
    let same = [("BOXOFFICE_DATABASE_URL", "postgres://db/x"), ("BOXOFFICE_REPORTS_URL", "postgres://db/x")];
    assert!(refusal("", &same).contains("--reports-url"));
}

#[test]
fn secrets_are_never_shown() {
    let environment = [
        ("BOXOFFICE_DATABASE_URL", "postgres://clerk:CANARY@db/boxoffice?sslmode=require&password=CANARY"),
        ("BOXOFFICE_REDIS_URL", "rediss://:CANARY@cache:6379/0"),
        ("BOXOFFICE_PROVIDER_URL", "https://movies:443"),
        ("BOXOFFICE_PROVIDER_API_KEY", "CANARY"),
    ];
    let parsed = call("check-config", &environment).unwrap();
    let config = config("check-config", &environment);
    let Command::CheckConfig { report, .. } = &parsed.command else { panic!("another command") };
    let shown = [format!("{parsed:?}"), report.clone()].join("\n");
    assert!(!shown.contains("CANARY"), "{shown}");
    assert!(shown.contains("postgres://clerk:***@db/boxoffice?sslmode=require&password=***"), "{shown}");
    assert!(shown.contains("provider_api_key = \"***\""), "{shown}");
    let DatabaseLocation::Postgres(url) = config.database.location() else { panic!("another database") };
    assert_eq!(url.expose(), environment[0].1);
    assert_eq!(config.provider.provider_api_key.unwrap().expose(), "CANARY");

    // Not in refusals either, wherever the mistake is.
    for (name, value) in [
        ("BOXOFFICE_DATABASE_URL", "mysql://clerk:CANARY@db/boxoffice"),
        ("BOXOFFICE_DATABASE_URL", "postgres://clerk:CANARY@db:CANARY/boxoffice"),
        ("BOXOFFICE_REDIS_URL", "redis//:CANARY@cache"),
        ("BOXOFFICE_PROVIDER_URL", "https://CANARY@movies"),
        ("BOXOFFICE_PROVIDER_API_KEY", "CANARY\u{e9}"),
    ] {
        let text = refusal("", &[(name, value)]);
        assert!(!text.contains("CANARY"), "{text}");
        assert!(text.contains(name), "{text}");
    }
    let (_, parsed) = with_file("max_requests = 1\nprovider_api_key = \"CANARY", "", &[]);
    let text = parsed.unwrap_err().to_string();
    assert!(text.contains("line 2 is not TOML") && !text.contains("CANARY"), "{text}");
}

#[test]
fn a_mistyped_variable_causes_a_warning_with_the_nearest_name() {
    let environment = [
        ("BOXOFFICE_LITSEN", "127.0.0.1:1"),
        ("BOXOFFICE_QQQQQQQQQ", "1"),
        ("BOXOFFICE_SERVICE_HOST", "10.0.0.1"),
        ("BOXOFFICE_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("BOXOFFICE_DEMO_LATENCY", "1s"),
        ("UNRELATED", "1"),
    ];
    assert_eq!(
        call("", &environment).unwrap().warnings,
        ["BOXOFFICE_LITSEN is not an option; did you mean BOXOFFICE_LISTEN?", "BOXOFFICE_QQQQQQQQQ is not an option",]
    );
}

#[test]
fn every_default_is_right_by_its_own_rules() {
    for line in ["serve", "demo-provider", "demo-gateway", "healthcheck", "descriptors"] {
        call(line, &[]).unwrap();
    }
}

#[test]
fn help_is_the_whole_reference() {
    let mut program = cli::program();
    program.build();
    let mut helps = vec![program.render_long_help().to_string()];
    helps.extend(program.get_subcommands_mut().map(|subcommand| subcommand.render_long_help().to_string()));
    // Help breaks lines at the width of the terminal.
    let everything = helps.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    for row in cli::all_rows() {
        assert!(everything.contains(&row.flag()), "{}", row.flag());
        assert!(everything.contains(&format!("[env: {}]", row.variable())), "{}", row.variable());
        let default = format!("[default: {}]", row.default);
        assert!(row.default.is_empty() || everything.contains(&default), "{} {default}", row.flag());
    }
    program.debug_assert();
}

fn reference_line(row: &Row) -> String {
    let default = if row.default.is_empty() { String::new() } else { format!("`{}`", row.default) };
    format!("| `{}` | `{}` | {default} | {} |", row.flag(), row.variable(), row.reference())
}

#[test]
fn the_written_reference_is_what_help_says() {
    let page = include_str!("../../docs/configuration.md");
    let missing: Vec<_> =
        cli::all_rows().iter().map(reference_line).filter(|line| !page.lines().any(|l| l == line)).collect();
    assert!(missing.is_empty(), "docs/configuration.md lacks these lines:\n{}", missing.join("\n"));
    let expected = cli::all_rows().len();
    let written = page.lines().filter(|line| line.starts_with("| `--")).count();
    assert_eq!(written, expected, "docs/configuration.md describes options that do not exist");
}

#[test]
fn the_compose_file_sets_only_variables_that_exist() {
    let known = variables();
    let compose = include_str!("../../docker-compose.yaml");
    let mut count = 0;
    for word in compose.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if word.starts_with("BOXOFFICE_") {
            assert!(known.iter().any(|name| name == word), "docker-compose.yaml names {word}, which is no option");
            count += 1;
        }
    }
    assert!(count > 5, "the scan found only {count} variables");
}
