//! Where a token may go.
//!
//! A token goes over `https`, or to this machine; and where origins are given, to those alone.

mod destinations;
pub(crate) mod parse;

pub use parse::InvalidOrigin;

pub(crate) use destinations::{Destination, Destinations, is_loopback};
pub(crate) use parse::Origin;
