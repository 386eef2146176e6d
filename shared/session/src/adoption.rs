//! Which trace an event of a v1 session belongs to.
//!
//! The published client sends each event under a fresh random id and starts its trace, without an id, some time after its
//! first events. So a v1 session has one trace and *adopts* ids that nobody started; a program that does mean its ids is told
//! by its using one of them twice. Here is the one implementation of these rules.
//!
//! Published clients cannot end a trace either. One that runs for long begins more than a session may have open: the trace that has
//! been begun the longest then *gives way*, and gets the mark that a close by the peer would give it. What a client has started by
//! id it can also end; such a trace stays open until it does.
//!
//! A trace of which nothing could be published, because each of its events was refused, gets no mark: that would be all there is of it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

use uuid::Uuid;

/// Ids of adopted events that are remembered, so that a repeat is noticed. A program that means its ids repeats them soon.
const REMEMBERED_UNKNOWN: usize = 4_096;

/// The traces of one v1 session.
#[derive(Debug, Default)]
pub(crate) struct Adoption {
    /// The trace that unknown ids belong to.
    current: Option<Uuid>,
    /// `current` has been named by a `StartTrace`.
    named: bool,
    /// Ids that stand for themselves: started on this session, or seen to repeat. With the place in `yielding` of those that may give
    /// way.
    known: HashMap<Uuid, Option<u64>>,
    /// Those that may give way, oldest first.
    yielding: BTreeMap<u64, Uuid>,
    /// How many have got a place in `yielding` so far.
    places: u64,
    /// Traces that gave way and have no mark yet.
    gave_way: Vec<Uuid>,
    /// How many gathers have published, or may still publish, something of a trace.
    weights: HashMap<Uuid, usize>,
    /// The client can end its traces: none gives way, and the end of its connection says nothing of them.
    strict: bool,
    /// Unknown ids and the trace that adopted each, newest last.
    adopted: HashMap<Uuid, Uuid>,
    adopted_order: VecDeque<Uuid>,
    /// An adopted id came again: from then on every id stands for itself.
    over: bool,
}

/// Too many traces for one session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyTraces;

impl Adoption {
    /// For v2 sessions, whose clients mean their ids: every id stands for itself.
    pub(crate) fn strict() -> Self {
        Self { over: true, strict: true, ..Self::default() }
    }

    /// How often each id occurs in a gather: an id that is repeated within one is a trace of its own.
    pub(crate) fn count(ids: impl Iterator<Item = Uuid>) -> HashMap<Uuid, usize> {
        let mut counts = HashMap::new();
        ids.for_each(|id| *counts.entry(id).or_default() += 1);
        counts
    }

    /// The trace of an event that was sent under `id`, which occurs `in_gather` times in the gather being resolved.
    pub(crate) fn resolve(&mut self, id: Uuid, in_gather: usize, max_traces: usize) -> Result<Uuid, TooManyTraces> {
        if self.known.contains_key(&id) || self.current == Some(id) {
            return Ok(id);
        }
        let Some(current) = self.current else {
            self.learn(id, !self.strict, max_traces)?;
            self.current = Some(id);
            return Ok(id);
        };
        let repeated_later = self.adopted.contains_key(&id);
        if in_gather > 1 || repeated_later || self.over {
            self.over |= repeated_later;
            self.learn(id, !self.strict, max_traces)?;
            return Ok(id);
        }
        self.remember(id, current);
        Ok(current)
    }

    /// `StartTrace` with an id: the client owns it, it is a trace of its own.
    pub(crate) fn start_with_id(&mut self, id: Uuid, max_traces: usize) -> Result<Uuid, TooManyTraces> {
        self.learn(id, false, max_traces)?;
        Ok(id)
    }

