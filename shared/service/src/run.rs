//! What is the same in the life of all four programs, so that a `main.rs` shows only its own order of start.
//!
//! Order: configuration, runtime, logs, signals, admin port (alive, not ready), the program's own start, then waiting for
//! a reason to stop, the stages, the admin port, the last spans, the exit code. A signal during the start stops it.

use std::{future::Future, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    cli::CommonArgs,
    config::{Config, Loaded, Role, mask_urls, variable_of},
    exit::Exit,
    lifecycle::{Cause, Lifecycle, Signals, spawn_watched},
    metrics::Metrics,
    readiness::Readiness,
    telemetry::{self, Guard},
};

/// How long tasks that ignore everything may hold up the end of the process.
const LAST_GRACE: Duration = Duration::from_millis(500);

/// What a program's own start is given.
#[derive(Clone)]
pub struct Service {
    /// Which program this is.
    pub role: Role,
    /// Its settings.
    pub config: Arc<Config>,
    /// Where it declares stages and spawns its tasks.
    pub lifecycle: Lifecycle,
    /// Where it latches what must be up.
    pub readiness: Readiness,
    /// Where it registers its metrics.
    pub metrics: Metrics,
    /// Where the admin port listens, if it is open.
    pub admin_address: Option<SocketAddr>,
}

impl Service {
    /// Binds the protocol port.
    ///
    /// # Errors
    ///
    /// When it is taken or the host is not one of this machine; the error names the setting.
    pub async fn listen(&self) -> anyhow::Result<TcpListener> {
        let server = &self.config.server;
        let listener = bind(&server.host, server.port, "server.port").await?;
        tracing::info!(address = %listener.local_addr()?, "listening for programs and viewers");
        Ok(listener)
    }
}

/// Runs a program: `start` builds it and returns once everything is spawned; the service then runs until it is told to
/// stop. Returns how it ended.
pub fn run<S>(role: Role, args: &CommonArgs, start: S) -> ExitCode
where
    S: AsyncFnOnce(&Service) -> anyhow::Result<()>,
{
    let loaded = match args.prepare(role) {
        Ok(loaded) => loaded,
        Err(exit) => return exit.into(),
    };
    on_runtime(&loaded, role, async |signals, telemetry| serve(role, &loaded, signals, telemetry, start).await)
}

/// Runs a job that ends by itself, such as `migrate`: logs and signals as for a service, but no admin port and no stages.
/// [`Role::StoreJob`] asks of the configuration only what concerns the store.
pub fn run_job<J>(role: Role, args: &CommonArgs, job: J) -> ExitCode
where
    J: AsyncFnOnce(&Config) -> anyhow::Result<()>,
{
    let loaded = match args.prepare(role) {
        Ok(loaded) => loaded,
        Err(exit) => return exit.into(),
    };
    on_runtime(&loaded, role, async |signals, _| {
        tokio::select! {
            result = job(&loaded.config) => match result {
                Ok(()) => Exit::Clean,
                Err(error) => {
                    tracing::error!(error = %mask_urls(&format!("{error:#}")), "job failed");
                    Exit::Failed
                }
            },
            signal = signals.recv() => {
                tracing::warn!(signal, "job cut off");
                Exit::Cut
            }
        }
    })
}

/// Binds a port, with an error that names the setting to change.
///
/// # Errors
///
/// When the port is taken or the host is not one of this machine.
pub async fn bind(host: &str, port: u16, key: &str) -> anyhow::Result<TcpListener> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    TcpListener::bind((host, port))
        .await
        .with_context(|| format!("cannot listen on {host}:{port}; change {} ({key})", variable_of(key)))
}

