//! The built-in transport.

use super::{
    transport::Transport,
    url::{EndpointUrl, InvalidEndpoint},
};
use crate::https::HttpsConnector;

impl Transport {
    /// Creates a client. None is shared, as connections belong to the runtime that made them.
    pub(crate) fn built_in(url: &EndpointUrl) -> Result<Self, InvalidEndpoint> {
        let connector =
            if url.is_https() { HttpsConnector::try_new()? } else { HttpsConnector::cleartext_only() };
        Ok(Self::new(connector.into_client()))
    }
}
