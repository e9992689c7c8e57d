//! Classification of endpoint errors.

use std::borrow::Cow;

use http::StatusCode;

use crate::refresh::FailureKind;

use super::{error_codes::ErrorCodes, shown::visible};

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
///     // A sub-code of `invalid_grant`.
///     .code("AADSTS50053", FailureKind::Misconfigured)
///     .status(410, FailureKind::GrantEnded)
///     .success_code("0000");
/// # let _ = errors;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ErrorClassifier {
    codes: Vec<(Cow<'static, str>, FailureKind)>,
    statuses: Vec<(u16, FailureKind)>,
    success_codes: Vec<Cow<'static, str>>,
}

// === impl ErrorClassifier ===

impl ErrorClassifier {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Classifies an error code, whatever the status. The comparison is case-insensitive.
    ///
    /// A sub-code takes precedence over the code that it refines: an item of `error_codes`, `suberror`,
    /// `error_subcode`, `error_subtype`, or `error_description`, as a whole or up to its first colon
    /// (`AADSTS50053`).
    pub fn code(mut self, code: impl Into<Cow<'static, str>>, kind: FailureKind) -> Self {
        self.codes.push((code.into(), kind));
        self
    }

    /// Classifies a status, unless a code decides. A redirect's, too, and that of a success without a token.
    pub fn status(mut self, status: u16, kind: FailureKind) -> Self {
        self.statuses.push((status, kind));
        self
    }

    /// Adds a code that means success.
    ///
    /// An empty code, 0, `ok`, `success` and the response's own 2xx status do so anyway.
    pub fn success_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.success_codes.push(code.into());
        self
    }

    /// Adds entries that take precedence.
    pub(crate) fn add(&mut self, others: Self) {
        self.codes.extend(others.codes);
        self.statuses.extend(others.statuses);
        self.success_codes.extend(others.success_codes);
    }

    pub(super) fn classify(
        &self,
        status: StatusCode,
        found: &ErrorCodes<'_>,
        has_retry_after: bool,
    ) -> FailureKind {
        let custom = found.details.iter().flat_map(|text| sub_codes(text)).find_map(|code| self.custom(code));
        let custom = custom.or_else(|| found.codes.iter().find_map(|code| self.custom(code)));
        let known = || found.details.iter().flat_map(|text| sub_codes(text)).find_map(known_sub_code);
        let known = || known().or_else(|| found.codes.iter().find_map(|code| known_code(code)));
        let by_status = || self.status_kind(status);
        custom.or_else(known).or_else(by_status).unwrap_or_else(|| classify_status(status, has_retry_after))
    }

    /// The custom classification of a status.
    pub(super) fn status_kind(&self, status: StatusCode) -> Option<FailureKind> {
        last(&self.statuses, |known| *known == status.as_u16())
    }

    /// The first custom code, or the first known one, or else the first: some servers put the status's name
    /// beside the real code.
    pub(super) fn best_code<'c>(&self, found: &'c ErrorCodes<'_>) -> Option<&'c str> {
        let mut codes = found.codes.iter();
        let custom = codes.clone().find(|code| self.custom(code).is_some());
        let known = || found.codes.iter().find(|code| known_code(code).is_some());
        custom.or_else(known).or_else(|| codes.next()).map(|code| &**code)
    }

    /// Whether a code has a classification, its own or a built-in one.
    pub(super) fn knows(&self, code: &str) -> bool {
        self.custom(code).or_else(|| known_code(code)).is_some()
    }

    pub(super) fn is_success_code(&self, code: &str) -> bool {
        self.success_codes.iter().any(|known| known.trim().eq_ignore_ascii_case(code.trim()))
    }

    fn custom(&self, code: &str) -> Option<FailureKind> {
        // It may have several words, written as in the response or as in our error message.
        let visible = visible(code);
        let is = |known: &str, code: &str| known.trim().eq_ignore_ascii_case(code);
        last(&self.codes, |known| is(known, code.trim()) || is(known, &visible))
    }
}

/// A description as a whole, and its beginning up to a colon.
fn sub_codes(text: &str) -> impl Iterator<Item = &str> {
    [Some(text), text.split_once(':').map(|(code, _)| code)].into_iter().flatten()
}

fn known_sub_code(code: &str) -> Option<FailureKind> {
    SUB_CODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code.trim())).map(|(_, kind)| *kind)
}

/// A built-in code, which a message may follow.
fn known_code(code: &str) -> Option<FailureKind> {
    let code = visible(code);
    let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let first = code.split(is_end).next().unwrap_or_default();
    CODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(first)).map(|(_, kind)| *kind)
}

