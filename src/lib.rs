//! One refresh for any number of callers.
#![forbid(unsafe_code)]

mod clock;
mod error;
mod event;
mod refresh;
mod session;
mod spawn;
mod token;

pub use clock::{Clock, NoTimer, Sleep, SystemClock, Timestamp};
pub use error::Error;
pub use event::{Event, EventKind, Useless};
pub use refresh::{AnyRefresher, RefreshContext, RefreshError, RefreshFn, RefreshReason, Refresher, refresh_fn};
pub use session::{Session, SessionBuilder, Status, Watch};
pub use spawn::{NoRuntime, Spawn, Task, TokioSpawn};
pub use token::{AccessToken, InvalidToken, Token, TokenBuilder};
