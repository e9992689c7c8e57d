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
        EventKind::Started { reason } => {
            debug!(target: TARGET, session, generation, refresh.reason = ?reason, "token refresh starts");
        }
        EventKind::Joined { waiting } => {
            trace!(target: TARGET, session, generation, waiting, "caller waits for the running refresh");
        }
        EventKind::Repeated => {
            warn!(target: TARGET, session, generation, "token refresh was not answered, it is sent once more");
        }
        EventKind::Renewed { took, waiting } => {
            debug!(target: TARGET, session, generation, refresh.took = ?took, waiting, "token renewed");
        }
        EventKind::Useless { why, retry_at } => {
            warn!(target: TARGET, session, generation, refresh.useless = ?why, refresh.next_in = left(*retry_at), "token refresh brought nothing usable");
        }
        EventKind::Noticed { notice } => {
            warn!(target: TARGET, session, generation, "token refresh gave an odd answer: {notice}");
        }
        EventKind::Failed { error, took, waiting } => {
            // Not its source: what a user's error shows is not known to be free of secrets.
            let (next, cause) = (left(error.retry_at()), cause(error));
            warn!(target: TARGET, session, generation, error = %error, refresh.cause = cause, refresh.took = ?took, waiting, refresh.next_in = next, "token refresh failed");
        }
        EventKind::Ended { error } => {
            warn!(target: TARGET, session, generation, refresh.cause = cause(error), "grant has ended, the user must sign in again");
        }
        EventKind::Dropped => {
            debug!(target: TARGET, session, generation, "token refresh ended, its outcome is not wanted any more");
        }
        EventKind::Refused => debug!(target: TARGET, session, generation, "token refused by a server"),
        EventKind::Saved => debug!(target: TARGET, session, generation, "token saved"),
        // Nor a hook's own error.
        EventKind::RevokeFailed { .. } => {
            warn!(target: TARGET, session, generation, "token could not be revoked");
        }
        EventKind::SaveFailed { .. } => {
            warn!(target: TARGET, session, generation, "token could not be saved, it is handed over again");
        }
        EventKind::Set => debug!(target: TARGET, session, generation, "token set"),
        EventKind::SignedIn => debug!(target: TARGET, session, generation, "signed in"),
        EventKind::SignedOut => debug!(target: TARGET, session, generation, "signed out"),
    }
}

/// What the refresher says for the log.
fn cause(error: &Error) -> Option<&str> {
    RefreshError::find(error)?.log_text()
}
