//! The four executables and what they are told: by variables, files and flags; good and bad.
//!
//! The list of settings is read from the document that operators read, so that what is documented and what works are held
//! together.

mod acting;
mod answers;
mod documented;
mod effects;
mod metrics;
mod mistakes;
mod programs;
mod secrets;
mod services;
