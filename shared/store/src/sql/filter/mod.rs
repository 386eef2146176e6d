//! A trace filter as SQL: a union of *branches* (see there), begun from where there is least to look at.

mod branch;

use branch::{Branch, restrict};

use super::statement::{Arg, Sql};
use crate::merge::actor_key;
use crate::{Page, TraceFilter};

/// Where the search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The traces in the order of the page; an actor is looked up for each.
    Traces,
    /// The actor's traces, whose rows are looked up and sorted.
    Actor,
    /// The traces of the execution.
    Execution,
}

/// A filter that was made ready for one moment.
#[derive(Clone, Debug)]
pub(crate) struct Prepared<'f> {
    filter: &'f TraceFilter,
    cutoff_us: i64,
    actor: Option<i64>,
    branches: Vec<Branch>,
}

impl<'f> Prepared<'f> {
    pub fn new(filter: &'f TraceFilter, now_us: i64) -> Self {
        Self {
            filter,
            cutoff_us: now_us.saturating_sub(filter.trace_idle_us),
            actor: filter.actor.as_deref().map(|actor| actor_key(&filter.tenant, actor)),
            branches: Branch::all(filter),
        }
    }

    /// Whether nothing can match.
    pub fn matches_nothing(&self) -> bool {
        self.branches.is_empty()
    }

    /// Where to begin, unless that depends on how many traces an actor has.
    pub fn source(&self) -> Option<Source> {
        match (self.filter.execution_id, self.actor) {
            (Some(_), _) => Some(Source::Execution),
            (None, None) => Some(Source::Traces),
            (None, Some(_)) => None,
        }
    }

    /// Whether nothing but an actor is asked for.
    pub fn is_actor_alone(&self) -> bool {
        let filter = self.filter;
        self.actor.is_some() && self.is_simple() && filter.flow.is_none() && filter.status.is_none()
    }

    /// `SELECT` of the number of the actor's traces, counted up to `most`. The tenant is in the key.
    pub fn count_actor(&self, most: i64) -> Sql {
        let mut sql = Sql::new("SELECT count(*) FROM (SELECT 1 FROM trace_actors WHERE actor = ");
        sql.literal(self.actor.unwrap_or_default()).push(" LIMIT ").int(most).push(") AS few");
        sql
    }

    /// `SELECT` of how many match.
    pub fn count(&self, source: Source) -> Sql {
        self.count_up_to(source, self.actor, None)
    }

    /// `SELECT` of how many match but for the actor, counted up to about `most`.
    pub fn count_without_actor(&self, most: i64) -> Sql {
        self.count_up_to(Source::Traces, None, Some(most))
    }

    fn count_up_to(&self, source: Source, actor: Option<i64>, most: Option<i64>) -> Sql {
        let mut sql = Sql::new("SELECT CAST(");
        for (index, branches) in self.together(source).enumerate() {
            sql.push(if index == 0 { "(" } else { " + (" });
            if let [branch] = branches
                && actor.is_none()
                && self.is_simple()
                && branch.is_counted(self.filter)
            {
                branch.counted(self.filter, &mut sql);
            } else {
                sql.push(if most.is_some() { "SELECT count(*) FROM (SELECT 1" } else { "SELECT count(*)" });
                restrict(branches, self.filter, (source, true), actor, self.cutoff_us, &mut sql);
                if let Some(most) = most {
                    sql.push(" LIMIT ").int(most).push(") AS few");
                }
            }
            sql.push(")");
        }
        sql.push(" AS BIGINT)");
        sql
    }

    /// `SELECT` of `columns` of the page's traces, newest first.
    pub fn page(&self, source: Source, columns: &str, page: &Page) -> Sql {
        let bound = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let reach = bound(page.limit).saturating_add(bound(page.offset));
        let mut sql = Sql::new("SELECT ");
        sql.push(columns).push(" FROM (");
        for (index, branches) in self.together(source).enumerate() {
            sql.push(if index == 0 { "" } else { " UNION ALL " });
            sql.push("SELECT * FROM (SELECT t.seq, t.start_us, t.trace_id");
            restrict(branches, self.filter, (source, false), self.actor, self.cutoff_us, &mut sql);
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

    /// The branches that one statement answers: each its own where an index does, all where rows are looked up one by one.
    fn together(&self, source: Source) -> std::slice::Chunks<'_, Branch> {
        let most = if source == Source::Traces { 1 } else { self.branches.len() };
        self.branches.chunks(most.max(1))
    }

    /// Whether nothing but tenant, flow, status and actor is asked for: what `trace_counts` knows, but for the actor.
    fn is_simple(&self) -> bool {
        let filter = self.filter;
        let error = matches!(&filter.status, Some(reflow_tracing_protocol::ExecutionStatus::Failed { error }) if !error.is_empty());
        filter.execution_id.is_none() && filter.start_us.is_none() && filter.active_since_us.is_none() && !error
    }
}
