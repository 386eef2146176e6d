//! A trace filter as SQL.
//!
//! The answer is a union of *branches* that share no trace. Each branch is a conjunction that one index answers in the order of the
//! page; an `OR` over two indexes would have to gather and sort all matches to find the newest twenty.

use reflow_tracing_chunk::EndStatus;
use reflow_tracing_protocol::ExecutionStatus;

use super::statement::{Arg, Sql};
use crate::merge::{actor_key, key_text};
use crate::{Page, TraceFilter};

/// `active_step` in the schema: µs in a step.
const STEP_US: i64 = 300_000_000;

/// Up to so many traces of an actor, or open traces, are looked up one by one and sorted; beyond, the newest traces are tried in turn.
pub(crate) const FEW_TRACES: i64 = 1_000;

const OPEN: i64 = 0;
const COMPLETED: i64 = 1;
const FAILED: i64 = 2;
const CANCELLED: i64 = 3;

/// How the actor's traces are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActorPlan {
    /// No actor was asked for.
    None,
    /// The actor is in few traces: start from those.
    FromActor,
    /// The actor is in many: walk the traces and look each up.
    Probe,
}

/// Which flow column a branch goes by.
#[derive(Clone, Copy, Debug)]
enum FlowBranch {
    Any,
    Name,
    Id,
}

/// Which statuses a branch takes.
#[derive(Clone, Copy, Debug)]
enum StatusBranch {
    Any,
    /// What was told of the end: `state` alone.
    Told(i64),
    /// Told, or surely idle for too long: the index alone decides. With or without failures.
    ToldOrIdle {
        told: i64,
        failed: i64,
    },
    /// In the very step in which idle time runs out: the row decides.
    BarelyIdle {
        failed: i64,
    },
    SurelyRunning,
    BarelyRunning,
}

/// A filter that was made ready for one moment.
#[derive(Clone, Debug)]
pub(crate) struct Prepared<'f> {
    filter: &'f TraceFilter,
    cutoff_us: i64,
    actor: Option<i64>,
    plan: ActorPlan,
    /// So many traces are running that the page is found sooner by walking the newest.
    many_open: bool,
    /// `Failed` with this error text.
    error: Option<&'f str>,
    branches: Vec<(FlowBranch, StatusBranch)>,
}

impl<'f> Prepared<'f> {
    pub fn new(filter: &'f TraceFilter, plan: ActorPlan, now_us: i64) -> Self {
        let flows: &[FlowBranch] =
            if filter.flow.is_some() { &[FlowBranch::Name, FlowBranch::Id] } else { &[FlowBranch::Any] };
        let idle = |told, failed| vec![StatusBranch::ToldOrIdle { told, failed }, StatusBranch::BarelyIdle { failed }];
        let mut error = None;
        let statuses = match &filter.status {
            None => vec![StatusBranch::Any],
            Some(ExecutionStatus::Pending) => vec![],
            Some(ExecutionStatus::Running) => vec![StatusBranch::SurelyRunning, StatusBranch::BarelyRunning],
            Some(ExecutionStatus::Completed) => idle(COMPLETED, 0),
            Some(ExecutionStatus::Cancelled) => vec![StatusBranch::Told(CANCELLED)],
            Some(ExecutionStatus::Failed { error: text }) => {
                error = Some(text.as_str()).filter(|text| !text.is_empty());
                idle(FAILED, 1)
            }
        };
        let branches = flows.iter().flat_map(|flow| statuses.iter().map(|status| (*flow, *status))).collect();
        Self {
            filter,
            cutoff_us: now_us.saturating_sub(filter.trace_idle_us),
            actor: filter.actor.as_deref().map(|actor| actor_key(&filter.tenant, actor)),
            plan,
            many_open: false,
            error,
            branches,
        }
    }

    /// Counts open traces up to [`FEW_TRACES`] and one, if the way to the page depends on it.
    pub fn count_open(&self) -> Option<Sql> {
        if self.filter.status != Some(ExecutionStatus::Running) || self.filter.flow.is_some() {
            return None;
        }
        let mut sql = Sql::new("SELECT count(*) FROM (SELECT 1 FROM traces t WHERE t.tenant = ");
        sql.text(&key_text(&self.filter.tenant)).push(" AND t.state = 0 AND t.active_step >= ");
        sql.int(self.cutoff_us / STEP_US).push(" LIMIT ").int(FEW_TRACES + 1).push(") AS few");
        Some(sql)
    }

    /// Tells what [`Prepared::count_open`] has found.
    pub fn with_open(mut self, open: u64) -> Self {
        self.many_open = open > FEW_TRACES as u64;
        self
    }

    /// Whether nothing can match.
    pub fn matches_nothing(&self) -> bool {
        self.branches.is_empty()
    }

    /// `SELECT` of one number.
    pub fn count(&self) -> Sql {
        let filter = self.filter;
        let alone = filter.flow.is_none()
            && filter.execution_id.is_none()
            && filter.start_us.is_none()
            && filter.active_since_us.is_none()
            && filter.status.is_none();
        if let (true, Some(actor)) = (alone, self.actor) {
            // The tenant is in the key.
            let mut sql = Sql::new("SELECT count(*) FROM trace_actors WHERE actor = ");
            sql.int(actor);
            return sql;
        }
        let mut sql = Sql::new("SELECT CAST(");
        for (index, branch) in self.branches.iter().enumerate() {
            sql.push(if index == 0 { "(SELECT count(*)" } else { " + (SELECT count(*)" });
            self.restrict(&mut sql, *branch, false);
            sql.push(")");
        }
        sql.push(" AS BIGINT)");
        sql
    }

