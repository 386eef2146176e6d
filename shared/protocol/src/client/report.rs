//! The client's own figures for the server: what was counted since the last report.

use super::metrics::ClientMetrics;
use crate::wire::ClientReport;

/// What `now` has more than `last`.
pub(crate) fn report(client_id: &str, now: &ClientMetrics, last: &ClientMetrics) -> ClientReport {
    macro_rules! increments {
        ($($field:ident),+ $(,)?) => {
            ClientReport { client_id: client_id.to_owned(), $($field: now.$field.saturating_sub(last.$field)),+ }
        };
    }
    increments!(
        events_recorded,
        events_acked,
        events_rejected,
        events_sampled_out,
        dropped_buffer_full,
        dropped_spool,
        dropped_too_large,
        dropped_refused,
        dropped_closed,
        dropped_unwritable,
        batches_sent,
        batches_resent,
        batches_acked,
        bytes_before_compression,
        bytes_after_compression,
        connections,
        connect_failures,
        connections_lost,
        server_errors,
        ack_latency_sum_us,
        ack_latency_count,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_what_was_counted_since_the_last() {
        let last = ClientMetrics { events_acked: 5, events_recorded: 9, ..ClientMetrics::default() };
        let now = ClientMetrics { events_acked: 7, events_recorded: 8, connections: 1, ..ClientMetrics::default() };
        let told = report("c", &now, &last);
        // What is recorded is put together from several counters and may for a moment seem to shrink.
        assert_eq!((told.events_acked, told.events_recorded, told.connections), (2, 0, 1));
        assert_eq!((told.client_id.as_str(), told.batches_sent), ("c", 0));
    }
}