    /// `StartTrace` without an id: names the running trace if nobody has, else begins the next one, under `fresh`. In v2 it always
    /// begins one.
    pub(crate) fn start(&mut self, fresh: Uuid, max_traces: usize) -> Result<Uuid, TooManyTraces> {
        let before = self.current.take();
        let id = match before {
            Some(current) if !self.named && !self.strict => current,
            _ => fresh,
        };
        if let Err(too_many) = self.learn(id, !self.strict, max_traces) {
            self.current = before;
            return Err(too_many);
        }
        self.current = Some(id);
        self.named = true;
        Ok(id)
    }

    /// A trace was ended explicitly; a closing connection says nothing more about it. Which: whoever ends an id that was adopted ends
    /// the trace that its event is in; nothing else was ever recorded under it.
    pub(crate) fn ended(&mut self, id: Uuid) -> Uuid {
        let stands_for_itself = self.known.contains_key(&id) || self.current == Some(id);
        let trace = if stands_for_itself { id } else { self.adopted.get(&id).copied().unwrap_or(id) };
        self.forget(trace);
        self.weights.remove(&trace);
        if self.current == Some(trace) {
            (self.current, self.named) = (None, false);
        }
        trace
    }

    /// One more gather has something of the trace.
    pub(crate) fn gathered(&mut self, id: Uuid) {
        if !self.strict {
            *self.weights.entry(id).or_default() += 1;
        }
    }

    /// Of what one gather had of the trace, nothing was fit to be published.
    pub(crate) fn nothing_published(&mut self, id: Uuid) {
        if let Entry::Occupied(mut weight) = self.weights.entry(id) {
            *weight.get_mut() -= 1;
            if *weight.get() == 0 {
                weight.remove();
            }
        }
    }

