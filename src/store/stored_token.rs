//! The token in a record.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use serde_json::{Map, Value};

use crate::{
    rt::{Nanos, nanos_since_epoch, system_time},
    token::{Secret, Token},
};

/// A token as it is stored in a record, with its times on this host's wall clock.
#[derive(Clone, Default)]
pub(super) struct StoredToken {
    /// `None`: only the refresh token is known.
    pub(super) access: Option<Secret>,
    pub(super) scheme: Option<String>,
    pub(super) refresh: Option<Secret>,
    pub(super) received_at: Option<Nanos>,
    pub(super) expires_at: Option<Nanos>,
    pub(super) refresh_at: Option<Nanos>,
    pub(super) refresh_expires_at: Option<Nanos>,
    pub(super) scopes: Option<Arc<[String]>>,
    pub(super) extras: Arc<BTreeMap<String, Secret>>,
    /// Members that this version doesn't know.
    pub(super) others: Map<String, Value>,
}

// === impl StoredToken ===

impl StoredToken {
    /// A refresh token without an access token.
    pub(super) fn seed(refresh: Secret) -> Self {
        Self {
            refresh_expires_at: refresh.expires_at().map(nanos_since_epoch),
            refresh: Some(refresh),
            ..Self::default()
        }
    }

    /// Converts a token whose times are absolute. `others` are those of the stored token that it replaces.
    pub(super) fn new(token: &Token, others: Map<String, Value>) -> Self {
        Self {
            access: Some(Secret::new(token.access_token().to_owned())),
            scheme: Some(token.scheme().to_owned()),
            refresh: token.refresh_secret().cloned(),
            received_at: token.received_at().map(nanos_since_epoch),
            expires_at: token.expires_at().map(nanos_since_epoch),
            refresh_at: token.refresh_at().map(nanos_since_epoch),
            refresh_expires_at: token.refresh_token_expires_at().map(nanos_since_epoch),
            scopes: token.shared_scopes(),
            extras: token.shared_extras(),
            others,
        }
    }

    /// The session's token. `None`: there is no access token, or no header can carry it.
    pub(super) fn to_token(&self) -> Option<Token> {
        let time = |nanos: Option<Nanos>| -> Option<SystemTime> { nanos.map(system_time) };
        let refresh = self.refresh.clone().map(|refresh| refresh.with_expiry(time(self.refresh_expires_at)));
        let token = Token::builder(self.access.as_ref()?.expose())
            .scheme(self.scheme.as_deref())
            .received_at(time(self.received_at))
            .expires_at(time(self.expires_at))
            .refresh_at(time(self.refresh_at))
            .build()
            .ok()?;
        Some(token.with_stored_parts(refresh, self.scopes.clone(), Arc::clone(&self.extras)))
    }

    /// Whether a session would send it.
    pub(super) fn is_valid(&self, now: Nanos) -> bool {
        self.access.is_some() && self.expires_at.is_none_or(|expiry| now < expiry)
    }

    /// Moves all times by the difference between two clocks.
    pub(super) fn shift(&mut self, by: Nanos) {
        let times =
            [&mut self.received_at, &mut self.expires_at, &mut self.refresh_at, &mut self.refresh_expires_at];
        for time in times.into_iter().flatten() {
            *time = time.saturating_add(by);
        }
    }
}
