//! What a timeline tells of, and in which words.

use std::{fmt, time::Duration};

use http::StatusCode;
use tower_reauth::refresh::RefreshReason;

use crate::timeline::grouped;

/// One thing that happened. Tokens go by their names: `A1` is the first access token, `R1` the first refresh token.
pub(crate) enum Step {
    /// A naive call refreshes.
    RefreshesItself {
        expired: String,
        presented: String,
    },
    /// The naive call's refresh worked.
    Stores {
        pair: String,
    },
    /// The naive call's refresh was refused.
    SignsOut {
        why: String,
    },
    /// A naive call finds that there are no tokens any more.
    FindsNoToken,
    /// A call through the layer is the first to need a token.
    Starts {
        /// It has not expired, a server refused it.
        refused: bool,
    },
    /// Another one comes while that refresh runs.
    Joins {
        waiting: usize,
    },
    /// The refresher asks the token endpoint.
    Presents {
        presented: String,
    },
    /// The session has a new token.
    Renewed {
        took: Duration,
        waiting: usize,
    },
    /// It has none.
    NotRenewed {
        why: String,
    },
    /// The server's verdicts on a refresh token.
    Spends {
        presented: String,
        bought: String,
    },
    FindsSpent {
        presented: String,
    },
    RevokesFamily {
        presented: String,
    },
    /// The server refuses an access token from now on.
    Revokes {
        access: String,
    },
    /// A call is on its way.
    Sends {
        access: String,
    },
    Answered {
        status: StatusCode,
    },
    Failed {
        why: String,
    },
    /// How many of the crowd wait for the refresh.
    Waiting {
        callers: usize,
        of: usize,
    },
    /// The session's status says that all wait.
    AllWait {
        callers: usize,
    },
    /// How many of the crowd have been answered with success.
    Succeeded {
        callers: usize,
        of: usize,
    },
}

// === impl Step ===

impl Step {
    pub(crate) fn starts(reason: RefreshReason) -> Self {
        Self::Starts { refused: reason == RefreshReason::Rejected }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RefreshesItself { expired, presented } => {
                write!(f, "{expired} has expired: refreshes by itself, presents {presented}")
            }
            Self::Stores { pair } => write!(f, "its refresh is answered: stores {pair}"),
            Self::SignsOut { why } => {
                write!(f, "its refresh failed ({why}): clears the tokens, SIGNED OUT; the call FAILS")
            }
            Self::FindsNoToken => f.write_str("there is no token any more: the call FAILS"),
            Self::Starts { refused: false } => {
                f.write_str("the token has expired: starts a refresh, waiting for it")
            }
            Self::Starts { refused: true } => {
                f.write_str("the token was refused: starts a refresh, waiting for it")
            }
            Self::Joins { waiting } => {
                write!(f, "a refresh is already running, waiting for it ({} wait)", grouped(*waiting))
            }
            Self::Presents { presented } => write!(f, "presents {presented} to the token endpoint"),
            Self::Renewed { took, waiting } => {
                let (waiting, ms) = (grouped(*waiting), took.as_millis());
                write!(f, "a new token after {ms} ms: the {waiting} that wait go on with it")
            }
            Self::NotRenewed { why } => write!(f, "the refresh failed: {why}"),
            Self::Spends { presented, bought } => {
                write!(f, "{presented} comes for the first time: it is spent now, and buys {bought}")
            }
            Self::FindsSpent { presented } => write!(f, "{presented} comes again: it is spent, so 401"),
            Self::RevokesFamily { presented } => {
                write!(
                    f,
                    "{presented} comes again: it is spent, so 401, and all that it ever bought is REVOKED"
                )
            }
            Self::Revokes { access } => {
                write!(f, "{access} is REVOKED, though it hasn't expired: 401 from now on")
            }
            Self::Sends { access } => write!(f, "sent with {access}"),
            Self::Answered { status } if status.is_success() => write!(f, "answered {status}"),
            Self::Answered { status } => write!(f, "answered {status}: the call FAILS"),
            Self::Failed { why } => write!(f, "the call FAILS: {why}"),
            Self::Waiting { callers, of } => {
                write!(f, "{} of {} callers wait for that refresh", grouped(*callers), grouped(*of))
            }
            Self::AllWait { callers } => {
                let callers = grouped(*callers);
                write!(f, "its status says that {callers} wait: now the server answers the refresh")
            }
            Self::Succeeded { callers, of } => {
                write!(f, "{} of {} calls have succeeded", grouped(*callers), grouped(*of))
            }
        }
    }
}
