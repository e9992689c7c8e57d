//! Refreshers: where new tokens come from.

mod confirm;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod ext;
mod keep_extras;
mod map_err;
mod map_token;
mod or_else;
pub(crate) mod refresher;
mod retry;
mod timeout;

pub use confirm::ConfirmGrantEnded;
#[cfg(feature = "test-util")]
pub use context::RefreshContextBuilder;
pub use context::RefreshReason;
pub use keep_extras::KeepExtras;
pub use map_err::MapErr;
pub use map_token::MapToken;
pub use or_else::OrElse;
pub use refresher::{AnyRefresher, RefreshFn};
pub use retry::Retry;
pub use timeout::Timeout;

pub(crate) use context::{IsWanted, RefreshContext};
pub(crate) use error::{FailureKind, RefreshError};
pub(crate) use refresher::Refresher;
