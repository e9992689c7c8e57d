//! Allowed destinations.
//!
//! Tokens are sent over `https` or to loopback and, if origins are set, only to those.

mod destinations;
mod host;
pub(crate) mod parse;

pub use parse::InvalidOrigin;

pub(crate) use destinations::{Destination, Destinations};
pub(crate) use parse::Origin;
