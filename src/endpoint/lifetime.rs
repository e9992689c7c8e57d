//! Token lifetimes.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    fields::{Fields, Value},
    jwt,
};
use crate::token::Warning;

/// Where a response states the token's lifetime.
///
/// Any value yields a token: strings are parsed, negative numbers mean expired, huge ones are clamped. A
/// malformed lifetime, or a missing one whose field was configured, is unknown and reported as a
/// [`Warning`](crate::event::Warning); such a token is used until a server rejects it.
///
/// A value that can't be meant as configured is read as what it looks like, with a warning: a lifetime of 10^9 s
/// (31 years) or more, or a date in place of one, is an instant, and a Unix time of 10^11 or more is in
/// milliseconds.
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
    UnixTimeMillis(Cow<'static, str>),
    JwtExp,
}

/// When a token expires, as its response states it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum StatedExpiry {
    In(Duration),
    At(SystemTime),
}

/// A field's value.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Missing,
    AsConfigured(StatedExpiry),
    /// In another unit, or a date.
    LooksLike(StatedExpiry),
    Malformed,
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

    /// A field with the expiry, compared with the local clock: a Unix timestamp, or a date as in RFC 3339 or in
    /// HTTP (RFC 9110 §5.6.7).
    pub fn unix_time(field: impl Into<Cow<'static, str>>) -> Self {
        Self::from_field(LifetimeField::UnixTime(field.into()))
    }

    /// A field with the expiry as a Unix timestamp in milliseconds, compared with the local clock.
    pub fn unix_time_millis(field: impl Into<Cow<'static, str>>) -> Self {
        Self::from_field(LifetimeField::UnixTimeMillis(field.into()))
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
            | LifetimeField::UnixTime(name)
            | LifetimeField::UnixTimeMillis(name) => Some(name),
            LifetimeField::None | LifetimeField::JwtExp => None,
        }
    }

    /// The expiry, and a warning about it.
    pub(super) fn read(
        &self,
        fields: Fields<'_>,
        access_token: &str,
    ) -> (Option<StatedExpiry>, Option<Warning>) {
        let reading = match &self.field {
            LifetimeField::None => Reading::Missing,
            LifetimeField::Seconds(name) => read(fields.get(name), lifetime),
            LifetimeField::Milliseconds(name) => read(fields.get(name), |number| lifetime(number / 1e3)),
            LifetimeField::UnixTime(name) => match fields.get(name).and_then(date) {
                Some(date) => Reading::AsConfigured(StatedExpiry::At(date)),
                None => read(fields.get(name), instant),
            },
            LifetimeField::UnixTimeMillis(name) => {
                read(fields.get(name), |number| Reading::AsConfigured(at(number / 1e3)))
            }
            LifetimeField::JwtExp => jwt::exp(access_token).map_or(Reading::Malformed, instant),
        };
        let default = self.default.map(StatedExpiry::In);
        match reading {
            Reading::Missing => (default, self.is_expected().then_some(Warning::MissingLifetime)),
            Reading::AsConfigured(expiry) => (Some(expiry), None),
            Reading::LooksLike(expiry) => (Some(expiry), Some(Warning::InvalidLifetime)),
            Reading::Malformed => (default, Some(Warning::InvalidLifetime)),
        }
    }
}

fn read(value: Option<Value<'_>>, number: impl FnOnce(f64) -> Reading) -> Reading {
    let Some(value) = value else { return Reading::Missing };
    match value.number() {
        Some(stated) => number(stated),
        None => date(value).map_or(Reading::Malformed, |date| Reading::LooksLike(StatedExpiry::At(date))),
    }
}

/// A lifetime in seconds, unless it is so long that an instant must be meant.
fn lifetime(number: f64) -> Reading {
    if (FIRST_INSTANT..END_OF_INSTANTS).contains(&number) {
        return Reading::LooksLike(at(if number < FIRST_IN_MILLISECONDS { number } else { number / 1e3 }));
    }
    Reading::AsConfigured(StatedExpiry::In(seconds(number)))
}

/// A Unix time in seconds, unless it is so late that milliseconds must be meant.
fn instant(number: f64) -> Reading {
    if (FIRST_IN_MILLISECONDS..END_OF_INSTANTS).contains(&number) {
        return Reading::LooksLike(at(number / 1e3));
    }
    Reading::AsConfigured(at(number))
}

fn date(value: Value<'_>) -> Option<SystemTime> {
    let text = value.into_text()?;
    let rfc3339 = || OffsetDateTime::parse(text.trim(), &Rfc3339).ok().map(SystemTime::from);
    let date = rfc3339().or_else(|| httpdate::parse_http_date(text.trim()).ok())?;
    Some(date.max(SystemTime::UNIX_EPOCH))
}

/// Clamped, so that the sum with any clock's time is a date that others can show.
pub(super) fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(MAX_LIFETIME).min(MAX_LIFETIME)
}

fn at(number: f64) -> StatedExpiry {
    StatedExpiry::At(SystemTime::UNIX_EPOCH + seconds(number))
}

/// In 2001, or a lifetime of 31 years.
const FIRST_INSTANT: f64 = 1e9;

/// In 1973, or in seconds in 5138.
const FIRST_IN_MILLISECONDS: f64 = 1e11;

/// In milliseconds in 5138. A larger number stands for "never".
const END_OF_INSTANTS: f64 = 1e14;

