//! What a tail wants to see, as narrow as the bus can tell without opening chunks.

/// A live subscription's narrowing on the bus. The subscriber still matches each chunk itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailFilter {
    /// Tenant, always.
    pub tenant: String,
    /// Flow names; `None` is all. Chunks whose flow is unknown (`_`) always pass, for they are matched by trace.
    pub flow_names: Option<Vec<String>>,
}
