//! One behaviour, three backends: every case runs on a fresh memory store, SQLite file and PostgreSQL database.
//!
//! PostgreSQL is the server of `REFLOW_TEST_POSTGRES_URL`, or one that these tests start and stop themselves.

mod cases;
mod memory_only;
mod postgres_only;
mod postgres_tls;
mod sqlite_only;
mod support;
mod upgrades;

/// Stamps each case out for each backend.
macro_rules! suite {
    ($($group:ident: $($case:ident),+;)+) => {
        mod memory {
            $(mod $group { $(
                #[tokio::test]
                async fn $case() {
                    crate::cases::$group::$case(&crate::support::Memory::new()).await;
                }
            )+ })+
        }
        mod sqlite {
            $(mod $group { $(
                #[tokio::test]
                async fn $case() {
                    crate::cases::$group::$case(&crate::support::Sqlite::new()).await;
                }
            )+ })+
        }
        mod postgres {
            $(mod $group { $(
                #[tokio::test]
                async fn $case() {
                    crate::cases::$group::$case(&crate::support::Postgres::new().await).await;
                }
            )+ })+
        }
    };
}

suite! {
    commit:
        chunks_are_read_back_as_they_came,
        redelivered_chunk_changes_nothing,
        duplicates_inside_a_call_count_once,
        an_empty_call_does_nothing,
        extreme_times_fit,
        hostile_names_are_kept_apart,
        a_thousand_chunks_in_one_call,
        concurrent_commits_of_the_same_chunks_store_them_once,
        tenants_do_not_see_each_other,
        a_probe_changes_nothing;
    summary:
        the_flow_of_the_earliest_start_wins,
        a_close_mark_is_no_activity,
        status_is_told_or_inferred,
        a_trace_is_found_by_the_ids_it_was_sent_under,
        clients_say_what_they_recorded,
        versions_are_listed_by_name_and_by_id,
        metadata_and_version_come_with_the_earliest_start,
        actors_are_summed_over_chunks,
        heads_of_many_traces;
    order:
        any_order_and_duplication_gives_the_same_store;
    query:
        pages_are_newest_first_with_true_totals,
        offset_beyond_the_end_is_an_empty_page,
        every_filter_narrows,
        statuses_are_filtered_at_the_edge_of_idleness,
        failures_are_filtered_by_error,
        filters_combine_like_a_walk_over_all_traces,
        popular_actors_and_many_running_traces,
        chunk_pages_cover_the_trace;
    totals:
        totals_stay_true_whatever_happens_to_traces,
        totals_stay_true_through_compaction_and_retention,
        an_error_is_found_however_long_it_is,
        executions_combine_with_every_other_filter;
    rollup:
        minutes_sum_what_was_received,
        what_is_over_a_limit_is_counted_under_other,
        too_many_flows_go_to_other,
        too_many_actors_of_a_trace_are_found_as_other;
    limits:
        clients_over_the_limit_are_counted_under_other,
        empty_batches_of_ever_new_clients_leave_few_rows,
        the_versions_seen_last_are_kept;
    sampling:
        what_was_left_out_stands_beside_what_is_counted,
        doubles_stand_for_nothing_more_once_they_are_found;
    compaction:
        small_chunks_become_few_and_counts_exact,
        a_chunk_that_comes_again_after_compaction_counts_once,
        late_chunks_merge_after_compaction,
        running_traces_are_left_alone,
        days_are_not_merged_with_each_other,
        a_single_chunk_is_looked_through_for_doubles,
        sessions_of_single_events_end_in_few_rows,
        a_trace_that_cannot_be_read_is_passed_over;
    retention:
        whole_days_go_by_age,
        oldest_hours_go_by_size_but_never_the_open_one,
        a_partly_gone_trace_says_how_many_are_left,
        redelivery_after_retention_changes_nothing,
        seen_is_forgotten_after_the_horizon,
        a_trace_can_come_back_after_it_was_removed;
}
