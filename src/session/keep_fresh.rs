//! [`Session::keep_fresh`].

use std::{future::Future, pin::pin, sync::Arc};

use futures_util::future::{Either, select};

use crate::rt::{Nanos, duration};

use super::Session;

const SECOND: Nanos = 1_000_000_000;
/// Timers don't advance while the machine is suspended.
const LONGEST_SLEEP: Nanos = 60 * SECOND;

// === impl Session ===

impl Session {
    /// Refreshes the token whenever a refresh is due, without any calls. Spawn the returned future.
    ///
    /// Usually this isn't needed: a call starts each refresh, and a stale token makes nobody wait. It is for programs
    /// whose connections stay open without calls, and for those whose first call after a long pause must not wait.
    ///
    /// After a failure, the future waits for the backoff. While the user has to sign in, it does nothing, except that
    /// a shared session keeps reading its store. It looks at the clock once a minute, so that it notices when the
    /// machine was suspended, and ends when the session's last clone is dropped or it is
    /// [shut down](Self::shutdown).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(session: tower_reauth::Session) {
    /// tokio::spawn(session.keep_fresh());
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops it; a refresh in flight continues.
    pub fn keep_fresh(&self) -> impl Future<Output = ()> + Send + use<> {
        let (session, mut watch) = (Arc::downgrade(&self.shared), self.watch());
        async move {
            // On the monotonic clock. A refresh may fail to start, or end before it ran.
            let mut next_start = Nanos::MIN;
            loop {
                let Some(shared) = session.upgrade() else { return };
                let now = shared.now();
                let due = shared.lock().machine.time_until_refresh(now);
                let pause = next_start.saturating_sub(now.monotonic).max(0);
                let length = due.clamp(pause, LONGEST_SLEEP);
                let Ok(sleep) = shared.settings.clock.sleep(duration(length)) else { return };
                drop(shared);
                match select(sleep, pin!(watch.changed())).await {
                    Either::Right((Ok(()), _)) => {}
                    Either::Right((Err(_), _)) => return,
                    Either::Left(_) => {
                        let Some(shared) = session.upgrade() else { return };
                        let now = shared.now();
                        let due = shared.lock().machine.time_until_refresh(now);
                        if due <= 0 {
                            shared.start_refresh();
                            next_start = now.monotonic.saturating_add(SECOND);
                        }
                    }
                }
                if watch.status().is_shut_down() {
                    return;
                }
            }
        }
    }
}
