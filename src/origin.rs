//! Allowed destinations.
//!
//! Tokens are sent over `https` or to loopback and, if origins are set, only to those.

mod destinations;
pub(crate) mod parse;

pub use parse::InvalidOrigin;

#[cfg(feature = "__endpoint")]
pub(crate) use destinations::is_loopback;
pub(crate) use destinations::{Destination, Destinations};
pub(crate) use parse::Origin;
