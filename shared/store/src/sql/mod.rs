//! What the two SQL backends share: the order of a commit and of a compaction, the questions of readers, the migration list.

pub(crate) mod clients;
pub(crate) mod commit;
pub(crate) mod compact;
pub(crate) mod filter;
pub(crate) mod migration;
pub(crate) mod read;
pub(crate) mod rollups;
pub(crate) mod statement;
