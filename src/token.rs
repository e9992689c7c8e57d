//! Tokens: what a refresher brings, and what a request carries.
//!
//! [`Token`] is the whole answer of a token endpoint: the access token, its scheme, its end, the refresh token.
//! [`AccessToken`] is the part that a request needs, and holds no refresh token.
//! Both wipe the memory that held a secret when its last user is gone, and neither shows one in its `Debug`.

pub(crate) mod access;
pub(crate) mod builder;
mod invalid;
mod revocable;
mod secret;
pub(crate) mod value;
pub(crate) mod warning;

pub use invalid::InvalidToken;
pub use revocable::RevocableTokens;

pub(crate) use {
    access::{AccessToken, Stamp, private_copy},
    builder::TokenBuilder,
    secret::Secret,
    value::{ReportedLifetime, Token},
    warning::Warning,
};

#[cfg(test)]
mod tests;
