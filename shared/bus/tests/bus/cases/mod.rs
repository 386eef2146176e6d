//! The cases of the suite, by what they are about.

mod delivery;
mod letters;
mod pressure;
mod tails;

pub use delivery::*;
pub use letters::*;
pub use pressure::*;
pub use tails::*;

use crate::suite::{Tried, Wanted};

/// Makes the bus that a case asks for.
pub trait Make: AsyncFn(Wanted) -> Tried {}

impl<F: AsyncFn(Wanted) -> Tried> Make for F {}