fn on_runtime(loaded: &Loaded, role: Role, body: impl AsyncFnOnce(&mut Signals, &Guard) -> Exit) -> ExitCode {
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(async {
        let guard = match telemetry::init(&loaded.config.telemetry, role, std::env::var("RUST_LOG").ok().as_deref()) {
            Ok(guard) => guard,
            Err(error) => {
                eprintln!("{}", mask_urls(&format!("{error:#}")));
                return Exit::Usage;
            }
        };
        log_panics();
        let exit = match Signals::install() {
            Ok(mut signals) => body(&mut signals, &guard).await,
            Err(error) => {
                tracing::error!(%error, "cannot watch for signals");
                Exit::Failed
            }
        };
        guard.flush().await;
        exit
    });
    end(runtime);
    exit.into()
}

/// Blocking work that nobody waits for any more must not keep the process.
fn end(runtime: Runtime) {
    runtime.shutdown_timeout(LAST_GRACE);
}

async fn serve<S>(role: Role, loaded: &Loaded, signals: &mut Signals, telemetry: &Guard, start: S) -> Exit
where
    S: AsyncFnOnce(&Service) -> anyhow::Result<()>,
{
    let config = &loaded.config;
    tracing::info!(
        program = role.program(),
        version = env!("CARGO_PKG_VERSION"),
        storage = %config.storage.backend,
        bus = %config.bus.kind,
        "starting"
    );
    for warning in &loaded.warnings {
        tracing::warn!(warning, "configuration");
    }
    let readiness = Readiness::new();
    let started = readiness.latch("start");
    let lifecycle = Lifecycle::new(readiness.clone(), config.limits.drain_deadline());
    let stop_admin = CancellationToken::new();
    let begin = async {
        let metrics = Metrics::try_new(role.program())?;
        metrics.watch_readiness(&readiness)?;
        telemetry.register(&metrics)?;
        let admin_address = open_admin(config, &lifecycle, &readiness, &metrics, stop_admin.clone()).await?;
        let service = Service {
            role,
            config: Arc::new(config.clone()),
            lifecycle: lifecycle.clone(),
            readiness: readiness.clone(),
            metrics,
            admin_address,
        };
        start(&service).await
    };
    match until_stopped(begin, &lifecycle, signals).await {
        Some(Ok(())) => {
            started.set();
            tracing::info!("started");
        }
        Some(Err(error)) => {
            tracing::error!(error = %mask_urls(&format!("{error:#}")), "cannot start");
            lifecycle.begin(Cause::FailedStart);
        }
        // Stopped, or crashed, before it was up: what runs already goes through the stages like any other.
        None => {}
    }
    let exit = lifecycle.run_until(signals).await;
    stop_admin.cancel();
    exit
}

/// Runs the start unless something stops it.
async fn until_stopped<T>(start: impl Future<Output = T>, lifecycle: &Lifecycle, signals: &mut Signals) -> Option<T> {
    let shutdown = lifecycle.shutdown();
    tokio::select! {
        result = start => Some(result),
        () = shutdown.soft().cancelled() => None,
        signal = signals.recv() => {
            lifecycle.begin(Cause::Signal(signal));
            None
        }
    }
}

async fn open_admin(
    config: &Config,
    lifecycle: &Lifecycle,
    readiness: &Readiness,
    metrics: &Metrics,
    stop: CancellationToken,
) -> anyhow::Result<Option<SocketAddr>> {
    if !config.metrics.enabled {
        return Ok(None);
    }
    let listener = bind(config.metrics.host(&config.server), config.metrics.port, "metrics.port").await?;
    let address = listener.local_addr()?;
    let routes = admin::router(readiness.clone(), metrics.clone(), &config.metrics.endpoint);
    let served = admin::serve(listener, routes, stop.cancelled_owned());
    spawn_watched(lifecycle, "admin port", async move {
        if let Err(error) = served.await {
            tracing::error!(%error, "the admin port failed");
        }
    });
    tracing::info!(%address, "listening for metrics and probes");
    Ok(Some(address))
}

/// Panics go to the log like everything else; the task that panicked is judged by whoever watches it.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(panic = %mask_urls(text), place, "panicked");
    }));
}
