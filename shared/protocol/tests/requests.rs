//! Whatever a peer sends, reading it gives a request or a reason, and never a panic.

use proptest::prelude::*;
use reflow_tracing_protocol::wire::{Event, Request};

/// One of each kind, with all that is optional.
const REQUESTS: [&str; 14] = [
    r#""Ping""#,
    r#""GetMetrics""#,
    r#"{"StartTrace":{"trace_id":"018f0000-0000-7000-8000-000000000001","flow_id":"f","version":null,"request_id":7}}"#,
    r#"{"RecordEvent":{"trace_id":"018f0000-0000-7000-8000-000000000001","event":{"event_id":"\u0041"}}}"#,
    r#"{"RecordBatch":{"batch_id":"018f0000-0000-7000-8000-000000000001","trace_id":"018f0000-0000-7000-8000-000000000002","client_id":"c","sequence":0,"dropped":0,"events":[{},{}]}}"#,
    r#"{"EndTrace":{"trace_id":"018f0000-0000-7000-8000-000000000001","status":{"Failed":{"error":"e"}}}}"#,
    r#"{"GetTrace":{"trace_id":"018f0000-0000-7000-8000-000000000001","request_id":{"a":[1]}}}"#,
    r#"{"QueryTraces":{"query":{"flow_id":null,"execution_id":null,"time_range":["2026-01-01T00:00:00Z","2026-01-02T00:00:00Z"],"status":"Running","actor_filter":null,"limit":3,"offset":null},"after":"x"}}"#,
    r#"{"GetFlowVersions":{"flow_id":"f"}}"#,
    r#"{"Subscribe":{"filters":{"flow_ids":["f"],"actor_ids":null,"event_types":["ActorCreated",{"DataFlow":{"to_actor":"*","to_port":"*"}}],"status_filter":null},"since":"2026-01-01T00:00:00Z"}}"#,
    r#"{"Subscribe":{"filter":{"flow_ids":null,"actor_ids":null,"event_types":null,"status_filter":null}}}"#,
    r#"{"Unsubscribe":{"subscription_id":"s"}}"#,
    r#"{"ClientMetrics":{"client_id":"c","events_recorded":7,"something_newer":1}}"#,
    r#"{"StoreTrace":{"trace":{"trace_id":"018f0000-0000-7000-8000-000000000001","flow_id":"f","execution_id":"018f0000-0000-7000-8000-000000000002","version":{"major":1,"minor":0,"patch":0,"git_hash":null,"timestamp":"2026-01-01T00:00:00Z"},"start_time":"2026-01-01T00:00:00Z","end_time":null,"status":"Completed","events":[{}],"metadata":{"user_id":null,"session_id":null,"environment":"","hostname":"","process_id":1,"thread_id":"","tags":{}}}}}"#,
];

#[test]
fn the_requests_that_get_damaged_are_good_ones() {
    for request in REQUESTS {
        assert!(Request::parse(request).is_ok(), "{request}: {:?}", Request::parse(request));
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text: String) {
        let _ = Request::parse(&text);
        let _ = serde_json::from_str::<Event<'_>>(&text);
    }

    #[test]
    fn a_damaged_request_never_panics(
        request in prop::sample::select(&REQUESTS[..]),
        at: prop::sample::Index,
        length in 0_usize..20,
        instead in "[\\x00-\\x7f\"\\\\{}\\[\\],:0-9eEun\u{d7ff}]{0,8}",
    ) {
        let mut text = request.to_owned();
        let from = text.floor_char_boundary(at.index(text.len()));
        let to = text.floor_char_boundary((from + length).min(text.len()));
        text.replace_range(from..to, &instead);
        let _ = Request::parse(&text);
    }

    #[test]
    fn a_request_in_two_is_no_request(request in prop::sample::select(&REQUESTS[..]), at: prop::sample::Index) {
        let cut = &request[..request.floor_char_boundary(at.index(request.len()))];
        prop_assert!(Request::parse(cut).is_err());
    }
}