fn last<K>(table: &[(K, FailureKind)], is: impl Fn(&K) -> bool) -> Option<FailureKind> {
    table.iter().rev().find(|(known, _)| is(known)).map(|(_, kind)| *kind)
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

/// RFC 6749 §5.2 and §4.1.2.1, RFC 6750 §3.1, RFC 8707 §2, RFC 8628 §3.5, RFC 9449, OpenID Connect Core
/// §3.1.2.6, and codes of single providers.
const CODES: [(&str, FailureKind); 22] = {
    use FailureKind::{GrantEnded, Misconfigured, Transient};
    [
        ("invalid_grant", GrantEnded),
        // GitHub
        ("bad_refresh_token", GrantEnded),
        // Slack, Databricks
        ("invalid_refresh_token", GrantEnded),
        // OpenAI
        ("refresh_token_reused", GrantEnded),
        // Cloud Foundry UAA, SAP XSUAA: of the refresh token, as an access token is sent to no token endpoint.
        ("invalid_token", GrantEnded),
        // Slack
        ("token_expired", GrantEnded),
        ("token_revoked", GrantEnded),
        ("interaction_required", GrantEnded),
        ("login_required", GrantEnded),
        ("consent_required", GrantEnded),
        ("invalid_client", Misconfigured),
        // GitHub
        ("incorrect_client_credentials", Misconfigured),
        ("unauthorized_client", Misconfigured),
        ("unsupported_grant_type", Misconfigured),
        ("invalid_scope", Misconfigured),
        ("invalid_target", Misconfigured),
        ("use_dpop_nonce", Misconfigured),
        ("invalid_dpop_proof", Misconfigured),
        ("server_error", Transient),
        ("temporarily_unavailable", Transient),
        ("slow_down", Transient),
        ("too_many_requests", Transient),
    ]
};

/// Sub-codes that mean something else than their code.
const SUB_CODES: [(&str, FailureKind); 2] = [
    // Entra's loop throttling comes as `invalid_grant`.
    ("50196", FailureKind::Transient),
    ("AADSTS50196", FailureKind::Transient),
];

#[cfg(test)]
mod tests {
    use FailureKind::{GrantEnded, Misconfigured, OutcomeUnknown, Transient, Unexplained};

    use super::*;

    fn classify(errors: &ErrorClassifier, status: u16, code: &str, retry_after: bool) -> FailureKind {
        let codes = Some(code).filter(|code| !code.is_empty()).map(Cow::Borrowed).into_iter().collect();
        let found = ErrorCodes { codes, ..ErrorCodes::default() };
        errors.classify(StatusCode::from_u16(status).unwrap(), &found, retry_after)
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
            (&["temporarily_unavailable", "slow_down", "server_error", "too_many_requests"], Transient),
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
    fn d49_codes_of_an_ended_grant_are_known_in_the_forms_that_providers_send() {
        for code in [
            "invalid_grant: Token is expired or invalid.",
            "invalid_grant",
            "Invalid_Grant - expired",
            "invalid_refresh_token",
            "invalid_token",
            "token_expired",
            "token_revoked",
        ] {
            assert_eq!(classify(&ErrorClassifier::new(), 400, code, false), GrantEnded, "{code}");
        }
        for code in ["invalid_grants", "not invalid_grant", "invalid-grant", "invalid grant"] {
            assert_eq!(classify(&ErrorClassifier::new(), 400, code, false), Unexplained, "{code}");
        }
    }

    #[test]
    fn d50_a_sub_code_takes_precedence_over_the_code_that_it_refines() {
        let classify = |errors: &ErrorClassifier, detail: &'static str| {
            let found = ErrorCodes {
                codes: vec!["invalid_grant".into()],
                details: vec!["other".into(), detail.into()],
                is_error: true,
            };
            errors.classify(StatusCode::BAD_REQUEST, &found, false)
        };
        let none = ErrorClassifier::new();
        for throttled in ["50196", "AADSTS50196: request loop"] {
            assert_eq!(classify(&none, throttled), Transient, "{throttled}");
        }
        assert_eq!(classify(&none, "temporarily_unavailable"), GrantEnded, "not a sub-code");
        let custom = none.code("IP restricted", Transient).code("AADSTS7", Misconfigured);
        let custom = custom.code("invalid_grant", Unexplained);
        assert_eq!(classify(&custom, "ip restricted"), Transient);
        assert_eq!(classify(&custom, "AADSTS7: x: y"), Misconfigured);
        assert_eq!(classify(&custom, "AADSTS50196: x"), Unexplained, "a custom code takes precedence");
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
