//! [`Details`].

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use super::{headers::CustomHeaders, secret::Secret, value::Expiry, warning::Warning};

/// What few tokens have, apart from the rest, so that the others are small.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Details {
    /// For the refresh token that is kept, if there is no other. A refresh token has its own.
    pub(super) refresh_token_expiry: Option<SystemTime>,
    pub(super) refresh_at: Option<Expiry>,
    pub(super) scopes: Option<Arc<[String]>>,
    /// `None` if there are none.
    pub(super) extras: Option<Arc<Extras>>,
    pub(super) warnings: Vec<Warning>,
    /// What its session sends it in, if not in `Authorization`.
    pub(super) headers: Option<CustomHeaders>,
}

pub(super) type Extras = BTreeMap<String, Secret>;

pub(super) static NONE: Details = Details {
    refresh_token_expiry: None,
    refresh_at: None,
    scopes: None,
    extras: None,
    warnings: Vec::new(),
    headers: None,
};

// === impl Details ===

impl Details {
    /// Without an allocation if there are none.
    pub(super) fn into_shared(self) -> Option<Arc<Self>> {
        (self != NONE).then(|| Arc::new(self))
    }

    pub(super) fn set_extras(&mut self, extras: Arc<Extras>) {
        self.extras = (!extras.is_empty()).then_some(extras);
    }
}
