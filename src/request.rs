//! What happens to one request, independent of tower: get a token, send, check the response, and after a
//! rejection get a newer token and retry once.

pub(crate) mod attempt;
pub(crate) mod authorizer;
pub(crate) mod config;
mod head;
mod inject;
pub(crate) mod options;
pub mod rejection;
pub mod replay;
pub(crate) mod report;
pub(crate) mod source;
mod waits;
