//! Events as lines of the `tracing` crate.

use std::time::SystemTime;

use tracing::{debug, field::debug, info, trace, warn};

use crate::{
    error::Error,
    event::{Event, EventKind, Warning},
    refresh::RefreshError,
};

const TARGET: &str = "tower_reauth";

/// Logs an event: steps as `trace`; refreshes as `debug`; set tokens, sign-ins, sign-outs, ended grants and
/// recoveries as `info`; failures as `warn`.
pub(super) fn log(event: &Event, session: Option<&str>, now: SystemTime) {
    let until =
        |next: Option<SystemTime>| next.map(|next| debug(next.duration_since(now).unwrap_or_default()));
    let generation = event.generation;
    match &event.kind {
        EventKind::RefreshStarted { reason } => {
            debug!(target: TARGET, session, generation, refresh.reason = ?reason, "token refresh started");
        }
        EventKind::RefreshJoined { waiters } => {
            trace!(target: TARGET, session, generation, waiters, "waiting for token refresh");
        }
        EventKind::RefreshRepeated => {
            warn!(target: TARGET, session, generation, "no response to token refresh, repeating it");
        }
        EventKind::Refreshed { reason, elapsed, waiters, recovered: true } => {
            info!(target: TARGET, session, generation, refresh.reason = ?reason, refresh.elapsed = ?elapsed, waiters, "token refreshed");
        }
        EventKind::Refreshed { reason, elapsed, waiters, .. } => {
            debug!(target: TARGET, session, generation, refresh.reason = ?reason, refresh.elapsed = ?elapsed, waiters, "token refreshed");
        }
        EventKind::RefreshIneffective { reason, retry_at } => {
            warn!(target: TARGET, session, generation, refresh.ineffective = ?reason, refresh.next_in = until(*retry_at), "token refresh returned an unusable token");
        }
        EventKind::Warning { warning: warning @ Warning::RefreshTokenExpiresSoon { expires_at } } => {
            warn!(target: TARGET, session, generation, refresh_token.expires_in = until(Some(*expires_at)), "{warning}");
        }
        EventKind::Warning { warning } => {
            warn!(target: TARGET, session, generation, "unusual token response: {warning}");
        }
        EventKind::RefreshFailed { reason, error, elapsed, waiters } => {
            // Not its source: a user's error may contain secrets.
            let (next, cause) = (until(error.retry_at()), message(error));
            warn!(target: TARGET, session, generation, error = %error, refresh.reason = ?reason, refresh.cause = cause, refresh.elapsed = ?elapsed, waiters, refresh.next_in = next, "token refresh failed");
        }
        EventKind::GrantEnded { error } => {
            info!(target: TARGET, session, generation, refresh.cause = message(error), "grant has ended, user must sign in again");
        }
        EventKind::RefreshDiscarded => {
            debug!(target: TARGET, session, generation, "token refresh result discarded");
        }
        EventKind::TokenRejected => debug!(target: TARGET, session, generation, "access token rejected"),
        EventKind::Saved { recovered: true } => {
            info!(target: TARGET, session, generation, "session saved");
        }
        EventKind::Saved { .. } => debug!(target: TARGET, session, generation, "session saved"),
        EventKind::TokenAdopted { recovered: true } => {
            info!(target: TARGET, session, generation, "took the token that another process obtained");
        }
        EventKind::TokenAdopted { .. } => {
            debug!(target: TARGET, session, generation, "took the token that another process obtained");
        }
        EventKind::StoreFailed { error } => {
            warn!(target: TARGET, session, generation, %error, "token store failed");
        }
        EventKind::ClaimLost => {
            warn!(target: TARGET, session, generation, "another process may have taken over a slow refresh");
        }
        // The source of a hook's error isn't logged either.
        EventKind::TokenRevokeFailed { error } => {
            warn!(target: TARGET, session, generation, %error, "failed to revoke token, which stays valid until it expires");
        }
        EventKind::SaveFailed { error } => {
            warn!(target: TARGET, session, generation, %error, "failed to save session, will retry");
        }
        EventKind::TokenSet => info!(target: TARGET, session, generation, "token set"),
        EventKind::SignedIn => info!(target: TARGET, session, generation, "signed in"),
        EventKind::SignedOut => info!(target: TARGET, session, generation, "signed out"),
    }
}

/// The refresher's log message.
fn message(error: &Error) -> Option<&str> {
    RefreshError::find(error)?.log_message()
}
