//! `QueryTraces`: v1 gets whole traces with their events, as the published server answers; v2 gets summaries, page by page.
//!
//! Guarantee: the total is the true one, and a page is never cut in silence: what does not fit is refused with the limit that
//! would. Summaries are read in steps, so that a limit of a million costs no more memory than the answer may have bytes.

use reflow_tracing_chunk::{sanitize_name, sanitize_status};
use reflow_tracing_protocol::TraceQuery;
use reflow_tracing_session::{Dialect, Question};
use reflow_tracing_store::{Page, StoreReader, TraceFilter, TraceSummary};

use crate::answer::Answer;
use crate::cursor;
use crate::events::{Load, LoadError};
use crate::head::{open_head, v2_summary};
use crate::refusal::Refusal;
use crate::room::Room;

/// Traces of a query that names no limit.
const DEFAULT_LIMIT: usize = 100;

/// Summaries read at once.
const STEP: usize = 256;

/// A query against one reader.
pub(crate) struct Listing<'a> {
    pub reader: &'a dyn StoreReader,
    pub question: &'a Question,
    pub trace_idle_us: i64,
    pub now_us: i64,
}

/// Reads matching summaries one by one, a step at a time.
struct Summaries<'a> {
    listing: &'a Listing<'a>,
    filter: TraceFilter,
    page: Page,
    /// How many the caller still wants.
    wanted: usize,
    /// Known after the first step.
    total: Option<u64>,
    step: std::vec::IntoIter<TraceSummary>,
}