    /// `SELECT` of `columns` of the page's traces, newest first.
    pub fn page(&self, columns: &str, page: &Page) -> Sql {
        let bound = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let reach = bound(page.limit).saturating_add(bound(page.offset));
        let mut sql = Sql::new("SELECT ");
        sql.push(columns).push(" FROM (");
        for (index, branch) in self.branches.iter().enumerate() {
            sql.push(if index == 0 { "" } else { " UNION ALL " });
            sql.push("SELECT * FROM (SELECT t.seq, t.start_us, t.trace_id");
            self.restrict(&mut sql, *branch, self.many_open);
            if let Some((start_us, trace_id)) = page.after {
                // The first comparison alone bounds the index scan in both backends; the second is exact.
                sql.push(" AND t.start_us <= ").int(start_us);
                sql.push(" AND (t.start_us, t.trace_id) < ").list([Arg::Int(start_us), Arg::Id(trace_id)]);
            }
            sql.push(" ORDER BY t.start_us DESC, t.trace_id DESC LIMIT ").int(reach).push(") AS b");
        }
        sql.push(") AS p JOIN traces t ON t.seq = p.seq ORDER BY p.start_us DESC, p.trace_id DESC LIMIT ");
        sql.int(bound(page.limit)).push(" OFFSET ").int(bound(page.offset));
        sql
    }

    fn restrict(&self, sql: &mut Sql, (flow, status): (FlowBranch, StatusBranch), walk: bool) {
        let filter = self.filter;
        match (self.plan, self.actor) {
            (ActorPlan::FromActor, Some(actor)) => {
                // CROSS JOIN: SQLite keeps that order; to PostgreSQL it is a join like any other.
                sql.push(" FROM trace_actors a CROSS JOIN traces t WHERE t.seq = a.trace AND a.actor = ").int(actor);
            }
            (ActorPlan::Probe, Some(actor)) => {
                sql.push(" FROM traces t WHERE (SELECT 1 FROM trace_actors a WHERE a.trace = t.seq AND a.actor = ");
                sql.int(actor).push(") = 1");
            }
            _ => drop(sql.push(" FROM traces t WHERE 1 = 1")),
        }
        sql.push(" AND t.tenant = ").text(&key_text(&filter.tenant));
        if let Some(name) = filter.flow.as_deref().map(key_text) {
            match flow {
                FlowBranch::Any => {}
                FlowBranch::Name => drop(sql.push(" AND t.flow_name = ").text(&name)),
                FlowBranch::Id => drop(sql.push(" AND t.flow_id <> t.flow_name AND t.flow_id = ").text(&name)),
            }
        }
        if let Some(id) = filter.execution_id {
            sql.push(" AND (t.execution_id = ").id(id);
            sql.push(" OR (t.execution_id IS NULL AND t.trace_id = ").id(id).push("))");
        }
        if let Some((from_us, to_us)) = filter.start_us {
            sql.push(" AND t.start_us >= ").int(from_us).push(" AND t.start_us <= ").int(to_us);
        }
        if let Some(since_us) = filter.active_since_us {
            // The first comparison is answered by the indexes; the second is exact.
            sql.push(" AND t.active_step >= ")
                .int(since_us / STEP_US)
                .push(" AND t.last_received_us >= ")
                .int(since_us);
        }
        self.status(sql, status, walk);
        if let Some(error) = self.error {
            let error = Arg::Bytes(error.as_bytes().to_vec());
            sql.push(" AND ((t.ended IS NOT NULL AND substr(t.ended, 10) = ").arg(error.clone());
            sql.push(") OR (t.ended IS NULL AND substr(t.first_error, 9) = ").arg(error).push("))");
        }
    }

    fn status(&self, sql: &mut Sql, status: StatusBranch, walk: bool) {
        let step = self.cutoff_us / STEP_US;
        // A plus sign keeps both backends from using the index on this column.
        let active_step = if walk { "+t.active_step" } else { "t.active_step" };
        match status {
            StatusBranch::Any => {}
            StatusBranch::Told(state) => drop(sql.push(" AND t.state = ").int(state)),
            StatusBranch::ToldOrIdle { told, failed } => {
                sql.push(" AND (t.state = ").int(told).push(" OR (t.state = ").int(OPEN);
                sql.push(" AND t.failed = ").int(failed).push(" AND t.active_step < ").int(step).push("))");
            }
            StatusBranch::BarelyIdle { failed } => {
                sql.push(" AND t.state = 0 AND t.failed = ").int(failed).push(" AND t.active_step = ").int(step);
                sql.push(" AND t.last_received_us < ").int(self.cutoff_us);
            }
            StatusBranch::SurelyRunning => {
                sql.push(" AND t.state = 0 AND ").push(active_step).push(" > ").int(step);
            }
            StatusBranch::BarelyRunning => {
                sql.push(" AND t.state = 0 AND t.active_step = ").int(step);
                sql.push(" AND t.last_received_us >= ").int(self.cutoff_us);
            }
        }
    }
}

// The end mark's status byte and the `state` column are kept apart on purpose: the byte's order is the merge order.
const _: () = assert!(EndStatus::Failed as i32 == 2 && EndStatus::Cancelled as i32 == 1);
