//! What an endpoint's refusal means.

use std::borrow::Cow;

use http::StatusCode;
use zeroize::Zeroizing;

use crate::refresh::FailureKind;

use super::error::shown;

/// What a provider means by its own error codes and statuses.
///
/// It goes before what is known already (see the [module docs](super)); what is set later before what was set first.
///
/// # Examples
///
/// ```
/// use tower_reauth::endpoint::{ErrorClassifier, FailureKind};
///
/// let verdicts = ErrorClassifier::new().code("token_inactive", FailureKind::GrantEnded).code("busy", FailureKind::Transient).status(410, FailureKind::GrantEnded);
/// # let _ = verdicts;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ErrorClassifier {
    codes: Vec<(Cow<'static, str>, FailureKind)>,
    statuses: Vec<(u16, FailureKind)>,
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) kind: FailureKind,
    /// Nothing is known of it, so it may stay for ever: it is tried at leisure.
    pub(super) unclear: bool,
}

// === impl ErrorClassifier ===

impl ErrorClassifier {
    /// Adds nothing to what is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Classifies an error code.
    pub fn code(mut self, code: impl Into<Cow<'static, str>>, kind: FailureKind) -> Self {
        self.codes.push((code.into(), kind));
        self
    }

    /// Classifies a status, unless a code decides.
    pub fn status(mut self, status: u16, kind: FailureKind) -> Self {
        self.statuses.push((status, kind));
        self
    }

    /// Adds what `others` say, which goes first.
    pub(crate) fn add(&mut self, others: Self) {
        self.codes.extend(others.codes);
        self.statuses.extend(others.statuses);
    }

    /// The user's word on the code goes first, then what is known of the code, then the same of the status.
    pub(super) fn judge(&self, status: StatusCode, code: Option<&str>, retry_after: bool) -> Judged {
        let told = |kind| Judged { kind, unclear: false };
        code.and_then(|code| self.of_code(code))
            .or_else(|| last(&self.statuses, |known| *known == status.as_u16()))
            .map_or_else(|| of_status(status, retry_after), told)
    }

    /// The code that says the most: one that is known, as a word for the status may stand beside it.
    pub(super) fn choose<'a>(&self, codes: &'a [Zeroizing<String>]) -> Option<&'a str> {
        let known = codes.iter().find(|code| self.of_code(code).is_some());
        known.or(codes.first()).map(|code| code.as_str())
    }

    fn of_code(&self, code: &str) -> Option<FailureKind> {
        // A provider's own may be of several words, also as an error shows them.
        let shown = shown(code);
        let is = |known: &str, code: &str| known.trim().eq_ignore_ascii_case(code);
        last(&self.codes, |known| is(known, code.trim()) || is(known, &shown)).or_else(|| of_code(&shown))
    }
}

// === impl Judged ===

impl Judged {
    /// The same where no grant could have ended.
    pub(super) fn without_a_grant(self) -> Self {
        match self.kind {
            FailureKind::GrantEnded => Self { kind: FailureKind::Misconfigured, ..self },
            _ => self,
        }
    }
}

fn last<K>(table: &[(K, FailureKind)], is: impl Fn(&K) -> bool) -> Option<FailureKind> {
    table.iter().rev().find(|(known, _)| is(known)).map(|(_, kind)| *kind)
}

fn of_code(code: &str) -> Option<FailureKind> {
    let lower = code.to_ascii_lowercase();
    CODES.iter().find(|(known, _)| *known == lower).map(|(_, kind)| *kind)
}

fn of_status(status: StatusCode, retry_after: bool) -> Judged {
    use FailureKind::{Misconfigured, OutcomeUnknown, Transient};
    let (kind, unclear) = match status.as_u16() {
        // Whoever names a time has not done it.
        _ if retry_after => (Transient, false),
        // The request went on to a server that gave no answer, or broke down over it: the token may be spent.
        499 | 500 | 504 | 524 => (OutcomeUnknown, false),
        408 | 425 | 429 => (Transient, false),
        // The request's form is wrong, and will be the next time.
        411 | 413 | 415 | 422 => (Misconfigured, true),
        // An error that was said with a success is one, too.
        200..=299 | 400..=498 => (Transient, true),
        _ => (Transient, false),
    };
    Judged { kind, unclear }
}

/// RFC 6749 §5.2, RFC 8707 §2, OpenID Connect Core §3.1.2.6, and what providers made up.
const CODES: [(&str, FailureKind); 16] = {
    use FailureKind::{GrantEnded, Misconfigured, Transient};
    [
        ("invalid_grant", GrantEnded),
        ("bad_refresh_token", GrantEnded),
        ("refresh_token_reused", GrantEnded),
        ("interaction_required", GrantEnded),
        ("login_required", GrantEnded),
        ("consent_required", GrantEnded),
        ("invalid_client", Misconfigured),
        ("incorrect_client_credentials", Misconfigured),
        ("unauthorized_client", Misconfigured),
        ("unsupported_grant_type", Misconfigured),
        ("invalid_scope", Misconfigured),
        ("invalid_target", Misconfigured),
        ("use_dpop_nonce", Misconfigured),
        ("invalid_dpop_proof", Misconfigured),
        ("temporarily_unavailable", Transient),
        ("slow_down", Transient),
    ]
};

