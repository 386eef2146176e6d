//! Names on the server: streams, the consumer, subjects. One place, because every binary must agree on them.

use reflow_tracing_chunk::{Header, flow_hash};
use uuid::Uuid;

use crate::TailFilter;
use crate::filter::route;

/// Stream of chunks.
pub(crate) const CHUNKS: &str = "REFLOW_CHUNKS";
/// Stream of dead letters.
pub(crate) const DEAD: &str = "REFLOW_DEAD";
/// The durable consumer that all writers share.
pub(crate) const WRITERS: &str = "writers";
/// Subject of dead letters.
pub(crate) const DEAD_SUBJECT: &str = "reflow.dead";
/// Subjects of the chunk stream.
pub(crate) const CHUNK_SUBJECTS: &str = "reflow.chunks.>";
/// Where the server republishes what it stored.
pub(crate) const LIVE_SUBJECTS: &str = "reflow.live.>";

const SHARDS: u128 = 16;
/// With more flows than this a tail takes all of its tenant and filters itself: a subscription costs the server, too.
const MAX_FLOW_SUBJECTS: usize = 64;

/// `reflow.chunks.<tenant>.<flow>.<shard>`.
pub(crate) fn chunk_subject(header: &Header) -> String {
    let flow = flow_hash(route(header));
    format!("reflow.chunks.{}.{flow}.{}", header.tenant, shard(header.trace_uuid()))
}

/// Trace ids are random or, in UUIDv7, random in their low half: the low bits are hash enough.
fn shard(trace_id: Uuid) -> u128 {
    trace_id.as_u128() % SHARDS
}

/// The subjects that a tail has to subscribe to. They never overlap, so that no chunk comes twice.
pub(crate) fn live_subjects(filter: &TailFilter) -> Vec<String> {
    let tenant = &filter.tenant;
    match filter.routes() {
        Some(names) if names.len() <= MAX_FLOW_SUBJECTS => {
            let mut hashes: Vec<_> = names.iter().map(|name| flow_hash(Some(name))).collect();
            hashes.push(flow_hash(None));
            hashes.sort_unstable();
            hashes.dedup();
            hashes.into_iter().map(|hash| format!("reflow.live.{tenant}.{hash}.*")).collect()
        }
        _ => vec![format!("reflow.live.{tenant}.*.*")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_carry_tenant_flow_and_shard() {
        let header = Header {
            tenant: "team-7".to_owned(),
            flow_id: Some("orders_1763900000".to_owned()),
            flow_name: Some("orders".to_owned()),
            trace_id: Uuid::from_u128(0x2b).as_bytes().to_vec(),
            ..Header::default()
        };
        let flow = flow_hash(Some("orders"));
        assert_eq!(chunk_subject(&header), format!("reflow.chunks.team-7.{flow}.11"));
        let unknown = Header { flow_id: None, flow_name: None, ..header };
        assert_eq!(chunk_subject(&unknown), "reflow.chunks.team-7._.11");
    }

    #[test]
    fn tails_are_as_narrow_as_their_filter() {
        let all = TailFilter::tenant("t");
        assert_eq!(live_subjects(&all), ["reflow.live.t.*.*"]);
        let some = TailFilter { flows: Some(vec!["a".to_owned(), "a".to_owned()]), ..all.clone() };
        let known = format!("reflow.live.t.{}.*", flow_hash(Some("a")));
        let subjects = live_subjects(&some);
        assert_eq!(subjects.len(), 2);
        assert!(subjects.contains(&known) && subjects.contains(&"reflow.live.t._.*".to_owned()));
        let many = TailFilter { flows: Some((0..100).map(|n| n.to_string()).collect()), ..all.clone() };
        assert_eq!(live_subjects(&many).len(), 1);
        let one_run = TailFilter { flows: Some(vec!["a".to_owned(), "a_1763900000".to_owned()]), ..all };
        assert_eq!(live_subjects(&one_run), ["reflow.live.t.*.*"], "only its program knows its name");
    }
}
