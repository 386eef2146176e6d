//! What a tail wants to see, as narrow as the bus can tell without opening chunks.
//!
//! Guarantee: a filter never hides a chunk that a subscriber might want; it may let more through.
//!
//! A bus that routes by subject (*nats*) has one place for a chunk's flow, and a chunk has two words for it: the flow id, which viewers of one run
//! ask for, and the flow name, which viewers of all runs ask for. The name has the place. A viewer of a name is therefore narrow; one of an id finds
//! its chunks there if the id is the name. What is left:
//! - An id with a generated tail never is its flow's name, and what the name is instead only the program knows (`flow_name`). Who asks for such an id takes
//!   everything of the tenant ([`TailFilter::routes`]): it is one who looks at one run.
//! - Any other id whose program gave a name of its own: those chunks have the place of an unknown flow ([`route`]), which everybody takes.
//!
//! Both go by the same fixed rule of what a tail is, whatever `flow_name.strip_generated_tail` says in this process: two processes that
//! were told differently must still find each other's chunks.

use reflow_tracing_chunk::{FlowNaming, Header};

/// Which ids have a generated tail.
const TAILS: FlowNaming = FlowNaming { strip_generated_tail: true };

/// A live subscription's narrowing on the bus. The subscriber still matches each chunk itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailFilter {
    /// Tenant, always.
    pub tenant: String,
    /// Flow ids or flow names; `None` is all. Chunks whose flow is unknown always pass, for they are matched by trace.
    pub flows: Option<Vec<String>>,
}

impl TailFilter {
    /// Everything of a tenant.
    pub fn tenant(tenant: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), flows: None }
    }

    /// Whether a chunk with this header may be wanted.
    pub(crate) fn passes(&self, header: &Header) -> bool {
        if header.tenant != self.tenant {
            return false;
        }
        match (&self.flows, &header.flow_id, &header.flow_name) {
            (Some(wanted), Some(id), Some(name)) => wanted.iter().any(|wanted| wanted == id || wanted == name),
            _ => true,
        }
    }

    /// The routes of all chunks that pass, beside those without one; `None`: they may be anywhere.
    pub(crate) fn routes(&self) -> Option<&[String]> {
        self.flows.as_deref().filter(|flows| !flows.iter().any(|flow| has_tail(flow)))
    }
}

/// The flow name that a chunk is routed by; `None`: everybody takes it.
pub(crate) fn route(header: &Header) -> Option<&str> {
    let (id, name) = (header.flow_id.as_deref()?, header.flow_name.as_deref()?);
    (id == name || has_tail(id)).then_some(name)
}

fn has_tail(flow_id: &str) -> bool {
    TAILS.name_of(flow_id) != flow_id
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever passes a filter lies on one of its routes.
    #[test]
    fn no_route_hides_what_passes() {
        let words = ["orders", "orders_17639000001", "prog", "prog_17639000001", "17639000001"];
        for (id, name) in words.iter().flat_map(|id| words.iter().map(move |name| (id, name))) {
            let (flow_id, flow_name) = (Some((*id).to_owned()), Some((*name).to_owned()));
            let header = Header { flow_id, flow_name, ..Header::default() };
            for wanted in words {
                let filter = TailFilter { flows: Some(vec![wanted.to_owned()]), ..TailFilter::default() };
                assert_eq!(filter.passes(&header), wanted == *id || wanted == *name, "{id} {name} {wanted}");
                let taken = match (filter.routes(), route(&header)) {
                    (Some(routes), Some(route)) => routes.iter().any(|name| name == route),
                    _ => true,
                };
                assert!(taken || !filter.passes(&header), "{wanted} does not find {id} called {name}");
            }
        }
    }

    #[test]
    fn viewers_of_names_are_narrow_and_find_what_is_named_by_its_program() {
        let names = TailFilter { flows: Some(vec!["prog".to_owned()]), ..TailFilter::default() };
        assert_eq!(names.routes(), Some(&["prog".to_owned()][..]));
        let header = |id: &str, name: &str| Header {
            flow_id: Some(id.to_owned()),
            flow_name: Some(name.to_owned()),
            ..Header::default()
        };
        assert_eq!(route(&header("network_session_1763900000", "prog")), Some("prog"));
        assert_eq!(route(&header("orders", "orders")), Some("orders"));
        assert_eq!(route(&header("orders", "prog")), None);
    }
}