#[cfg(test)]
mod tests {
    use FailureKind::{GrantEnded, Misconfigured, OutcomeUnknown, Transient};

    use super::*;

    fn judge(verdicts: &ErrorClassifier, status: u16, code: &str, retry_after: bool) -> (FailureKind, bool) {
        let code = Some(code).filter(|code| !code.is_empty());
        let judged = verdicts.judge(StatusCode::from_u16(status).unwrap(), code, retry_after);
        (judged.kind, judged.unclear)
    }

    #[test]
    fn c50_a_status_without_a_known_code() {
        for (statuses, expected) in [
            (&[499, 500, 504, 524][..], (OutcomeUnknown, false)),
            (&[408, 425, 429, 501, 502, 503, 505, 507, 521, 525, 599, 999], (Transient, false)),
            (&[411, 413, 415, 422], (Misconfigured, true)),
            (
                &[200, 204, 400, 401, 402, 403, 404, 405, 406, 409, 410, 414, 418, 431, 451, 498],
                (Transient, true),
            ),
        ] {
            for &status in statuses {
                for code in ["", "never_heard_of"] {
                    assert_eq!(
                        judge(&ErrorClassifier::new(), status, code, false),
                        expected,
                        "{status} {code}"
                    );
                    assert_eq!(
                        judge(&ErrorClassifier::new(), status, code, true),
                        (Transient, false),
                        "{status}"
                    );
                }
            }
        }
    }

    #[test]
    fn c46_c53_a_known_code_goes_before_the_status() {
        for (codes, kind) in [
            (
                &["invalid_grant", "bad_refresh_token", "refresh_token_reused", "interaction_required"][..],
                GrantEnded,
            ),
            (&["login_required", "consent_required", "Invalid_Grant"], GrantEnded),
            (&["invalid_client", "incorrect_client_credentials", "unauthorized_client"], Misconfigured),
            (&["unsupported_grant_type", "invalid_scope", "invalid_target"], Misconfigured),
            (&["use_dpop_nonce", "invalid_dpop_proof"], Misconfigured),
            (&["temporarily_unavailable", "slow_down"], Transient),
        ] {
            for code in codes {
                for status in [200, 400, 401, 403, 422, 429, 500, 503] {
                    for retry_after in [false, true] {
                        let judged = judge(&ErrorClassifier::new(), status, code, retry_after);
                        assert_eq!(judged, (kind, false), "{status} {code}");
                    }
                }
            }
        }
    }

    #[test]
    fn c50_what_is_told_goes_before_what_is_known_and_the_last_before_the_first() {
        let mut verdicts = ErrorClassifier::new()
            .code("a", FailureKind::GrantEnded)
            .code("a", FailureKind::Transient)
            .code("invalid_grant", FailureKind::Misconfigured)
            .status(StatusCode::IM_A_TEAPOT.as_u16(), FailureKind::GrantEnded)
            .status(StatusCode::IM_A_TEAPOT.as_u16(), FailureKind::Misconfigured);
        assert_eq!(judge(&verdicts, 400, "A", false), (Transient, false));
        assert_eq!(judge(&verdicts, 400, "invalid_grant", false), (Misconfigured, false));
        assert_eq!(judge(&verdicts, 418, "b", false), (Misconfigured, false));
        assert_eq!(judge(&verdicts, 418, "b", true), (Misconfigured, false));
        assert_eq!(judge(&verdicts, 418, "a", false), (Transient, false));
        assert_eq!(judge(&verdicts, 418, "slow_down", false), (Transient, false));
        verdicts.add(
            ErrorClassifier::new()
                .code("A", FailureKind::GrantEnded)
                .status(StatusCode::IM_A_TEAPOT.as_u16(), FailureKind::Transient),
        );
        assert_eq!(judge(&verdicts, 400, "a", false), (GrantEnded, false));
        assert_eq!(judge(&verdicts, 418, "", false), (Transient, false));
    }

    #[test]
    fn p08_without_a_grant_nothing_ends() {
        for (kind, expected) in [
            (GrantEnded, Misconfigured),
            (Misconfigured, Misconfigured),
            (Transient, Transient),
            (OutcomeUnknown, OutcomeUnknown),
        ] {
            for unclear in [false, true] {
                let judged = Judged { kind, unclear }.without_a_grant();
                assert_eq!(judged, Judged { kind: expected, unclear });
            }
        }
    }
}
