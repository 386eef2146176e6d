//! What must hold between settings, and what a role needs.
//!
//! A default never contradicts anything: rules look at what somebody set. A rule about a value that was refused already
//! stays silent. First the selections are made (a URL selects its backend), then the rules look at the result.

use url::Url;

use super::{
    problem::{Origin, Problem, ProblemKind, quote},
    reader::Facts,
    role::Role,
    secret::Secret,
    sections::{Algorithm, Backend, BusKind, Config, JournalMode},
};

const BACKEND: &str = "storage.backend";
const POSTGRES_URL: &str = "storage.postgres.connection_url";
const KIND: &str = "bus.kind";
const NATS_URL: &str = "bus.nats.url";
const REDIS_URL: &str = "redis.url";
const OTLP: &str = "telemetry.otlp_endpoint";

/// Makes the selections and checks every rule.
pub(crate) fn apply(config: &mut Config, role: Role, facts: &Facts, problems: &mut Vec<Problem>) {
    let mut rules = Rules { facts, problems };
    rules.select_storage(config, role);
    rules.select_bus(config, role);
    rules.journal_mode(config);
    rules.forms(config);
    rules.levels(config);
    rules.ports(config, role);
    rules.orders(config);
}

struct Rules<'a> {
    facts: &'a Facts,
    problems: &'a mut Vec<Problem>,
}

