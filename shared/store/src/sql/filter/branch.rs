//! The branches of a trace filter: conjunctions that share no trace and are each answered by one index in the order of the page.
//!
//! An `OR` over two indexes would have to gather and sort all matches to find the newest twenty.

use reflow_tracing_chunk::EndStatus;
use reflow_tracing_protocol::ExecutionStatus;

use super::Source;
use crate::TraceFilter;
use crate::merge::key_text;
use crate::sql::statement::{Arg, Sql};

/// `active_step` in the schema: µs in a step.
const STEP_US: i64 = 300_000_000;

/// What the index of errors holds of one, bytes.
const ERROR_PREFIX_BYTES: usize = 64;

const OPEN: i64 = 0;
const COMPLETED: i64 = 1;
const FAILED: i64 = 2;
const CANCELLED: i64 = 3;

/// Which flow column a branch goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowBranch {
    Any,
    Name,
    Id,
}

/// Which statuses a branch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusBranch {
    Any,
    /// What was told of the end: `state` alone.
    Told(i64),
    /// Nothing was told, and surely idle for too long: the index alone decides. With or without failures.
    SurelyIdle {
        failed: i64,
    },
    /// In the very step in which idle time runs out: the row decides.
    BarelyIdle {
        failed: i64,
    },
    SurelyRunning,
    BarelyRunning,
}

/// One conjunction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    pub flow: FlowBranch,
    pub status: StatusBranch,
}

impl Branch {
    /// The branches of a filter; none when nothing can match.
    pub fn all(filter: &TraceFilter) -> Vec<Self> {
        let flows: &[FlowBranch] =
            if filter.flow.is_some() { &[FlowBranch::Name, FlowBranch::Id] } else { &[FlowBranch::Any] };
        let ended = |told, failed| {
            vec![StatusBranch::Told(told), StatusBranch::SurelyIdle { failed }, StatusBranch::BarelyIdle { failed }]
        };
        let statuses = match &filter.status {
            None => vec![StatusBranch::Any],
            Some(ExecutionStatus::Pending) => vec![],
            Some(ExecutionStatus::Running) => vec![StatusBranch::SurelyRunning, StatusBranch::BarelyRunning],
            Some(ExecutionStatus::Completed) => ended(COMPLETED, 0),
            Some(ExecutionStatus::Cancelled) => vec![StatusBranch::Told(CANCELLED)],
            Some(ExecutionStatus::Failed { .. }) => ended(FAILED, 1),
        };
        flows.iter().flat_map(|flow| statuses.iter().map(|status| Self { flow: *flow, status: *status })).collect()
    }

    /// Whether `trace_counts` tells how many there are, when nothing but flow and status is asked for.
    pub fn is_counted(self, filter: &TraceFilter) -> bool {
        // '' stands for an unknown flow there.
        let by_flow = match self.flow {
            FlowBranch::Any => true,
            FlowBranch::Name => filter.flow.as_deref().is_some_and(|flow| !key_text(flow).is_empty()),
            FlowBranch::Id => false,
        };
        by_flow && matches!(self.status, StatusBranch::Any | StatusBranch::Told(_))
    }

    /// `SELECT` of that number.
    pub fn counted(self, filter: &TraceFilter, sql: &mut Sql) {
        sql.push("SELECT coalesce(sum(traces), 0) FROM trace_counts WHERE tenant = ").text(&key_text(&filter.tenant));
        if let (FlowBranch::Name, Some(name)) = (self.flow, filter.flow.as_deref()) {
            sql.push(" AND flow_name = ").text(&key_text(name));
        }
        if let StatusBranch::Told(state) = self.status {
            sql.push(" AND state = ").int(state);
        }
    }

    /// What tells the branch from the others, as `AND …`.
    fn conditions(self, filter: &TraceFilter, source: Source, cutoff_us: i64, sql: &mut Sql) {
        let name = filter.flow.as_deref().map(key_text).unwrap_or_default();
        match self.flow {
            FlowBranch::Any => {}
            FlowBranch::Name => drop(sql.push(" AND t.flow_name = ").text(&name)),
            FlowBranch::Id => drop(sql.push(" AND t.flow_id <> t.flow_name AND t.flow_id = ").text(&name)),
        }
        let step = cutoff_us / STEP_US;
        // A plus sign keeps both backends from the index on this column where another is better: flows and errors have their own.
        let narrower = source != Source::Traces || filter.flow.is_some() || asked_error(filter).is_some();
        let state = if narrower { " AND +t.state = " } else { " AND t.state = " };
        match self.status {
            StatusBranch::Any => {}
            StatusBranch::Told(told) => drop(sql.push(state).int(told)),
            StatusBranch::SurelyIdle { failed } => {
                sql.push(state).int(OPEN).push(" AND t.failed = ").int(failed);
                sql.push(" AND +t.active_step < ").int(step);
            }
            StatusBranch::BarelyIdle { failed } => {
                sql.push(" AND t.state = 0 AND t.failed = ").int(failed).push(" AND t.active_step = ").int(step);
                sql.push(" AND t.last_received_us < ").int(cutoff_us);
            }
            StatusBranch::SurelyRunning => drop(sql.push(" AND t.state = 0 AND t.active_step > ").int(step)),
            StatusBranch::BarelyRunning => {
                sql.push(" AND t.state = 0 AND t.active_step = ").int(step);
                sql.push(" AND t.last_received_us >= ").int(cutoff_us);
            }
        }
    }
}

