//! Configuration from explicit sources. No test touches the process's environment.

use std::{path::PathBuf, time::Duration};

use super::*;

const PASSWORD: &str = "hunter2";

fn load(role: Role, environment: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(role, &Sources { environment, ..Sources::default() })
}

fn load_file(role: Role, text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tracing.toml");
    std::fs::write(&path, text).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(role, &Sources { file: Some(path), environment, ..Sources::default() })
}

fn kinds(result: Result<Loaded, ConfigErrors>) -> Vec<ProblemKind> {
    result.unwrap_err().0.into_iter().map(|problem| problem.kind).collect()
}

#[test]
fn one_process_needs_nothing() {
    let loaded = load(Role::Standalone, &[]).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.config.storage.backend, Backend::Sqlite);
    assert_eq!(loaded.config.bus.kind, BusKind::Local);
    assert_eq!((loaded.config.server.host.as_str(), loaded.config.server.port), ("127.0.0.1", 8080));
    assert_eq!(loaded.config.storage.sqlite.database_path, PathBuf::from("data/traces.db"));
    assert!(loaded.warnings.is_empty() && loaded.origins.is_empty());
}

#[test]
fn short_variables_have_their_effect() {
    let environment = [
        ("REFLOW_TRACING_HOST", "0.0.0.0"),
        ("REFLOW_TRACING_PORT", "18080"),
        ("REFLOW_TRACING_STORAGE_BACKEND", "postgres"),
        ("REFLOW_TRACING_SQLITE_PATH", "/x/y.db"),
        ("REFLOW_TRACING_POSTGRES_URL", "postgres://db/x"),
        ("REFLOW_TRACING_NATS_URL", "nats://n:4222"),
        ("REFLOW_TRACING_REDIS_URL", "redis://r/0"),
        ("REFLOW_TRACING_METRICS_PORT", "19090"),
        ("REFLOW_TRACING_FLOW_NAME", "a client's"),
        ("PATH", "/bin"),
    ];
    let config = load(Role::Writer, &environment).unwrap().config;
    assert_eq!((config.server.host.as_str(), config.server.port, config.metrics.port), ("0.0.0.0", 18_080, 19_090));
    assert_eq!(config.metrics.host(&config.server), "0.0.0.0");
    assert_eq!(config.storage.backend, Backend::Postgres);
    assert_eq!(config.storage.sqlite.database_path, PathBuf::from("/x/y.db"));
    assert_eq!(config.storage.postgres.connection_url.unwrap().expose(), "postgres://db/x");
    assert_eq!(config.bus.nats.url.unwrap().expose(), "nats://n:4222");
    assert_eq!(config.bus.kind, BusKind::Nats);
    assert_eq!(config.redis.url.unwrap().expose(), "redis://r/0");
}