/// Several thousand years; the token clamps it further.
const MAX_LIFETIME: Duration = Duration::from_secs(1 << 37);

#[cfg(test)]
mod tests {
    use super::*;

    /// The expiry, and whether there is a warning.
    fn read_body(lifetime: &Lifetime, body: &str) -> (Option<StatedExpiry>, bool) {
        let (expiry, warning) = lifetime.read(Fields::try_new(body).unwrap(), "opaque");
        (expiry, warning.is_some())
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn expires_in(lifetime: Duration) -> Option<StatedExpiry> {
        Some(StatedExpiry::In(lifetime))
    }

    fn expires_at(seconds: u64) -> Option<StatedExpiry> {
        Some(StatedExpiry::At(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    #[test]
    fn c34_b34_each_field_has_its_unit() {
        let body = r#"{"n":1500,"neg":-1,"big":1e300,"far":1e19,"bad":"x","null":null}"#;
        for (lifetime, expected) in [
            (Lifetime::seconds("n"), (expires_in(1500 * SECOND), false)),
            (Lifetime::milliseconds("n"), (expires_in(Duration::from_millis(1500)), false)),
            (Lifetime::unix_time("n"), (expires_at(1500), false)),
            (Lifetime::seconds("neg"), (expires_in(Duration::ZERO), false)),
            (Lifetime::unix_time("neg"), (expires_at(0), false)),
            (Lifetime::seconds("big"), (expires_in(MAX_LIFETIME), false)),
            (Lifetime::milliseconds("big"), (expires_in(MAX_LIFETIME), false)),
            (Lifetime::unix_time("big"), (expires_at(MAX_LIFETIME.as_secs()), false)),
            (Lifetime::unix_time("far"), (expires_at(MAX_LIFETIME.as_secs()), false)),
            (Lifetime::unix_time_millis("far"), (expires_at(MAX_LIFETIME.as_secs()), false)),
            (Lifetime::seconds("bad"), (None, true)),
            (Lifetime::seconds("bad").or_default(SECOND), (expires_in(SECOND), true)),
            (Lifetime::seconds("null"), (None, true)),
            (Lifetime::seconds("null").or_default(SECOND), (expires_in(SECOND), false)),
            (Lifetime::seconds("n").or_default(SECOND), (expires_in(1500 * SECOND), false)),
            (Lifetime::unknown(), (None, false)),
            (Lifetime::unknown().or_default(SECOND), (expires_in(SECOND), false)),
            (Lifetime::jwt_exp(), (None, true)),
            (Lifetime::jwt_exp().or_default(SECOND), (expires_in(SECOND), true)),
        ] {
            assert_eq!(read_body(&lifetime, body), expected, "{lifetime:?}");
        }
    }

    #[test]
    fn d52_an_instant_is_read_in_seconds_or_milliseconds_or_as_a_date() {
        for (value, expected) in [
            ("1900000000", (expires_at(1_900_000_000), false)),
            ("99999999999", (expires_at(99_999_999_999), false)),
            ("1900000000000", (expires_at(1_900_000_000), true)),
            (r#""2099-01-01T00:00:00Z""#, (expires_at(4_070_908_800), false)),
            (r#"" 2021-08-18T09:16:33+08:00 ""#, (expires_at(1_629_249_393), false)),
            (r#""2099-01-01t00:00:00.000000000012z""#, (expires_at(4_070_908_800), false)),
            (r#""2099-01-01 00:00:00Z""#, (expires_at(4_070_908_800), false)),
            (r#""Sun, 06 Nov 1994 08:49:37 GMT""#, (expires_at(784_111_777), false)),
            (r#""1900-01-01T00:00:00Z""#, (expires_at(0), false)),
            (r#""2099-01-01""#, (None, true)),
            (r#""tomorrow""#, (None, true)),
        ] {
            let body = format!(r#"{{"at":{value}}}"#);
            assert_eq!(read_body(&Lifetime::unix_time("at"), &body), expected, "{value}");
        }
        let body = r#"{"at":1900000000000}"#;
        assert_eq!(read_body(&Lifetime::unix_time_millis("at"), body), (expires_at(1_900_000_000), false));
    }

    #[test]
    fn d52_an_instant_in_place_of_a_lifetime_is_recognised_by_its_size_with_a_warning() {
        for (value, expected) in [
            ("999999999", (expires_in(999_999_999 * SECOND), false)),
            ("1000000000", (expires_at(1_000_000_000), true)),
            ("99999999999", (expires_at(99_999_999_999), true)),
            ("100000000000", (expires_at(100_000_000), true)),
            (r#""1900000000""#, (expires_at(1_900_000_000), true)),
            ("1900000000000", (expires_at(1_900_000_000), true)),
            (r#""2099-01-01T00:00:00Z""#, (expires_at(4_070_908_800), true)),
            ("100000000000000", (expires_in(MAX_LIFETIME), false)),
            ("18446744073709551615", (expires_in(MAX_LIFETIME), false)),
        ] {
            let body = format!(r#"{{"n":{value}}}"#);
            assert_eq!(read_body(&Lifetime::seconds("n"), &body), expected, "{value}");
        }
        let body = r#"{"n":1900000000000}"#;
        assert_eq!(read_body(&Lifetime::milliseconds("n"), body), (expires_at(1_900_000_000), true));
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
            let _ = (lifetime(number), instant(number));
        }
    }
}
