//! What happens to one request, independent of tower: get a token, send, check the response, and after a rejection get
//! a newer token and retry once.

pub(crate) mod authorizer;
pub(crate) mod config;
pub mod rejection;
pub mod replay;
pub(crate) mod report;