/// A value that a key takes and that is not its default.
fn other_value(key: &Key) -> String {
    match (key.path, key.default.as_deref()) {
        ("tenant", _) => "acme".to_owned(),
        ("metrics.endpoint", _) => "/prometheus".to_owned(),
        ("server.host" | "metrics.host", _) => "::1".to_owned(),
        ("storage.postgres.connection_url", _) => "postgres://db/x".to_owned(),
        ("bus.nats.url", _) => "nats://n".to_owned(),
        ("redis.url", _) => "redis://r".to_owned(),
        ("telemetry.otlp_endpoint", _) => "http://o:4317".to_owned(),
        ("storage.backend", _) => "postgres".to_owned(),
        ("bus.kind", _) => "nats".to_owned(),
        (_, Some("true")) => "false".to_owned(),
        (_, Some("false")) => "true".to_owned(),
        (_, default) => {
            let words: Vec<_> =
                key.accepts.split('`').filter(|word| !word.trim_matches([',', ' ']).is_empty()).collect();
            match key.range {
                // The end of the range that is not the default.
                Some((least, _)) if default != Some(least.to_string().as_str()) => least.to_string(),
                Some((_, greatest)) => greatest.to_string(),
                None if words.len() > 1 => words.last().unwrap().to_string(),
                None => "other".to_owned(),
            }
        }
    }
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for key in keys() {
        let (name, value) = (variable_of(key.path), other_value(&key));
        // What the value needs beside it.
        let mut environment = vec![(name.as_str(), value.as_str()), ("REFLOW_TRACING_NATS_URL", "nats://n")];
        match key.path {
            "storage.backend" => environment.push(("REFLOW_TRACING_POSTGRES_URL", "postgres://db/x")),
            "bus.nats.url" => environment.truncate(1),
            "limits.byte_budget_bytes" => {
                environment.push(("REFLOW_TRACING_LIMITS__MAX_FRAME_BYTES", "1024"));
                environment.push(("REFLOW_TRACING_LIMITS__MAX_DECOMPRESSED_BYTES", "1024"));
            }
            "limits.idle_timeout_secs" => environment[0].1 = "31",
            "storage.postgres.max_connections" => environment[0].1 = "2",
            "retention.dedupe_horizon_days" => environment.push(("REFLOW_TRACING_RETENTION__MAX_AGE_DAYS", "7")),
            _ => {}
        }
        let loaded = load(Role::Query, &environment).unwrap_or_else(|errors| panic!("{name}={value}: {errors}"));
        assert_eq!(loaded.origins[key.path], Origin::Variable(name.clone()));
        let mut values = Vec::new();
        loaded.config.values(&mut values);
        let shown = values.into_iter().find(|(path, _)| *path == key.path).unwrap().1;
        assert_ne!(shown.map(|value| value.to_string()), key.default, "{name}={value} changed nothing");
    }
}

#[test]
fn later_sources_go_before_earlier_ones() {
    let file = "[server]\nport = 1\nhost = \"file\"\nmax_connections = 11\n[limits]\nmax_subscriptions = 3\n";
    let json = r#"{"server": {"port": 2, "host": "json"}, "limits": {"max_batch_events": null}}"#;
    let environment = [("REFLOW_TRACING_CONFIG", json), ("REFLOW_TRACING_PORT", "3")];
    let loaded = load_file(Role::Standalone, file, &environment).unwrap();
    assert_eq!(loaded.config.server.port, 3);
    assert_eq!(loaded.config.server.host, "json");
    assert_eq!((loaded.config.server.max_connections, loaded.config.limits.max_subscriptions), (11, 3));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("named.toml");
    std::fs::write(&path, file).unwrap();
    let sources = Sources {
        file: None,
        environment: vec![
            ("REFLOW_TRACING_CONFIG_FILE".to_owned(), path.display().to_string()),
            ("REFLOW_TRACING_PORT".to_owned(), "3".to_owned()),
        ],
        flags: vec![("--port".to_owned(), "server.port".to_owned(), "4".to_owned())],
    };
    let loaded = Config::load(Role::Standalone, &sources).unwrap();
    assert_eq!((loaded.config.server.port, loaded.config.server.host.as_str()), (4, "file"));
    assert_eq!(loaded.origins["server.port"], Origin::Flag("--port".to_owned()));
    assert_eq!(loaded.origins["server.host"], Origin::File(path));
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let file = "tennant = \"x\"\n[server]\nprot = 1\n[limits]\nport = 2\n[storage.sqlit]\na = 1\nb = 2\n";
    let errors = load_file(
        Role::Standalone,
        file,
        &[("REFLOW_TRACING_METRIC_PORT", "1"), ("REFLOW_TRACING_LIMITS_MAX_FRAME_BYTES", "1")],
    )
    .unwrap_err()
    .to_string();
    for expected in [
        "no setting `tennant`; did you mean `tenant`?",
        "no setting `server.prot`; did you mean `server.port`?",
        "no setting `limits.port`; did you mean `",
        "no setting `storage.sqlit`; did you mean `storage.sqlite`?",
        "no setting `REFLOW_TRACING_METRIC_PORT`; did you mean `REFLOW_TRACING_METRICS_PORT`?",
        "did you mean `REFLOW_TRACING_LIMITS__MAX_FRAME_BYTES`?",
    ] {
        assert!(errors.contains(expected), "{expected} in {errors}");
    }
    assert!(errors.starts_with("6 mistakes"), "{errors}");
}