impl Rules<'_> {
    fn origin(&self, key: &str) -> Origin {
        self.facts.explicit(key).cloned().unwrap_or(Origin::Whole)
    }

    fn add(&mut self, kind: ProblemKind, key: &str, what: String, advice: impl Into<String>) {
        let origin = self.origin(key);
        self.problems.push(Problem { kind, origin, key: Some(key.to_owned()), what, advice: advice.into() });
    }

    /// A URL that selects something and an explicit other choice: both are named, with where they stand.
    fn contradiction(&mut self, key: &str, chosen: &str, url: &str, selects: &str) {
        let what = format!("`{key}` is `{chosen}`, but `{url}` ({}) selects `{selects}`", self.origin(url));
        self.add(ProblemKind::Contradiction, key, what, format!("set `{key}` to `{selects}`, or leave out `{url}`"));
    }

    fn select_storage(&mut self, config: &mut Config, role: Role) {
        let chosen = config.storage.backend;
        let has_url = config.storage.postgres.connection_url.is_some();
        if !self.facts.sound(&[BACKEND, POSTGRES_URL]) {
            return;
        }
        match (self.facts.explicit(BACKEND).is_some(), has_url) {
            (false, true) => config.storage.backend = Backend::Postgres,
            (true, true) if chosen != Backend::Postgres => {
                self.contradiction(BACKEND, chosen.as_str(), POSTGRES_URL, "postgres");
            }
            // A collector may share a file with services that get the URL from elsewhere.
            (true, false) if chosen == Backend::Postgres && role.uses_storage() => {
                let what = format!("`{BACKEND}` is `postgres`, but there is no `{POSTGRES_URL}`");
                self.add(ProblemKind::Missing, BACKEND, what, "set REFLOW_TRACING_POSTGRES_URL");
            }
            _ => {}
        }
        if role.shares_storage() && config.storage.backend == Backend::Memory {
            let what = format!("{role} cannot use the `memory` backend, which no other process sees");
            let advice =
                "set REFLOW_TRACING_POSTGRES_URL, or REFLOW_TRACING_SQLITE_PATH for one host, or run reflow-tracing";
            self.add(ProblemKind::Contradiction, BACKEND, what, advice);
        }
    }

    fn select_bus(&mut self, config: &mut Config, role: Role) {
        let has_url = config.bus.nats.url.is_some();
        let local = self.facts.explicit(KIND).is_some() && config.bus.kind == BusKind::Local;
        if !self.facts.sound(&[KIND, NATS_URL]) {
            return;
        }
        if has_url {
            if local {
                self.contradiction(KIND, "local", NATS_URL, "nats");
            }
            config.bus.kind = BusKind::Nats;
        }
        if role.needs_nats() && !has_url {
            let what = match local {
                true => format!("{role} reaches the other services over NATS, but `{KIND}` is `local`"),
                false => format!("{role} reaches the other services over NATS, but there is no `{NATS_URL}`"),
            };
            let advice = "set REFLOW_TRACING_NATS_URL, or run reflow-tracing, which needs no server";
            self.add(ProblemKind::Missing, KIND, what, advice);
        } else if role == Role::Standalone && config.bus.kind == BusKind::Nats {
            let key = if has_url { NATS_URL } else { KIND };
            let what = format!("{role} runs everything in one process and does not use NATS");
            let advice = "leave the setting out, or run reflow-collector, reflow-writer and reflow-query";
            self.add(ProblemKind::Contradiction, key, what, advice);
        }
    }

    /// Published files have both `wal_mode` and `journal_mode`; one of them decides when only one is set.
    fn journal_mode(&mut self, config: &mut Config) {
        const WAL: &str = "storage.sqlite.wal_mode";
        const JOURNAL: &str = "storage.sqlite.journal_mode";
        let sqlite = &mut config.storage.sqlite;
        let agree = sqlite.wal_mode == (sqlite.journal_mode == JournalMode::Wal);
        if agree || !self.facts.sound(&[WAL, JOURNAL]) {
            return;
        }
        match (self.facts.explicit(WAL).is_some(), self.facts.explicit(JOURNAL).is_some()) {
            (true, false) => sqlite.journal_mode = JournalMode::Delete,
            (false, true) => sqlite.wal_mode = sqlite.journal_mode == JournalMode::Wal,
            _ => {
                let (wal, journal) = (sqlite.wal_mode, sqlite.journal_mode);
                let what = format!("`{JOURNAL}` is `{journal}`, but `{WAL}` ({}) is `{wal}`", self.origin(WAL));
                self.add(ProblemKind::Contradiction, JOURNAL, what, format!("leave out `{WAL}`"));
            }
        }
    }

    /// Values that have a form of their own.
    fn forms(&mut self, config: &Config) {
        let tenant = &config.tenant;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if tenant.is_empty() || tenant.len() > 32 || !tenant.chars().all(allowed) {
            let what = format!("`tenant` must be 1 to 32 of `a` to `z`, `0` to `9` and `-`, not {}", quote(tenant));
            self.add(ProblemKind::OutOfRange, "tenant", what, "choose a shorter or plainer name");
        }
        let endpoint = &config.metrics.endpoint;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.');
        let taken = ["/", "/healthz", "/readyz"].contains(&endpoint.as_str());
        if !endpoint.starts_with('/') || !endpoint.chars().all(plain) || taken {
            let what =
                format!("`metrics.endpoint` must be a free, plain path such as `/metrics`, not {}", quote(endpoint));
            self.add(ProblemKind::OutOfRange, "metrics.endpoint", what, "choose another path");
        }
        for (key, host) in [("server.host", Some(&config.server.host)), ("metrics.host", config.metrics.host.as_ref())]
        {
            if host.is_some_and(|host| host.is_empty() || host.contains("://") || host.contains(char::is_whitespace)) {
                let what = format!(
                    "`{key}` must be an address or a host name without scheme, not {}",
                    host.map_or_else(String::new, |h| quote(h))
                );
                self.add(
                    ProblemKind::OutOfRange,
                    key,
                    what,
                    "write for example `0.0.0.0`; the port has a key of its own",
                );
            }
        }
        let postgres = &config.storage.postgres.connection_url;
        self.url(POSTGRES_URL, postgres, &["postgres://", "postgresql://"]);
        self.url(NATS_URL, &config.bus.nats.url, &["nats://", "tls://", "ws://", "wss://"]);
        self.url(REDIS_URL, &config.redis.url, &["redis://"]);
        self.url(OTLP, &config.telemetry.otlp_endpoint, &["http://"]);
    }

    /// The bad value is not quoted: it may be a password in the wrong place.
    fn url(&mut self, key: &str, value: &Option<Secret>, schemes: &[&str]) {
        let Some(value) = value else { return };
        if !schemes.iter().any(|scheme| value.expose().strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
            let what = format!("`{key}` must be a URL that begins with `{}`", schemes.join("` or `"));
            return self.add(ProblemKind::OutOfRange, key, what, "write the scheme, then the host");
        }
        // NATS takes several, with a comma between, of which the first alone needs the scheme.
        let several = value.expose().split(',').filter(|_| key == NATS_URL);
        for one in several.chain((key != NATS_URL).then_some(value.expose())) {
            let whole = if one.contains("://") { one.to_owned() } else { format!("{}{one}", schemes[0]) };
            if let Err(error) = Url::parse(&whole) {
                let advice =
                    "write scheme://user:password@host:port/path, with %-codes for what is odd in the password";
                self.add(ProblemKind::OutOfRange, key, format!("`{key}` is not a URL: {error}"), advice);
            }
        }
    }

    fn levels(&mut self, config: &Config) {
        const LEVEL: &str = "compression.level";
        let (algorithm, level) = (config.compression.algorithm, config.compression.level);
        let (least, greatest) = match algorithm {
            Algorithm::Zstd | Algorithm::Lz4 => return,
            Algorithm::Gzip => (0, 9),
            Algorithm::Brotli => (0, 11),
        };
        if !(least..=greatest).contains(&level) && self.facts.sound(&[LEVEL, "compression.algorithm"]) {
            let what = format!("`{LEVEL}` for `{algorithm}` must be from {least} to {greatest}, not `{level}`");
            self.add(ProblemKind::OutOfRange, LEVEL, what, "choose a level within, or another algorithm");
        }
    }

    fn ports(&mut self, config: &Config, role: Role) {
        let (server, metrics) = (&config.server, &config.metrics);
        let same = server.port == metrics.port && server.port != 0;
        if same && metrics.enabled && role.listens() && self.facts.sound(&["server.port", "metrics.port"]) {
            let key = if self.facts.explicit("metrics.port").is_some() { "metrics.port" } else { "server.port" };
            let what = format!("`server.port` and `metrics.port` are both {}", server.port);
            self.add(ProblemKind::Contradiction, key, what, "give the admin port another number");
        }
    }

    /// Pairs of which one may not exceed the other.
    fn orders(&mut self, config: &Config) {
        let (limits, postgres, retention) = (&config.limits, &config.storage.postgres, &config.retention);
        let pairs = [
            (
                "limits.max_frame_bytes",
                limits.max_frame_bytes as u64,
                "limits.byte_budget_bytes",
                limits.byte_budget_bytes as u64,
            ),
            (
                "limits.max_decompressed_bytes",
                limits.max_decompressed_bytes as u64,
                "limits.byte_budget_bytes",
                limits.byte_budget_bytes as u64,
            ),
            (
                "limits.ping_interval_secs",
                limits.ping_interval_secs.saturating_add(1),
                "limits.idle_timeout_secs",
                limits.idle_timeout_secs,
            ),
            (
                "storage.postgres.min_connections",
                postgres.min_connections.into(),
                "storage.postgres.max_connections",
                postgres.max_connections.into(),
            ),
            // A chunk id that is forgotten before its events are could come again and count twice.
            (
                "retention.max_age_days",
                retention.max_age().map_or(u64::MAX, |age| age.as_secs()),
                "retention.dedupe_horizon_days",
                retention.dedupe_horizon().map_or(u64::MAX, |horizon| horizon.as_secs()),
            ),
        ];
        for (least, low, greatest, high) in pairs {
            if low > high && self.facts.sound(&[least, greatest]) {
                let key = if self.facts.explicit(greatest).is_some() { greatest } else { least };
                let what = format!("`{least}` exceeds what `{greatest}` allows");
                self.add(ProblemKind::Contradiction, key, what, format!("raise `{greatest}` or lower `{least}`"));
            }
        }
    }
}

