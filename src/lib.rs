//! One refresh for any number of callers.
#![forbid(unsafe_code)]

mod clock;
mod course;
mod error;
mod event;
mod future;
mod layer;
mod origin;
mod refresh;
mod service;
mod session;
mod spawn;
#[cfg(feature = "test-util")]
mod test_clock;
mod token;
mod traffic;

pub use clock::{Clock, NoTimer, Sleep, SystemClock, Timestamp};
pub use error::Error;
pub use event::{Event, EventKind, Useless};
pub use future::ResponseFuture;
pub use layer::AuthLayer;
pub use origin::{InvalidOrigin, Origin};
pub use refresh::{
    AnyRefresher, RefreshContext, RefreshError, RefreshFn, RefreshReason, Refresher, refresh_fn,
};
pub use service::Auth;
pub use session::{Session, SessionBuilder, Status, Watch};
pub use spawn::{NoRuntime, Spawn, Task, TokioSpawn};
#[cfg(feature = "test-util")]
pub use test_clock::TestClock;
pub use token::{AccessToken, InvalidToken, Token, TokenBuilder};
pub use traffic::{NoToken, Patience};
