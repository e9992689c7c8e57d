//! Allowed destinations.
//!
//! A token is sent over `https`, or over plain `http` to loopback (127.0.0.0/8, `::1` and `localhost`); if
//! origins are set, only to those. A request to a cleartext host elsewhere is an error, unless
//! [`dangerous_allow_cleartext`](crate::AuthLayer::dangerous_allow_cleartext) is set.

mod destinations;
mod host;
pub(crate) mod parse;

pub use parse::InvalidOrigin;

pub(crate) use destinations::{Destination, Destinations};
pub(crate) use parse::Origin;
