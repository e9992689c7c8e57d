//! Timeline entries.

use std::{fmt, time::Duration};

use http::StatusCode;
use tower_reauth::refresh::RefreshReason;

use crate::timeline::grouped;

/// One event. Tokens are shown by name: `A1` is the first access token, `R1` the first refresh token.
pub(crate) enum Step {
    // Of a naive call:
    /// Starts a refresh of its own.
    RefreshesAlone {
        expired: String,
        presented: String,
    },
    StoresTokens {
        pair: String,
    },
    /// Its refresh failed.
    SignsOut {
        reason: String,
    },
    /// Another call has signed the user out.
    FindsNoToken,

    // Of a call through the layer:
    StartsRefresh {
        rejected: bool,
    },
    JoinsRefresh {
        waiters: usize,
    },

    // Of each call:
    Sends {
        access: String,
    },
    Receives {
        status: StatusCode,
    },
    Fails {
        reason: String,
    },

    // Of the refresher and the session:
    PresentsRefreshToken {
        presented: String,
    },
    Refreshed {
        elapsed: Duration,
        waiters: usize,
    },
    RefreshFailed {
        reason: String,
    },
    /// The session's status counts all callers as waiting.
    AllWaiting {
        callers: usize,
    },

    // Of the server:
    Grants {
        presented: String,
        issued: String,
    },
    Refuses {
        presented: String,
    },
    RevokesGrant {
        presented: String,
    },
    RevokesAccessToken {
        access: String,
    },

    // Of many callers:
    Waiting {
        callers: usize,
        total: usize,
    },
    Succeeded {
        callers: usize,
        total: usize,
    },
}

// === impl Step ===

impl Step {
    pub(crate) fn starts_refresh(reason: RefreshReason) -> Self {
        Self::StartsRefresh { rejected: reason == RefreshReason::Rejected }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RefreshesAlone { expired, presented } => {
                write!(f, "{expired} has expired: starts its own refresh with {presented}")
            }
            Self::StoresTokens { pair } => write!(f, "its refresh succeeded: stores {pair}"),
            Self::SignsOut { reason } => {
                write!(f, "its refresh failed ({reason}): clears the tokens, SIGNED OUT; the call FAILS")
            }
            Self::FindsNoToken => f.write_str("finds no token: the call FAILS"),
            Self::StartsRefresh { rejected: false } => {
                f.write_str("the token has expired: starts a refresh and waits for it")
            }
            Self::StartsRefresh { rejected: true } => {
                f.write_str("the token was rejected: starts a refresh and waits for it")
            }
            Self::JoinsRefresh { waiters } => {
                write!(f, "a refresh is already running: waits for it ({} waiting)", grouped(*waiters))
            }
            Self::Sends { access } => write!(f, "sent with {access}"),
            Self::Receives { status } if status.is_success() => write!(f, "receives {status}"),
            Self::Receives { status } => write!(f, "receives {status}: the call FAILS"),
            Self::Fails { reason } => write!(f, "the call FAILS: {reason}"),
            Self::PresentsRefreshToken { presented } => write!(f, "sends {presented} to the token endpoint"),
            Self::Refreshed { elapsed, waiters } => {
                let (waiters, ms) = (grouped(*waiters), elapsed.as_millis());
                write!(f, "new token after {ms} ms: {waiters} waiting callers continue with it")
            }
            Self::RefreshFailed { reason } => write!(f, "the refresh failed: {reason}"),
            Self::AllWaiting { callers } => {
                let callers = grouped(*callers);
                write!(f, "{callers} callers are waiting: the server may respond to the refresh now")
            }
            Self::Grants { presented, issued } => write!(f, "first use of {presented}: issues {issued}"),
            Self::Refuses { presented } => write!(f, "{presented} was used before: responds with 401"),
            Self::RevokesGrant { presented } => {
                write!(
                    f,
                    "{presented} was used before: responds with 401 and REVOKES THE GRANT with all its tokens"
                )
            }
            Self::RevokesAccessToken { access } => {
                write!(f, "{access} is REVOKED before it expires: 401 from now on")
            }
            Self::Waiting { callers, total } => {
                write!(f, "{} of {} callers are waiting for the refresh", grouped(*callers), grouped(*total))
            }
            Self::Succeeded { callers, total } => {
                write!(f, "{} of {} calls have succeeded", grouped(*callers), grouped(*total))
            }
        }
    }
}
