//! Token lifetimes.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use super::{
    fields::{Fields, Value},
    jwt,
};

/// Where a response states the token's lifetime.
///
/// Any value yields a token: strings are parsed, negative numbers mean expired, huge ones are clamped. A
/// malformed lifetime, or a missing one whose field was configured, is unknown and reported as a
/// [`Warning`](crate::event::Warning); such a token is used until a server rejects it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::endpoint::Lifetime;
///
/// let standard = Lifetime::seconds("expires_in");
/// let nested = Lifetime::milliseconds("/data/ttl").or_default(Duration::from_secs(60));
/// let jwt = Lifetime::jwt_exp();
/// # let _ = (standard, nested, jwt);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Lifetime {
    field: LifetimeField,
    default: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LifetimeField {
    None,
    Seconds(Cow<'static, str>),
    Milliseconds(Cow<'static, str>),
    UnixTime(Cow<'static, str>),
    JwtExp,
}

/// When a token expires, as its response states it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum StatedExpiry {
    In(Duration),
    At(SystemTime),
    Unknown,
    /// The field isn't a time; the default lifetime.
    Malformed(Option<Duration>),
}

// === impl Lifetime ===

impl Lifetime {
    /// A field with the lifetime in seconds, from the request: `expires_in` of RFC 6749 §5.1.
    pub fn seconds(field: impl Into<Cow<'static, str>>) -> Self {
        Self::from_field(LifetimeField::Seconds(field.into()))
    }

    /// A field with the lifetime in milliseconds, from the request.
    pub fn milliseconds(field: impl Into<Cow<'static, str>>) -> Self {
        Self::from_field(LifetimeField::Milliseconds(field.into()))
    }

    /// A field with the expiry as a Unix timestamp, compared with the local clock.
    pub fn unix_time(field: impl Into<Cow<'static, str>>) -> Self {
        Self::from_field(LifetimeField::UnixTime(field.into()))
    }

    /// The access token is a JWT with an expiry, `exp` (RFC 7519 §4.1.4), which is compared with the local
    /// clock. The JWT isn't verified.
    pub fn jwt_exp() -> Self {
        Self::from_field(LifetimeField::JwtExp)
    }

    /// The response has no lifetime: the token is used until a server rejects it, or for the default set by
    /// [`or_default`](Self::or_default).
    pub fn unknown() -> Self {
        Self::from_field(LifetimeField::None)
    }

    /// Sets the lifetime to assume if it is missing or malformed.
    pub fn or_default(mut self, lifetime: Duration) -> Self {
        self.default = Some(lifetime);
        self
    }

    fn from_field(field: LifetimeField) -> Self {
        Self { field, default: None }
    }

    /// Whether a response without the field deserves a warning: it was configured, without a default.
    pub(super) fn is_expected(&self) -> bool {
        self.default.is_none() && self.field_name().is_some_and(|name| name != "expires_in")
    }

    /// The field that is read, if there is one.
    pub(super) fn field_name(&self) -> Option<&str> {
        match &self.field {
            LifetimeField::Seconds(name)
            | LifetimeField::Milliseconds(name)
            | LifetimeField::UnixTime(name) => Some(name),
            LifetimeField::None | LifetimeField::JwtExp => None,
        }
    }

    pub(super) fn read(&self, fields: Fields<'_>, access_token: &str) -> StatedExpiry {
        let stated = match &self.field {
            LifetimeField::None => StatedExpiry::Unknown,
            LifetimeField::Seconds(name) => {
                read(fields.get(name), |number| StatedExpiry::In(seconds(number)))
            }
            LifetimeField::Milliseconds(name) => {
                read(fields.get(name), |number| StatedExpiry::In(seconds(number / 1e3)))
            }
            LifetimeField::UnixTime(name) => {
                read(fields.get(name), |number| StatedExpiry::At(unix_time(number)))
            }
            LifetimeField::JwtExp => {
                jwt::exp(access_token).map_or(MALFORMED, |exp| StatedExpiry::At(unix_time(exp)))
            }
        };
        match (stated, self.default) {
            (StatedExpiry::Unknown, Some(lifetime)) => StatedExpiry::In(lifetime),
            (MALFORMED, default) => StatedExpiry::Malformed(default),
            _ => stated,
        }
    }
}

fn read(value: Option<Value<'_>>, expiry: impl FnOnce(f64) -> StatedExpiry) -> StatedExpiry {
    match value {
        None => StatedExpiry::Unknown,
        Some(value) => value.number().map_or(MALFORMED, expiry),
    }
}

/// Clamped to what a `Duration` can hold.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(MAX_LIFETIME)
}

fn unix_time(number: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + seconds(number).min(MAX_LIFETIME)
}

const MALFORMED: StatedExpiry = StatedExpiry::Malformed(None);

/// Several thousand years; the token clamps it further.
const MAX_LIFETIME: Duration = Duration::from_secs(1 << 37);

#[cfg(test)]
mod tests {
    use super::*;

    fn read_body(lifetime: &Lifetime, body: &str) -> StatedExpiry {
        lifetime.read(Fields::try_new(body).unwrap(), "opaque")
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn c34_b34_each_field_has_its_unit() {
        let body = r#"{"n":1500,"neg":-1,"big":1e300,"far":1e19,"bad":"x","null":null}"#;
        let at = |seconds| StatedExpiry::At(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (lifetime, expected) in [
            (Lifetime::seconds("n"), StatedExpiry::In(1500 * SECOND)),
            (Lifetime::milliseconds("n"), StatedExpiry::In(Duration::from_millis(1500))),
            (Lifetime::unix_time("n"), at(1500)),
            (Lifetime::seconds("neg"), StatedExpiry::In(Duration::ZERO)),
            (Lifetime::unix_time("neg"), at(0)),
            (Lifetime::seconds("big"), StatedExpiry::In(MAX_LIFETIME)),
            (Lifetime::milliseconds("big"), StatedExpiry::In(MAX_LIFETIME)),
            (Lifetime::unix_time("big"), at(MAX_LIFETIME.as_secs())),
            (Lifetime::unix_time("far"), at(MAX_LIFETIME.as_secs())),
            (Lifetime::seconds("bad"), StatedExpiry::Malformed(None)),
            (Lifetime::seconds("bad").or_default(SECOND), StatedExpiry::Malformed(Some(SECOND))),
            (Lifetime::seconds("null"), StatedExpiry::Unknown),
            (Lifetime::seconds("null").or_default(SECOND), StatedExpiry::In(SECOND)),
            (Lifetime::seconds("n").or_default(SECOND), StatedExpiry::In(1500 * SECOND)),
            (Lifetime::unknown(), StatedExpiry::Unknown),
            (Lifetime::unknown().or_default(SECOND), StatedExpiry::In(SECOND)),
            (Lifetime::jwt_exp(), StatedExpiry::Malformed(None)),
            (Lifetime::jwt_exp().or_default(SECOND), StatedExpiry::Malformed(Some(SECOND))),
        ] {
            assert_eq!(read_body(&lifetime, body), expected, "{lifetime:?}");
        }
    }

    #[test]
    fn b34_extreme_numbers_dont_panic() {
        for number in [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            -0.0,
            1e18,
            1e19,
        ] {
            assert!(seconds(number) <= Duration::MAX);
            assert!(unix_time(number) >= SystemTime::UNIX_EPOCH);
        }
    }
}