/// `FROM … WHERE …` of some branches: one, or as many as the source's traces are looked at for anyway. `whole` when all that match are
/// wanted and not the newest few.
pub(super) fn restrict(
    branches: &[Branch],
    filter: &TraceFilter,
    (source, whole): (Source, bool),
    actor: Option<i64>,
    cutoff_us: i64,
    sql: &mut Sql,
) {
    match (source, actor, filter.execution_id) {
        // CROSS JOIN: SQLite keeps that order; to PostgreSQL it is a join like any other.
        (Source::Actor, Some(actor), _) => {
            sql.push(" FROM trace_actors a CROSS JOIN traces t WHERE t.seq = a.trace AND a.actor = ").literal(actor);
        }
        (Source::Execution, _, Some(id)) => {
            // A trace that was told no execution goes by its own id.
            sql.push(" FROM (SELECT x.seq FROM traces x WHERE x.execution_id = ").id(id);
            sql.push(" UNION ALL SELECT x.seq FROM traces x WHERE x.execution_id IS NULL AND x.trace_id = ").id(id);
            sql.push(") AS e CROSS JOIN traces t WHERE t.seq = e.seq");
        }
        _ => drop(sql.push(" FROM traces t WHERE 1 = 1")),
    }
    match (source, actor) {
        // All matches are looked at: listing the actor's traces once reads a handful of pages, looking each up reads three.
        (Source::Traces, Some(actor)) if whole => {
            sql.push(" AND +t.seq IN (SELECT a.trace FROM trace_actors a WHERE a.actor = ").literal(actor).push(")");
        }
        (Source::Traces | Source::Execution, Some(actor)) => {
            sql.push(" AND (SELECT 1 FROM trace_actors a WHERE a.trace = t.seq AND a.actor = ").literal(actor);
            sql.push(") = 1");
        }
        _ => {}
    }
    sql.push(" AND t.tenant = ").text(&key_text(&filter.tenant));
    if let Some((from_us, to_us)) = filter.start_us {
        sql.push(" AND t.start_us >= ").int(from_us).push(" AND t.start_us <= ").int(to_us);
    }
    if let Some(since_us) = filter.active_since_us {
        // The first comparison is answered by the indexes; the second is exact.
        sql.push(" AND t.active_step >= ").int(since_us / STEP_US);
        sql.push(" AND t.last_received_us >= ").int(since_us);
    }
    match branches {
        [branch] => branch.conditions(filter, source, cutoff_us, sql),
        branches => {
            for (index, branch) in branches.iter().enumerate() {
                sql.push(if index == 0 { " AND (1 = 1" } else { " OR 1 = 1" });
                branch.conditions(filter, source, cutoff_us, sql);
            }
            sql.push(")");
        }
    }
    restrict_error(filter, sql);
}

fn restrict_error(filter: &TraceFilter, sql: &mut Sql) {
    let Some(error) = asked_error(filter).map(str::as_bytes) else { return };
    // The words of `traces_by_error`, so that it is found.
    sql.push(" AND (t.failed = 1 OR t.state = 2) AND substr(CASE WHEN t.ended IS NULL THEN substr(t.first_error, 9) ");
    sql.push("ELSE substr(t.ended, 10) END, 1, 64) = ");
    sql.arg(Arg::Bytes(error[..error.len().min(ERROR_PREFIX_BYTES)].to_vec()));
    if error.len() >= ERROR_PREFIX_BYTES {
        sql.push(" AND CASE WHEN t.ended IS NULL THEN substr(t.first_error, 9) ELSE substr(t.ended, 10) END = ");
        sql.arg(Arg::Bytes(error.to_vec()));
    }
}

/// `Failed` with this text; an empty one is any.
fn asked_error(filter: &TraceFilter) -> Option<&str> {
    match &filter.status {
        Some(ExecutionStatus::Failed { error }) if !error.is_empty() => Some(error),
        _ => None,
    }
}

// The end mark's status byte and the `state` column are kept apart on purpose: the byte's order is the merge order.
const _: () = assert!(EndStatus::Failed as i32 == 2 && EndStatus::Cancelled as i32 == 1);
