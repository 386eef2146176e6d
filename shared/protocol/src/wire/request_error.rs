//! Why a frame is no request.

/// Largest `Subscribe`. Its filters are kept for as long as the subscription is open; a thousand ids fit.
pub const MAX_SUBSCRIBE_BYTES: usize = 64 << 10;
/// Metadata of a `StoreTrace`, as JSON, of at most so many bytes: they travel in a chunk's header, which has room for names besides.
pub const MAX_METADATA_BYTES: usize = 64 << 10;

const KNOWN: &str = "StartTrace, RecordEvent, RecordBatch, EndTrace, GetTrace, QueryTraces, GetFlowVersions, Ping, \
                     Subscribe, Unsubscribe, ClientMetrics, StoreTrace, GetMetrics";

/// Why a frame is not a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Not JSON, or not one externally tagged value.
    #[error(
        "frame is not a request: {0}; a request is a JSON string or an object with one key, such as {{\"GetTrace\":{{…}}}}"
    )]
    Shape(serde_json::Error),
    /// No such request.
    #[error("unknown request `{name}`; known are {KNOWN}")]
    Unknown {
        /// What it is called, cut.
        name: String,
    },
    /// A known request with wrong fields.
    #[error("{request}: {reason}")]
    Fields {
        /// The request.
        request: &'static str,
        /// What is wrong.
        reason: serde_json::Error,
    },
    /// A `Subscribe` that is too long.
    #[error(
        "Subscribe is {bytes} bytes long; at most {MAX_SUBSCRIBE_BYTES} are allowed; filter by fewer names, or open several"
    )]
    Subscribe {
        /// How long.
        bytes: usize,
    },
    /// A `StoreTrace` with too much metadata.
    #[error("metadata is {bytes} bytes long; at most {MAX_METADATA_BYTES} are allowed: put less into its tags")]
    Metadata {
        /// How much.
        bytes: usize,
    },
}
