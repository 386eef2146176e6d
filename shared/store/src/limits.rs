//! How many different names a store keeps apart.

/// Cardinality limits. What is over one is counted under `other`: sums stay right whatever the order, only the names are lost. Versions
/// are not counted: there the oldest go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Actors by which one trace can be found; over it, by `other`. Default 10,000: a network has hundreds.
    pub actors_per_trace: usize,
    /// Clients of one trace that are told apart; over it, as `other`. Default 1,000: a program of that many processes.
    pub clients_per_trace: usize,
    /// Versions of a flow that are kept, those seen last (in PostgreSQL for each writer). Default 1,000: three years of daily releases.
    pub versions_per_flow: usize,
    /// Flow names a tenant and minute in the rollups. Default 10,000, ten times the largest fleet planned for.
    pub flows_per_minute: usize,
    /// Actors a flow and minute in the rollups. Default 1,000: they lie in one row that each commit rewrites.
    pub actors_per_flow: usize,
    /// Edges a flow and minute in the rollups. Default 2,000, two an actor.
    pub edges_per_flow: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            actors_per_trace: 10_000,
            clients_per_trace: 1_000,
            versions_per_flow: 1_000,
            flows_per_minute: 10_000,
            actors_per_flow: 1_000,
            edges_per_flow: 2_000,
        }
    }
}