/// What is allowed, but ought to be known.
pub(crate) fn warnings(config: &Config, role: Role) -> Vec<String> {
    let mut warnings = Vec::new();
    let secrets = [
        (POSTGRES_URL, &config.storage.postgres.connection_url),
        (NATS_URL, &config.bus.nats.url),
        (REDIS_URL, &config.redis.url),
    ];
    for (key, secret) in secrets {
        if secret.as_ref().is_some_and(Secret::is_masked) {
            warnings.push(format!(
                "`{key}` holds the mask that --print-config puts in place of a password; put the password there"
            ));
        }
    }
    if config.redis.url.is_some() && matches!(role, Role::Standalone | Role::Writer) {
        warnings
            .push(format!("`{REDIS_URL}` is not used by {role}: collectors and query services share flows through it"));
    }
    if role.uses_storage() {
        use super::sections::Synchronous;
        match config.storage.backend {
            Backend::Memory => warnings.push("`storage.backend` is `memory`: nothing survives the process".to_owned()),
            Backend::Sqlite if matches!(config.storage.sqlite.synchronous, Synchronous::Normal | Synchronous::Off) => {
                let mode = config.storage.sqlite.synchronous;
                warnings.push(format!("`storage.sqlite.synchronous` is `{mode}`: power loss may lose what was acked"));
            }
            _ => {}
        }
    }
    warnings
}
