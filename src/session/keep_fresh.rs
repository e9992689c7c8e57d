//! [`Session::keep_fresh`].

use std::{future::Future, pin::pin, sync::Arc};

use futures_util::future::{Either, select};

use crate::rt::{Nanos, duration};

use super::{Session, machine::Demand};

const SECOND: Nanos = 1_000_000_000;
/// Timers don't advance while the machine is suspended.
const LONGEST_SLEEP: Nanos = 60 * SECOND;

// === impl Session ===

impl Session {
    /// Refreshes the token whenever a refresh is due, without any calls. Spawn the returned future.
    ///
    /// Usually this isn't needed: a call starts each refresh, and a stale token makes nobody wait. It is for programs
    /// whose connections stay open without calls, and for those whose first call after a long pause must not wait. The
    /// future waits for the backoff after a failure, does nothing while the user has to sign in, and ends when
    /// the session's last clone is dropped or it is [shut down](Self::shutdown). It looks at the clock once a minute, so
    /// that it notices when the machine was suspended.
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
            let mut least = 0;
            loop {
                let Some(shared) = session.upgrade() else { return };
                let now = shared.now();
                let due = shared.lock().machine.time_until_refresh(now);
                let length = due.map_or(LONGEST_SLEEP, |due| due.clamp(least, LONGEST_SLEEP));
                let Ok(sleep) = shared.settings.clock.sleep(duration(length)) else { return };
                drop(shared);
                least = 0;
                match select(sleep, pin!(watch.changed())).await {
                    Either::Right((Ok(()), _)) => {}
                    Either::Right((Err(_), _)) => return,
                    Either::Left(_) => {
                        let Some(shared) = session.upgrade() else { return };
                        let now = shared.now();
                        let due = shared.lock().machine.time_until_refresh(now);
                        if due.is_some_and(|due| due <= 0) {
                            // Neither the result nor a waiter is needed.
                            let _ = shared.demand(Demand::New, shared.settings.limits, None);
                            // In case no refresh could start.
                            least = SECOND;
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
