//! Classification of endpoint errors.

use std::borrow::Cow;

use http::StatusCode;
use zeroize::Zeroizing;

use crate::refresh::FailureKind;

use super::error::printable;

/// Provider-specific error codes and statuses.
///
/// They take precedence over the built-in ones (see the [module docs](super)), later entries over earlier.
///
/// # Examples
///
/// ```
/// use tower_reauth::endpoint::{ErrorClassifier, FailureKind};
///
/// let errors = ErrorClassifier::new()
///     .code("token_inactive", FailureKind::GrantEnded)
///     .code("busy", FailureKind::Transient)
///     .status(410, FailureKind::GrantEnded);
/// # let _ = errors;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ErrorClassifier {
    codes: Vec<(Cow<'static, str>, FailureKind)>,
    statuses: Vec<(u16, FailureKind)>,
}

// === impl ErrorClassifier ===

impl ErrorClassifier {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Classifies an error code. The comparison is case-insensitive.
    pub fn code(mut self, code: impl Into<Cow<'static, str>>, kind: FailureKind) -> Self {
        self.codes.push((code.into(), kind));
        self
    }

    /// Classifies a status, unless a code decides.
    pub fn status(mut self, status: u16, kind: FailureKind) -> Self {
        self.statuses.push((status, kind));
        self
    }

    /// Adds entries that take precedence.
    pub(crate) fn add(&mut self, others: Self) {
        self.codes.extend(others.codes);
        self.statuses.extend(others.statuses);
    }

    pub(super) fn classify(
        &self,
        status: StatusCode,
        code: Option<&str>,
        has_retry_after: bool,
    ) -> FailureKind {
        code.and_then(|code| self.classify_code(code))
            .or_else(|| last(&self.statuses, |known| *known == status.as_u16()))
            .unwrap_or_else(|| classify_status(status, has_retry_after))
    }

    /// The first known code, or else the first: some servers put the status's name beside the real code.
    pub(super) fn best_code<'a>(&self, codes: &'a [Zeroizing<String>]) -> Option<&'a str> {
        let known = codes.iter().find(|code| self.classify_code(code).is_some());
        known.or(codes.first()).map(|code| code.as_str())
    }

    fn classify_code(&self, code: &str) -> Option<FailureKind> {
        // A custom code may have several words, written as in the response or as in our error message.
        let printed = printable(code);
        let is = |known: &str, code: &str| known.trim().eq_ignore_ascii_case(code);
        last(&self.codes, |known| is(known, code.trim()) || is(known, &printed))
            .or_else(|| builtin_code(&printed))
    }
}

fn last<K>(table: &[(K, FailureKind)], is: impl Fn(&K) -> bool) -> Option<FailureKind> {
    table.iter().rev().find(|(known, _)| is(known)).map(|(_, kind)| *kind)
}

fn builtin_code(code: &str) -> Option<FailureKind> {
    CODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, kind)| *kind)
}

fn classify_status(status: StatusCode, has_retry_after: bool) -> FailureKind {
    match status.as_u16() {
        // A server that asks to retry later hasn't processed the request.
        _ if has_retry_after => FailureKind::Transient,
        // A gateway got no response, or the server failed while processing: the refresh token may be used up.
        499 | 500 | 504 | 524 => FailureKind::OutcomeUnknown,
        408 | 425 | 429 => FailureKind::Transient,
        // The form of the request is wrong, and will be the next time.
        411 | 413 | 415 | 422 => FailureKind::Misconfigured,
        // A success gets here if its body reports an error.
        200..=299 | 400..=498 => FailureKind::Unexplained,
        _ => FailureKind::Transient,
    }
}

/// RFC 6749 §5.2, RFC 8707 §2, RFC 9449, OpenID Connect Core §3.1.2.6, and codes of single providers.
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
    use FailureKind::{GrantEnded, Misconfigured, OutcomeUnknown, Transient, Unexplained};

    use super::*;

    fn classify(errors: &ErrorClassifier, status: u16, code: &str, retry_after: bool) -> FailureKind {
        let code = Some(code).filter(|code| !code.is_empty());
        errors.classify(StatusCode::from_u16(status).unwrap(), code, retry_after)
    }

    #[test]
    fn c50_without_a_known_code_the_status_decides() {
        for (statuses, expected) in [
            (&[499, 500, 504, 524][..], OutcomeUnknown),
            (&[408, 425, 429, 501, 502, 503, 505, 507, 521, 525, 599, 999], Transient),
            (&[411, 413, 415, 422], Misconfigured),
            (&[200, 204, 400, 401, 402, 403, 404, 405, 406, 409, 410, 414, 418, 431, 451, 498], Unexplained),
        ] {
            for &status in statuses {
                for code in ["", "never_heard_of"] {
                    assert_eq!(
                        classify(&ErrorClassifier::new(), status, code, false),
                        expected,
                        "{status} {code}"
                    );
                    assert_eq!(classify(&ErrorClassifier::new(), status, code, true), Transient, "{status}");
                }
            }
        }
    }

    #[test]
    fn c46_c53_a_known_code_takes_precedence_over_the_status() {
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
                        let class = classify(&ErrorClassifier::new(), status, code, retry_after);
                        assert_eq!(class, kind, "{status} {code}");
                    }
                }
            }
        }
    }

    #[test]
    fn c50_custom_entries_take_precedence_and_later_ones_win() {
        let mut errors = ErrorClassifier::new()
            .code("a", FailureKind::GrantEnded)
            .code("a", FailureKind::Transient)
            .code("invalid_grant", FailureKind::Misconfigured)
            .status(StatusCode::IM_A_TEAPOT.as_u16(), FailureKind::GrantEnded)
            .status(StatusCode::IM_A_TEAPOT.as_u16(), FailureKind::Misconfigured);
        assert_eq!(classify(&errors, 400, "A", false), Transient);
        assert_eq!(classify(&errors, 400, "invalid_grant", false), Misconfigured);
        assert_eq!(classify(&errors, 418, "b", false), Misconfigured);
        assert_eq!(classify(&errors, 418, "b", true), Misconfigured);
        assert_eq!(classify(&errors, 418, "a", false), Transient);
        assert_eq!(classify(&errors, 418, "slow_down", false), Transient);
        errors.add(
            ErrorClassifier::new()
                .code("A", FailureKind::GrantEnded)
                .status(StatusCode::IM_A_TEAPOT.as_u16(), FailureKind::Transient),
        );
        assert_eq!(classify(&errors, 400, "a", false), GrantEnded);
        assert_eq!(classify(&errors, 418, "", false), Transient);
    }
}
