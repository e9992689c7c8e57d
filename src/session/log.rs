//! Events as lines of the `tracing` crate.

use std::time::SystemTime;

use tracing::{debug, field::debug, trace, warn};

use crate::{
    error::Error,
    event::{Event, EventKind},
    refresh::RefreshError,
};

const TARGET: &str = "tower_reauth";

/// Writes an event to the log: steps as `trace`, changes of state as `debug`, what an operator must see as `warn`.
pub(super) fn write(event: &Event, session: Option<&str>, now: SystemTime) {
    let left =
        |next: Option<SystemTime>| next.map(|next| debug(next.duration_since(now).unwrap_or_default()));
    let generation = event.generation;
    let session = session.unwrap_or_default();
    match &event.kind {
        EventKind::RefreshStarted { reason } => {
            debug!(target: TARGET, session, generation, refresh.reason = ?reason, "token refresh starts");
        }
        EventKind::RefreshJoined { waiters } => {
            trace!(target: TARGET, session, generation, waiters, "caller waits for the running refresh");
        }
        EventKind::RefreshRepeated => {
            warn!(target: TARGET, session, generation, "token refresh was not answered, it is sent once more");
        }
        EventKind::Refreshed { elapsed, waiters } => {
            debug!(target: TARGET, session, generation, refresh.elapsed = ?elapsed, waiters, "token renewed");
        }
        EventKind::RefreshIneffective { reason, retry_at } => {
            warn!(target: TARGET, session, generation, refresh.useless = ?reason, refresh.next_in = left(*retry_at), "token refresh brought nothing usable");
        }
        EventKind::Warning { warning } => {
            warn!(target: TARGET, session, generation, "token refresh gave an odd answer: {warning}");
        }
        EventKind::RefreshFailed { error, elapsed, waiters } => {
            // Not its source: what a user's error shows is not known to be free of secrets.
            let (next, cause) = (left(error.retry_at()), cause(error));
            warn!(target: TARGET, session, generation, error = %error, refresh.cause = cause, refresh.elapsed = ?elapsed, waiters, refresh.next_in = next, "token refresh failed");
        }
        EventKind::GrantEnded { error } => {
            warn!(target: TARGET, session, generation, refresh.cause = cause(error), "grant has ended, the user must sign in again");
        }
        EventKind::RefreshDiscarded => {
            debug!(target: TARGET, session, generation, "token refresh ended, its outcome is not wanted any more");
        }
        EventKind::TokenRejected => debug!(target: TARGET, session, generation, "token refused by a server"),
        EventKind::TokenSaved => debug!(target: TARGET, session, generation, "token saved"),
        // Nor a hook's own error.
        EventKind::TokenRevokeFailed { .. } => {
            warn!(target: TARGET, session, generation, "token could not be revoked");
        }
        EventKind::TokenSaveFailed { .. } => {
            warn!(target: TARGET, session, generation, "token could not be saved, it is handed over again");
        }
        EventKind::TokenSet => debug!(target: TARGET, session, generation, "token set"),
        EventKind::SignedIn => debug!(target: TARGET, session, generation, "signed in"),
        EventKind::SignedOut => debug!(target: TARGET, session, generation, "signed out"),
    }
}

/// What the refresher says for the log.
fn cause(error: &Error) -> Option<&str> {
    RefreshError::find(error)?.log_message()
}