#[test]
fn a_known_path_as_one_name_is_not_taken_for_the_key() {
    let json = r#"{"server.port": 9999, "storage": {"sqlite.database_path": "/x"}, "storage.sqlite": {}}"#;
    let ConfigErrors(problems) = load(Role::Standalone, &[("REFLOW_TRACING_CONFIG", json)]).unwrap_err();
    assert!(
        problems.iter().all(|problem| problem.kind == ProblemKind::UnknownKey && problem.advice.contains("nested"))
    );
    assert_eq!(problems.len(), 3, "{problems:?}");
    let file = "\"server.port\" = 9999\n[storage]\n\"sqlite.database_path\" = \"/x\"\n";
    assert_eq!(kinds(load_file(Role::Standalone, file, &[])), [ProblemKind::UnknownKey; 2]);
}

#[test]
fn what_could_only_fail_later_is_told_at_once() {
    let good = ("REFLOW_TRACING_NATS_URL", "nats://u:p%40w@one:4222,two:4222,[::1]:4222");
    let urls = ("REFLOW_TRACING_POSTGRES_URL", "postgresql:///traces?host=/run/postgresql");
    assert!(load(Role::Query, &[good, urls, ("RUST_LOG", "info,reflow=debug")]).unwrap().warnings.is_empty());
    let bad = [
        ("REFLOW_TRACING_NATS_URL", "nats://one:4222,two:hunter2"),
        ("REFLOW_TRACING_POSTGRES_URL", "postgres://u:hunter2@h:notaport/db"),
        ("REFLOW_TRACING_REDIS_URL", "redis://u:hunter2@h:1234567"),
        ("REFLOW_TRACING_TELEMETRY__OTLP_ENDPOINT", "http://bad host/"),
        ("RUST_LOG", "a=b=c"),
    ];
    let errors = load(Role::Query, &bad).unwrap_err();
    assert_eq!(errors.0.len(), bad.len(), "{errors}");
    assert!(!errors.to_string().contains(PASSWORD), "{errors}");
    assert!(bad.iter().all(|(variable, _)| errors.to_string().contains(variable)), "{errors}");
}

#[test]
fn who_does_not_use_redis_says_so() {
    let redis = ("REFLOW_TRACING_REDIS_URL", "redis://r/0");
    let warned =
        |role, other| load(role, &[redis, other]).unwrap().warnings.iter().any(|text| text.contains("redis.url"));
    let nats = ("REFLOW_TRACING_NATS_URL", "nats://n");
    assert!(warned(Role::Standalone, ("PATH", "/bin")));
    assert!(!warned(Role::Collector, nats) && !warned(Role::Query, nats));
}

#[test]
fn what_no_longer_exists_or_not_yet_says_so() {
    let file = "[storage.mongodb]\nconnection_url = \"mongodb://u:hunter2@h\"\n[auth]\ntoken = \"hunter2\"\n[export.otlp]\nurl = 1\n";
    let errors = load_file(Role::Standalone, file, &[]).unwrap_err().to_string();
    for expected in ["MongoDB is not a backend", "no authentication yet", "not exported yet"] {
        assert!(errors.contains(expected), "{errors}");
    }
    assert!(!errors.contains(PASSWORD), "{errors}");
}

