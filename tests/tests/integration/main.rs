//! Our executables as their users meet them: started with a few environment variables, spoken to over WebSocket.
//!
//! The expectations are the published crate's definition of v1 and what the README promises.

mod adoption;
mod durability;
mod limits;
mod live;
mod newer;
mod older;
mod page;
mod queries;
mod services;
mod statuses;
mod system;
mod v1;
mod v2;
