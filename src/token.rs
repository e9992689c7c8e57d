//! Tokens.
//!
//! [`Token`] is a token endpoint's whole response: the access token, its scheme and expiry, the refresh
//! token. [`AccessToken`] is the part that requests carry; it has no refresh token. Both zero the memory of
//! secrets when the last reference is dropped, and neither shows them in `Debug`.

pub(crate) mod access;
pub(crate) mod builder;
mod details;
mod headers;
mod invalid;
mod revocable;
mod secret;
pub(crate) mod value;
pub(crate) mod warning;

pub use builder::OptionalString;
pub use invalid::InvalidToken;
pub use revocable::RevocableTokens;

#[cfg(feature = "__endpoint")]
pub(crate) use builder::TokenBuilder;
pub(crate) use {
    access::{AccessToken, Epoch, TokenId},
    headers::TokenHeaders,
    secret::Secret,
    value::{ReportedLifetime, Token},
    warning::Warning,
};

#[cfg(test)]
mod tests;