#[test]
fn all_mistakes_are_told_at_once_with_their_place() {
    let file = "server = 5\n[metrics]\nport = \"9090\"\n[storage]\nbackend = \"oracle\"\n[compression]\nlevel = 99\nenabled = 1\n";
    let environment = [
        ("REFLOW_TRACING_PORT", "http"),
        ("REFLOW_TRACING_LIMITS__MAX_SUBSCRIPTIONS", "-1"),
        ("REFLOW_TRACING_TENANT", "A b"),
    ];
    let errors = load_file(Role::Standalone, file, &environment).unwrap_err();
    let text = errors.to_string();
    for expected in [
        "`server` is a section, not `5`",
        "tracing.toml: `metrics.port` must be a whole number from 0 to 65535, not `9090`; write the number without quotation marks",
        "`storage.backend` must be `memory`, `sqlite`, `postgres`, not `oracle`",
        "`compression.level` must be a whole number from -7 to 22, not `99`",
        "`compression.enabled` must be `true` or `false`, not `1`",
        "environment variable REFLOW_TRACING_PORT: `server.port` must be a whole number from 0 to 65535, not `http`",
        "environment variable REFLOW_TRACING_LIMITS__MAX_SUBSCRIPTIONS: `limits.max_subscriptions` must be",
        "environment variable REFLOW_TRACING_TENANT: `tenant` must be 1 to 32",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert_eq!(errors.0.len(), 8, "{text}");
}

#[test]
fn numbers_beyond_their_type_are_out_of_range() {
    for value in ["65536", "-1", "99999999999999999999999"] {
        assert_eq!(
            kinds(load(Role::Standalone, &[("REFLOW_TRACING_PORT", value)])),
            [ProblemKind::OutOfRange],
            "{value}"
        );
    }
}

#[test]
fn a_url_selects_and_an_explicit_other_choice_is_refused() {
    let (postgres, nats) =
        (("REFLOW_TRACING_POSTGRES_URL", "postgres://db/x"), ("REFLOW_TRACING_NATS_URL", "nats://n"));
    assert_eq!(load(Role::Standalone, &[postgres]).unwrap().config.storage.backend, Backend::Postgres);
    assert_eq!(load(Role::Query, &[nats]).unwrap().config.bus.kind, BusKind::Nats);

    let errors =
        load_file(Role::Writer, "[storage]\nbackend = \"sqlite\"\n[bus]\nkind = \"local\"\n", &[postgres, nats])
            .unwrap_err();
    assert!(errors.0.iter().all(|problem| problem.kind == ProblemKind::Contradiction), "{errors}");
    let text = errors.to_string();
    for expected in [
        "`storage.backend` is `sqlite`, but `storage.postgres.connection_url` (environment variable REFLOW_TRACING_POSTGRES_URL)",
        "`bus.kind` is `local`, but `bus.nats.url` (environment variable REFLOW_TRACING_NATS_URL) selects `nats`",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(
        kinds(load(Role::Standalone, &[("REFLOW_TRACING_STORAGE_BACKEND", "postgres")])),
        [ProblemKind::Missing]
    );
    // Empty is unset.
    assert!(load(Role::Standalone, &[("REFLOW_TRACING_POSTGRES_URL", ""), ("REFLOW_TRACING_NATS_URL", "")]).is_ok());
}

#[test]
fn roles_say_what_they_need() {
    for role in [Role::Collector, Role::Writer, Role::Query] {
        let errors = load(role, &[]).unwrap_err();
        assert_eq!(errors.0.len(), 1);
        let text = errors.to_string();
        assert!(text.contains("REFLOW_TRACING_NATS_URL") && text.contains("reflow-tracing,"), "{text}");
        assert!(text.contains(role.program()), "{text}");
        assert!(load(role, &[("REFLOW_TRACING_NATS_URL", "nats://n")]).is_ok(), "sqlite on one host");
    }
    let memory = [("REFLOW_TRACING_NATS_URL", "nats://n"), ("REFLOW_TRACING_STORAGE_BACKEND", "memory")];
    assert_eq!(kinds(load(Role::Writer, &memory)), [ProblemKind::Contradiction]);
    assert!(load(Role::Collector, &memory).is_ok());
    assert_eq!(kinds(load(Role::Standalone, &memory[..1])), [ProblemKind::Contradiction]);
    let warnings = load(Role::Standalone, &memory[1..]).unwrap().warnings;
    assert!(warnings[0].contains("nothing survives"), "{warnings:?}");
    // A job on the store needs no bus and does not mind one.
    assert!(load(Role::StoreJob, &[]).is_ok() && load(Role::StoreJob, &memory[..1]).is_ok());
}

#[test]
fn other_contradictions_are_found() {
    for environment in [
        &[("REFLOW_TRACING_PORT", "9090")][..],
        &[("REFLOW_TRACING_PORT", "1"), ("REFLOW_TRACING_SERVER__PORT", "2")],
        &[("REFLOW_TRACING_LIMITS__PING_INTERVAL_SECS", "300")],
        &[("REFLOW_TRACING_LIMITS__BYTE_BUDGET_BYTES", "33554432")],
        &[
            ("REFLOW_TRACING_STORAGE__POSTGRES__MAX_CONNECTIONS", "1"),
            ("REFLOW_TRACING_STORAGE__POSTGRES__MIN_CONNECTIONS", "2"),
        ],
        &[
            ("REFLOW_TRACING_STORAGE__SQLITE__WAL_MODE", "true"),
            ("REFLOW_TRACING_STORAGE__SQLITE__JOURNAL_MODE", "delete"),
        ],
    ] {
        assert_eq!(kinds(load(Role::Standalone, environment)), [ProblemKind::Contradiction], "{environment:?}");
    }
    let same = [("REFLOW_TRACING_PORT", "1"), ("REFLOW_TRACING_SERVER__PORT", "1")];
    assert_eq!(load(Role::Standalone, &same).unwrap().config.server.port, 1);
    let gzip = [("REFLOW_TRACING_COMPRESSION__ALGORITHM", "gzip"), ("REFLOW_TRACING_COMPRESSION__LEVEL", "12")];
    assert_eq!(kinds(load(Role::Standalone, &gzip)), [ProblemKind::OutOfRange]);
    let sqlite =
        load(Role::Standalone, &[("REFLOW_TRACING_STORAGE__SQLITE__WAL_MODE", "off")]).unwrap().config.storage.sqlite;
    assert_eq!(sqlite.journal_mode, JournalMode::Delete);
}

#[test]
fn kubernetes_service_links_are_explained_or_passed_over() {
    for name in ["REFLOW_TRACING_PORT", "REFLOW_TRACING_METRICS_PORT"] {
        let errors = load(Role::Standalone, &[(name, "tcp://10.0.0.7:8080")]).unwrap_err().to_string();
        assert!(errors.contains("enableServiceLinks: false") && errors.contains(name), "{errors}");
    }
    let others = [
        ("REFLOW_TRACING_SERVICE_HOST", "10.0.0.7"),
        ("REFLOW_TRACING_SERVICE_PORT", "8080"),
        ("REFLOW_TRACING_SERVICE_PORT_HTTP", "8080"),
        ("REFLOW_TRACING_PORT_8080_TCP", "tcp://10.0.0.7:8080"),
        ("REFLOW_TRACING_PORT_8080_TCP_ADDR", "10.0.0.7"),
        ("REFLOW_TRACING_QUERY_PORT", "tcp://10.0.0.8:8080"),
    ];
    assert!(load(Role::Standalone, &others).is_ok());
}

#[test]
fn secrets_are_never_printed() {
    let environment = [
        ("REFLOW_TRACING_POSTGRES_URL", "postgres://reflow:hunter2@db.example/traces?password=hunter2"),
        ("REFLOW_TRACING_NATS_URL", "nats://hunter2@bus.example"),
        ("REFLOW_TRACING_REDIS_URL", "redis://:hunter2@cache.example/0"),
    ];
    let loaded = load(Role::Query, &environment).unwrap();
    for shown in [loaded.to_toml(), format!("{loaded:?}"), format!("{:#?}", loaded.config)] {
        assert!(!shown.contains(PASSWORD), "{shown}");
        assert!(
            shown.contains("db.example") && shown.contains("bus.example") && shown.contains("cache.example"),
            "{shown}"
        );
    }
    let bad: [&[(&str, &str)]; 7] = [
        &[("REFLOW_TRACING_POSTGRES_URL", "hunter2")],
        &[
            ("REFLOW_TRACING_POSTGRES_URL", "mysql://u:hunter2@h/x"),
            ("REFLOW_TRACING_STORAGE_BACKEND", "postgres://u:hunter2@h"),
        ],
        &[("REFLOW_TRACING_REDIS_URL", "hunter2:6379")],
        &[("REFLOW_TRACING_POSTGRES_URLS", "postgres://u:hunter2@h/x")],
        &[("REFLOW_TRACING_CONFIG", "{\"redis\": {\"url\": \"redis://:hunter2@h\" \"x\"}}")],
        &[("REFLOW_TRACING_CONFIG", "{\"redis\": {\"url\": [\"redis://:hunter2@h\"]}}")],
        &[("REFLOW_TRACING_HOST", "postgres://u:hunter2@h/x")],
    ];
    for environment in bad {
        let errors = load(Role::Standalone, environment).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains(PASSWORD), "{errors}");
    }
    let file = "[storage.postgres]\nconnection_url = \"postgres://u:hunter2@h/x\nmax_connections = 3\n";
    let errors = load_file(Role::Standalone, file, &[]).unwrap_err().to_string();
    assert!(!errors.contains(PASSWORD) && errors.contains("line 2 is not valid TOML"), "{errors}");
}

#[test]
fn the_printed_configuration_loads_back() {
    let environment = [
        ("REFLOW_TRACING_NATS_URL", "nats://n1:4222,nats://n2:4222"),
        ("REFLOW_TRACING_POSTGRES_URL", "postgres://reflow@db/traces"),
        ("REFLOW_TRACING_HOST", "0.0.0.0"),
        ("REFLOW_TRACING_RETENTION__DEDUPE_HORIZON_DAYS", "40"),
        ("REFLOW_TRACING_TELEMETRY__SERVICE_NAME", "quote \" and \\ and # and ü"),
    ];
    for (role, environment) in
        [(Role::Standalone, &environment[2..]), (Role::Collector, &environment[..1]), (Role::Writer, &environment[..])]
    {
        let first = load(role, environment).unwrap();
        let printed = first.to_toml().replace("***@", "");
        let again = load_file(role, &printed, &[]).unwrap_or_else(|errors| panic!("{errors}\n{printed}"));
        let mut expected = first.config;
        // A user without password is masked too; everything else is the same.
        if let Some(url) = &mut expected.storage.postgres.connection_url {
            *url = Secret::new("postgres://db/traces");
        }
        assert_eq!(again.config, expected);
    }
}

#[test]
fn a_printed_mask_taken_for_a_password_is_noticed() {
    let loaded = load(Role::Standalone, &[("REFLOW_TRACING_POSTGRES_URL", "postgres://u:hunter2@db/x")]).unwrap();
    let again = load_file(Role::Standalone, &loaded.to_toml(), &[]).unwrap();
    assert!(again.warnings[0].contains("the mask that --print-config puts"), "{:?}", again.warnings);
}

#[test]
fn published_files_load() {
    let file = "[server]\nhost = \"127.0.0.1\"\nport = 8080\nmax_connections = 1000\nwebsocket_buffer_size = 1048576\n\
        [storage]\nbackend = \"sqlite\"\n[storage.sqlite]\ndatabase_path = \"traces.db\"\nwal_mode = true\n\
        journal_mode = \"WAL\"\nsynchronous = \"NORMAL\"\ncache_size = -2000\n[storage.postgres]\nmax_connections = 10\n\
        min_connections = 1\nacquire_timeout_secs = 30\n[storage.memory]\nmax_traces = 10000\neviction_policy = \"lru\"\n\
        [compression]\nenabled = true\nalgorithm = \"zstd\"\nlevel = 3\n[metrics]\nenabled = true\nport = 9090\nendpoint = \"/metrics\"\n";
    let loaded = load_file(Role::Standalone, file, &[]).unwrap();
    assert_eq!(loaded.config.storage.sqlite.synchronous, Synchronous::Normal);
    assert!(loaded.warnings[0].contains("power loss"), "{:?}", loaded.warnings);
}

#[test]
fn an_unreadable_file_and_bad_json_say_where() {
    let sources = Sources { file: Some("/nowhere/x.toml".into()), ..Sources::default() };
    let errors = Config::load(Role::Standalone, &sources).unwrap_err();
    assert_eq!(
        (errors.0[0].kind, &errors.0[0].origin),
        (ProblemKind::Unreadable, &Origin::Flag("--config".to_owned()))
    );
    assert!(errors.to_string().contains("/nowhere/x.toml"), "{errors}");
    assert_eq!(kinds(load(Role::Standalone, &[("REFLOW_TRACING_CONFIG", "[1]")])), [ProblemKind::WrongType]);
    assert_eq!(kinds(load(Role::Standalone, &[("REFLOW_TRACING_CONFIG", "{")])), [ProblemKind::Unreadable]);
}

#[test]
fn derived_values_follow_their_rules() {
    let days = |n: u64| Some(Duration::from_secs(n * 86_400));
    let mut retention = Retention::default();
    assert_eq!((retention.max_age(), retention.dedupe_horizon(), retention.max_bytes()), (days(30), days(30), None));
    retention.max_age_days = 2;
    assert_eq!(retention.dedupe_horizon(), days(7));
    retention.max_age_days = 0;
    assert_eq!((retention.max_age(), retention.dedupe_horizon()), (None, None));
    assert_eq!(
        kinds(load(Role::Standalone, &[("REFLOW_TRACING_RETENTION__DEDUPE_HORIZON_DAYS", "6")])),
        [ProblemKind::OutOfRange]
    );
}

#[test]
fn chunk_ids_are_remembered_as_long_as_their_events() {
    const AGE: &str = "REFLOW_TRACING_RETENTION__MAX_AGE_DAYS";
    const HORIZON: &str = "REFLOW_TRACING_RETENTION__DEDUPE_HORIZON_DAYS";
    for (age, horizon) in [("30", "29"), ("8", "7"), ("0", "36500")] {
        let problems = kinds(load(Role::Standalone, &[(AGE, age), (HORIZON, horizon)]));
        assert_eq!(problems, [ProblemKind::Contradiction], "{age} {horizon}");
    }
    for settings in [&[(AGE, "30"), (HORIZON, "30")][..], &[(AGE, "1"), (HORIZON, "7")], &[(AGE, "400")], &[(AGE, "0")]]
    {
        load(Role::Standalone, settings).unwrap();
    }
}

#[test]
fn every_key_is_explained() {
    for key in keys() {
        assert!(key.effect.len() > 20 && key.effect.ends_with('.'), "{}: {}", key.path, key.effect);
        assert_eq!(key.accepts.contains("whole number"), key.range.is_some(), "{}: numbers have a range", key.path);
        assert!(key.reason.len() > 15 && !key.reason.ends_with('.'), "{}: {}", key.path, key.reason);
    }
}

/// `UPDATE_EXPECT=1 cargo test -p reflow-tracing-service` writes the file anew.
#[test]
fn the_reference_holds_every_key() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/CONFIGURATION.md");
    let intro = "# All settings\n\nMade from the code: change the sections in `src/config/sections`, then run\n\
        `UPDATE_EXPECT=1 cargo test -p reflow-tracing-service`.\n\n";
    let reference = format!("{intro}{}", reference());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &reference).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), reference, "UPDATE_EXPECT=1 writes it anew");
    for key in keys() {
        assert!(reference.contains(&format!("| `{}`<br>`{}` |", key.path, variable_of(key.path))), "{}", key.path);
    }
}
