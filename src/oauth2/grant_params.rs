//! [`GrantParams`].

use std::{borrow::Cow, fmt};

use crate::token::Secret;

/// The parameters of a token request, for [`Client::custom_grant`](super::Client::custom_grant).
///
/// # Examples
///
/// The password grant (RFC 6749 §4.3):
///
/// ```
/// use tower_reauth::oauth2::GrantParams;
///
/// let params = GrantParams::new("password").param("username", "ada").param("password", "p");
/// assert!(!format!("{params:?}").contains("ada"));
/// ```
#[derive(Clone)]
#[must_use]
pub struct GrantParams {
    /// In the order in which they are sent.
    params: Vec<(Cow<'static, str>, Secret)>,
}

// === impl GrantParams ===

impl GrantParams {
    /// Creates the parameters of a grant: its `grant_type`.
    pub fn new(grant_type: impl Into<String>) -> Self {
        Self { params: Vec::new() }.param("grant_type", grant_type)
    }

    /// Adds a parameter. Its value is treated as a secret.
    ///
    /// It replaces the client's own parameter of that name, such as `scope` or `client_id`, but gives way to an
    /// [`extra_param`](super::Client::extra_param). A name can be repeated, as RFC 8707 and RFC 8693 allow for
    /// `resource` and `audience`; another `grant_type` replaces the first.
    pub fn param(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), Secret::new(value.into()));
        match self.params.first_mut().filter(|(first, _)| name == "grant_type" && *first == name) {
            Some(grant_type) => grant_type.1 = value,
            None => self.params.push((name, value)),
        }
        self
    }

    pub(super) fn secret(mut self, name: &'static str, value: Secret) -> Self {
        self.params.push((name.into(), value));
        self
    }

    pub(super) fn pairs(&self) -> Vec<(&str, &str)> {
        self.params.iter().map(|(name, value)| (&**name, value.expose())).collect()
    }
}

impl fmt::Debug for GrantParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.params.iter().map(|(name, _)| name).collect();
        f.debug_struct("GrantParams").field("names", &names).finish_non_exhaustive()
    }
}
