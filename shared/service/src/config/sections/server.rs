//! The two ports and what the service says about itself.

use super::super::{
    keys::{choice, section},
    secret::Secret,
};

section! {
    /// Where programs and viewers connect.
    pub struct Server at "server." {
        /// Address or host name to listen on. `0.0.0.0` or `::` is every interface.
        host: String = "127.0.0.1".to_owned();
        because "nothing is reachable from other machines until somebody decides so"
        /// Port for the protocol, and for a short page that a browser is shown at it. 0 takes a free one, which the log names.
        port: u16 = 8080, in 0..=65535;
        because "published clients connect to 8080"
        /// WebSocket connections at once; one more is refused with the name of this limit.
        max_connections: usize = 10_000, in 1..=1_000_000;
        because "at up to 16 KiB an idle connection this stays below 160 MiB"
        /// Read buffer of one connection, in bytes. Larger frames are read in several steps.
        websocket_buffer_size: usize = 8_192, in 1_024..=16_777_216;
        because "every open connection holds one, idle or not, and an idle one shall cost no more than 16 KiB"
    }
}

section! {
    /// The admin port: prometheus metrics, `/healthz` and `/readyz`.
    pub struct Metrics at "metrics." {
        /// Whether the admin port is opened at all, `/healthz` and `/readyz` included.
        enabled: bool = true;
        because "probes and operators need it"
        /// Address or host name of the admin port. Unset: that of `server.host`.
        host: Option<String> = None;
        because "whoever opens the protocol port to other machines has probes and scrapers there as well"
        /// Port of the admin server. 0 takes a free one, which the log names.
        port: u16 = 9090, in 0..=65535;
        because "it is the port that published installations scrape"
        /// Path of the metrics in prometheus' text format.
        endpoint: String = "/metrics".to_owned();
        because "prometheus asks there unless told otherwise"
    }
}

choice! {
    /// How log lines look.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

section! {
    /// What the service says about itself. The level of the log is in `RUST_LOG`, by default `info`.
    pub struct Telemetry at "telemetry." {
        /// Where this service's own spans (publishes, questions, commits, compaction, retention) are sent, whatever `RUST_LOG` says, OTLP over plaintext gRPC: `http://collector:4317`. Unset: nowhere.
        otlp_endpoint: Option<Secret> = None;
        because "there is no collector to assume"
        /// Form of the log on standard error.
        log_format: LogFormat = LogFormat::Text;
        because "the first reader is a person at a terminal"
        /// Name under which the spans are sent. Unset: the name of the program.
        service_name: Option<String> = None;
        because "the programs' names differ already"
    }
}

impl Metrics {
    /// The admin port's host: its own, or that of the protocol port.
    pub fn host<'a>(&'a self, server: &'a Server) -> &'a str {
        self.host.as_deref().unwrap_or(&server.host)
    }
}