    /// Every trace of the session of which there is something, for the mark that the peer has closed.
    pub(crate) fn traces(&self) -> impl Iterator<Item = Uuid> + '_ {
        let current = self.current.filter(|current| !self.known.contains_key(current));
        self.known.keys().copied().chain(current).filter(|id| self.weights.contains_key(id))
    }

    /// The traces that gave way since this was last asked, for the same mark.
    pub(crate) fn take_gave_way(&mut self) -> Vec<Uuid> {
        let gave_way = std::mem::take(&mut self.gave_way);
        gave_way.into_iter().filter(|id| self.weights.remove(id).is_some()).collect()
    }

    fn learn(&mut self, id: Uuid, yields: bool, max_traces: usize) -> Result<(), TooManyTraces> {
        match self.known.get(&id) {
            // Started by id: so it stays.
            Some(None) => return Ok(()),
            Some(Some(place)) => drop(self.yielding.remove(place)),
            None if self.known.len() >= max_traces => self.make_room()?,
            None => {}
        }
        let place = yields.then(|| {
            self.places += 1;
            self.yielding.insert(self.places, id);
            self.places
        });
        self.known.insert(id, place);
        // From now on it stands for itself, also to whoever ends it.
        if let Some(trace) = self.adopted.get_mut(&id) {
            *trace = id;
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), TooManyTraces> {
        let oldest = self.yielding.values().copied().find(|id| self.current != Some(*id)).ok_or(TooManyTraces)?;
        self.forget(oldest);
        self.gave_way.push(oldest);
        // Should it be used again after all, it stands for itself again.
        self.remember(oldest, oldest);
        Ok(())
    }

    fn forget(&mut self, id: Uuid) {
        if let Some(Some(place)) = self.known.remove(&id) {
            self.yielding.remove(&place);
        }
    }

    fn remember(&mut self, id: Uuid, trace: Uuid) {
        if self.adopted.insert(id, trace).is_none() {
            self.adopted_order.push_back(id);
        }
        if self.adopted_order.len() > REMEMBERED_UNKNOWN
            && let Some(oldest) = self.adopted_order.pop_front()
        {
            self.adopted.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 8;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn gather(adoption: &mut Adoption, ids: &[u128]) -> Vec<u128> {
        let counts = Adoption::count(ids.iter().map(|n| id(*n)));
        let resolve = |n: &u128| adoption.resolve(id(*n), counts[&id(*n)], MAX).unwrap();
        let traces: Vec<Uuid> = ids.iter().map(resolve).collect();
        traces.iter().for_each(|id| adoption.gathered(*id));
        traces.iter().map(Uuid::as_u128).collect()
    }

    fn start(adoption: &mut Adoption, n: u128) -> Result<Uuid, TooManyTraces> {
        let id = adoption.start(id(n), MAX)?;
        adoption.gathered(id);
        Ok(id)
    }

    #[test]
    fn random_ids_before_and_after_an_unnamed_start_are_one_trace() {
        let mut adoption = Adoption::default();
        assert_eq!(gather(&mut adoption, &[1, 2, 3]), [1, 1, 1]);
        assert_eq!(adoption.start(id(100), MAX), Ok(id(1)));
        assert_eq!(gather(&mut adoption, &[4, 5]), [1, 1]);
        assert_eq!(adoption.traces().collect::<Vec<_>>(), [id(1)]);
    }

    #[test]
    fn a_second_start_begins_the_next_trace() {
        let mut adoption = Adoption::default();
        assert_eq!(adoption.start(id(100), MAX), Ok(id(100)));
        assert_eq!(gather(&mut adoption, &[1, 2]), [100, 100]);
        assert_eq!(adoption.start(id(101), MAX), Ok(id(101)));
        assert_eq!(gather(&mut adoption, &[3, 100, 101]), [101, 100, 101]);
    }

    #[test]
    fn an_unnamed_start_in_v2_takes_over_no_other_trace() {
        let mut strict = Adoption::strict();
        assert_eq!(gather(&mut strict, &[1, 2]), [1, 2]);
        assert_eq!(strict.start(id(100), MAX), Ok(id(100)));
        assert_eq!(gather(&mut strict, &[1, 3]), [1, 3]);
    }

    #[test]
    fn an_id_repeated_within_a_gather_stands_for_itself() {
        let mut adoption = Adoption::default();
        assert_eq!(gather(&mut adoption, &[1, 1, 2, 2, 3]), [1, 1, 2, 2, 1]);
        assert_eq!(gather(&mut adoption, &[2]), [2]);
    }

    #[test]
    fn a_later_repeat_ends_adoption_for_good() {
        let mut adoption = Adoption::default();
        assert_eq!(gather(&mut adoption, &[1]), [1]);
        assert_eq!(gather(&mut adoption, &[2]), [1]);
        assert_eq!(gather(&mut adoption, &[2]), [2]);
        assert_eq!(gather(&mut adoption, &[3]), [3]);
    }

    #[test]
    fn an_id_started_by_id_is_never_adopted() {
        let mut adoption = Adoption::default();
        assert_eq!(adoption.start_with_id(id(7), MAX), Ok(id(7)));
        assert_eq!(gather(&mut adoption, &[1, 7, 2]), [1, 7, 1]);
    }

    #[test]
    fn the_end_of_an_adopted_id_ends_the_trace_that_took_it_in() {
        let mut adoption = Adoption::default();
        assert_eq!(gather(&mut adoption, &[1, 2]), [1, 1]);
        assert_eq!(start(&mut adoption, 100), Ok(id(1)));
        assert_eq!(start(&mut adoption, 101), Ok(id(101)));
        assert_eq!(gather(&mut adoption, &[3]), [101]);
        assert_eq!(adoption.ended(id(2)), id(1));
        assert_eq!(adoption.traces().collect::<Vec<_>>(), [id(101)], "the running trace goes on");
        assert_eq!(gather(&mut adoption, &[4]), [101]);
        assert_eq!(adoption.ended(id(3)), id(101));
        // What came again stands for itself, and so does what nobody has heard of.
        assert_eq!(gather(&mut adoption, &[5, 6]), [5, 5]);
        assert_eq!(gather(&mut adoption, &[6]), [6]);
        for _ in 0..2 {
            assert_eq!((adoption.ended(id(6)), adoption.ended(id(77))), (id(6), id(77)));
        }
    }

    #[test]
    fn open_traces_are_bounded_and_ended_ones_do_not_count() {
        let mut adoption = Adoption::default();
        (0..8).for_each(|n| assert!(adoption.start_with_id(id(n), MAX).is_ok()));
        assert_eq!(adoption.start_with_id(id(8), MAX), Err(TooManyTraces));
        adoption.ended(id(3));
        assert!(adoption.start_with_id(id(8), MAX).is_ok());
    }

    #[test]
    fn what_nobody_can_end_gives_way_oldest_first_and_the_running_trace_stays() {
        let mut adoption = Adoption::default();
        (0..7).for_each(|n| assert_eq!(start(&mut adoption, n), Ok(id(n))));
        assert!(adoption.start_with_id(id(50), MAX).is_ok());
        adoption.gathered(id(50));
        assert!(adoption.take_gave_way().is_empty());
        // One more than fit: by an event, by a start without an id, by a start with one.
        assert_eq!(gather(&mut adoption, &[60, 60]), [60, 60]);
        assert_eq!(start(&mut adoption, 7), Ok(id(7)));
        assert!(adoption.start_with_id(id(51), MAX).is_ok());
        adoption.gathered(id(51));
        assert_eq!(adoption.take_gave_way(), [id(0), id(1), id(2)]);
        assert!(adoption.take_gave_way().is_empty());
        assert_eq!(adoption.traces().count(), MAX);
        assert_eq!(gather(&mut adoption, &[99, 50, 60]), [7, 50, 60]);
    }

    #[test]
    fn a_trace_that_gave_way_and_is_used_again_stands_for_itself_again() {
        let mut adoption = Adoption::default();
        (0..9).for_each(|n| assert_eq!(start(&mut adoption, n), Ok(id(n))));
        assert_eq!(adoption.take_gave_way(), [id(0)]);
        assert_eq!(gather(&mut adoption, &[0]), [0]);
        assert_eq!(adoption.take_gave_way(), [id(1)]);
    }

    #[test]
    fn one_trace_after_the_other_fits_into_any_limit() {
        let mut adoption = Adoption::default();
        for n in 0..5 {
            assert_eq!(adoption.start(id(n), 1), Ok(id(n)));
            assert_eq!(adoption.resolve(id(100 + n), 1, 1), Ok(id(n)));
            adoption.gathered(id(n));
        }
        assert_eq!(adoption.take_gave_way().len(), 4);
        // The trace that runs does not make room for an id of its own.
        assert_eq!(adoption.resolve(id(200), 2, 1), Err(TooManyTraces));
    }

    #[test]
    fn what_nothing_was_published_of_gets_no_mark() {
        let mut adoption = Adoption::default();
        assert_eq!(gather(&mut adoption, &[1]), [1]);
        assert_eq!(start(&mut adoption, 2), Ok(id(1)));
        assert_eq!(start(&mut adoption, 3), Ok(id(3)));
        // The first of two gathers of the one trace had nothing but what was refused, and so had the only one of the other.
        adoption.nothing_published(id(1));
        assert_eq!(adoption.traces().count(), 2);
        adoption.nothing_published(id(3));
        assert_eq!(adoption.traces().collect::<Vec<_>>(), [id(1)]);
        (10..18).for_each(|n| assert_eq!(start(&mut adoption, n), Ok(id(n))));
        assert_eq!(adoption.take_gave_way(), [id(1)]);
    }

    #[test]
    fn what_was_started_by_id_or_in_v2_does_not_give_way() {
        let mut adoption = Adoption::default();
        (0..8).for_each(|n| assert!(adoption.start_with_id(id(n), MAX).is_ok()));
        assert_eq!(adoption.start(id(8), MAX), Err(TooManyTraces));
        let mut strict = Adoption::strict();
        (0..8).for_each(|n| assert!(strict.start(id(n), MAX).is_ok()));
        assert_eq!(strict.start(id(8), MAX), Err(TooManyTraces));
        assert_eq!(strict.resolve(id(9), 2, MAX), Err(TooManyTraces));
    }
}
