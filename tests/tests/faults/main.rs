//! What must hold whatever dies: everything acknowledged is stored, nothing is stored that was not sent, and every count of
//! it is the same count.
//!
//! Random moments find what nobody thought of; chosen points between two steps are hit every time. The seed of the random
//! ones is printed, and `REFLOW_FAULTS_SEED` sets it again; `REFLOW_FAULTS_ROUNDS` asks for more of them.

mod compaction;
mod disk;
mod outage;
mod points;
mod random;
mod retention;
mod settings;
mod slow;
mod strike;
mod system;