impl Listing<'_> {
    /// The answer to `query`.
    pub async fn answer(&self, query: &TraceQuery, after: Option<&str>, room: &mut Room) -> Result<Answer, Refusal> {
        let after = after.map(cursor::parse).transpose()?;
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        let mut summaries = Summaries {
            listing: self,
            filter: self.filter(query)?,
            page: Page { limit: 0, offset: query.offset.unwrap_or(0), after },
            wanted: limit,
            total: None,
            step: Vec::new().into_iter(),
        };
        match self.question.dialect {
            Dialect::V2 => self.summaries(&mut summaries, limit, room).await,
            Dialect::V1 | Dialect::V1Older => self.whole_traces(&mut summaries, room).await,
        }
    }

    fn filter(&self, query: &TraceQuery) -> Result<TraceFilter, Refusal> {
        let start_us = query.time_range.map(|(from, to)| (from.timestamp_micros(), to.timestamp_micros()));
        if start_us.is_some_and(|(from, to)| from > to) {
            return Err(Refusal::invalid("time_range ends before it begins: give the earlier time first"));
        }
        Ok(TraceFilter {
            tenant: self.question.tenant.clone(),
            flow: query.flow_id.as_ref().map(|flow| flow.0.clone()),
            execution_id: query.execution_id.as_ref().map(|id| id.0),
            start_us,
            active_since_us: None,
            status: query.status.clone().map(sanitize_status),
            actor: query.actor_filter.as_deref().map(|actor| sanitize_name(actor).into_owned()),
            trace_idle_us: self.trace_idle_us,
        })
    }

    async fn summaries(&self, summaries: &mut Summaries<'_>, limit: usize, room: &mut Room) -> Result<Answer, Refusal> {
        let max = self.question.max_answer_bytes;
        let (mut list, mut count, mut last) = (String::new(), 0_usize, None);
        // One more than wanted tells whether there is a next page.
        summaries.wanted = if limit == 0 { 0 } else { limit.saturating_add(1) };
        let mut next = None;
        while let Some(summary) = summaries.next().await? {
            if count == limit {
                next = last;
                break;
            }
            let text = v2_summary(&summary).map_err(|error| Refusal::damaged("a summary", &error))?;
            if list.len() + text.len() > max {
                return Err(too_many(count, list.len() + text.len(), max));
            }
            room.take(text.len()).await?;
            if count > 0 {
                list.push(',');
            }
            list.push_str(&text);
            count += 1;
            last = Some((summary.start_us, summary.trace_id));
        }
        let mut answer = Answer::default();
        answer.text(r#"{"QueryResults":{"traces":["#);
        answer.text(list);
        let next = next.map(|(start_us, trace_id)| format!("\"{}\"", cursor::format(start_us, trace_id)));
        let next = next.as_deref().unwrap_or("null");
        let total = summaries.total().await?;
        answer.text(format!(r#"],"total_count":{total},"next":{next}{}}}}}"#, request_id(self.question)));
        Ok(answer)
    }

    async fn whole_traces(&self, summaries: &mut Summaries<'_>, room: &mut Room) -> Result<Answer, Refusal> {
        let max = self.question.max_answer_bytes;
        let older = self.question.dialect == Dialect::V1Older;
        let mut answer = Answer::default();
        answer.text(if older { r#"{"TracesFound":{"traces":["# } else { r#"{"QueryResults":{"traces":["# });
        let mut count = 0;
        while let Some(summary) = summaries.next().await? {
            let trace_id = summary.trace_id;
            let left = max.saturating_sub(answer.bytes());
            let load = Load { reader: self.reader, v1: true, max_bytes: left, now_us: self.now_us };
            let (summary, events) = match load.trace(summary, room).await {
                Ok(loaded) => loaded,
                Err(LoadError::Refused(refusal)) => return Err(refusal),
                Err(LoadError::TooLarge(trace)) if count == 0 => {
                    return Err(Refusal::too_large(format!(
                        "trace {trace_id} alone is about {} bytes and an answer holds at most {max}: narrow time_range or \
                         the other filters past it, or query through v2, which lists traces without their events",
                        trace.about_bytes,
                    )));
                }
                Err(LoadError::TooLarge(trace)) => {
                    return Err(too_many(count, answer.bytes().saturating_add(trace.about_bytes as usize), max));
                }
            };
            let head = open_head(&summary, true).map_err(|error| Refusal::damaged("a summary", &error))?;
            let comma = if count > 0 { "," } else { "" };
            answer.text(format!(r#"{comma}{head},"events":["#));
            answer.events(events);
            answer.text("]}");
            if answer.bytes() > max {
                return Err(too_many(count, answer.bytes(), max));
            }
            count += 1;
        }
        let total = if older { String::new() } else { format!(r#","total_count":{}"#, summaries.total().await?) };
        answer.text(format!("]{total}{}}}}}", request_id(self.question)));
        Ok(answer)
    }
}

impl Summaries<'_> {
    async fn next(&mut self) -> Result<Option<TraceSummary>, Refusal> {
        if self.step.len() == 0 && self.wanted > 0 {
            self.page.limit = self.wanted.min(STEP);
            self.read().await?;
        }
        let summary = self.step.next();
        if let Some(summary) = &summary {
            self.page.after = Some((summary.start_us, summary.trace_id));
        }
        Ok(summary)
    }

    async fn read(&mut self) -> Result<(), Refusal> {
        let found = self.listing.reader.query(&self.filter, &self.page, self.listing.now_us).await?;
        // A step that is not full is the last.
        self.wanted = if found.traces.len() < self.page.limit { 0 } else { self.wanted - found.traces.len() };
        self.page.offset = 0;
        self.total.get_or_insert(found.total);
        self.step = found.traces.into_iter();
        Ok(())
    }

    /// The true total, also when no trace was wanted.
    async fn total(&mut self) -> Result<u64, Refusal> {
        if self.total.is_none() {
            self.page.limit = 0;
            self.read().await?;
        }
        Ok(self.total.unwrap_or_default())
    }
}

/// The echo, as last field of a frame's body.
pub(crate) fn request_id(question: &Question) -> String {
    question.request_id.as_ref().map_or_else(String::new, |id| format!(r#","request_id":{}"#, id.get()))
}

fn too_many(fit: usize, bytes: usize, max: usize) -> Refusal {
    Refusal::too_large(format!(
        "the answer would be more than {bytes} bytes and holds at most {max}: ask with limit {} and go on from there, or narrow \
         time_range or the other filters",
        fit.max(1),
    ))
}
