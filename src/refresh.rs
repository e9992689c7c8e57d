//! Refreshers: where new tokens come from.

mod confirm;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod ext;
mod map_err;
pub(crate) mod refresher;
mod timeout;

pub use confirm::ConfirmGrantEnded;
#[cfg(feature = "test-util")]
pub use context::RefreshContextBuilder;
pub use context::RefreshReason;
pub use map_err::MapErr;
pub use refresher::{AnyRefresher, RefreshFn};
pub use timeout::Timeout;

pub(crate) use context::{IsWanted, RefreshContext};
pub(crate) use error::{FailureKind, RefreshError};
pub(crate) use refresher::Refresher;
