//! What a tail wants to see, as narrow as the bus can tell without opening chunks.
//!
//! Guarantee: a filter never hides a chunk that a subscriber might want; it may let more through.

use reflow_tracing_chunk::Header;

/// A live subscription's narrowing on the bus. The subscriber still matches each chunk itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailFilter {
    /// Tenant, always.
    pub tenant: String,
    /// Flow names; `None` is all. Chunks whose flow is unknown (`_`) always pass, for they are matched by trace.
    pub flow_names: Option<Vec<String>>,
}

impl TailFilter {
    /// Everything of a tenant.
    pub fn tenant(tenant: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), flow_names: None }
    }

    /// Whether a chunk with this header may be wanted.
    pub(crate) fn passes(&self, header: &Header) -> bool {
        if header.tenant != self.tenant {
            return false;
        }
        match (&self.flow_names, &header.flow_name) {
            (Some(wanted), Some(name)) => wanted.iter().any(|wanted| wanted == name),
            _ => true,
        }
    }
}
