//! How long an answer's access token lives.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use super::{
    fields::{Members, Value},
    jwt,
};

/// Where an answer says how long its access token lives.
///
/// Whatever a server writes there, a token is made of it: numbers in texts are read, negative ones are a token that has
/// expired, huge ones are clamped. What can't be read is a life that isn't known, told by a
/// [`Warning`](crate::event::Warning), and so is one that isn't there, though its place was named; such a token is used until a
/// server refuses it.
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
    place: Place,
    default: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Seconds(Cow<'static, str>),
    Milliseconds(Cow<'static, str>),
    UnixTime(Cow<'static, str>),
    JwtExp,
}

/// When an access token ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    In(Duration),
    At(SystemTime),
    Unknown,
    /// Something stands there that is no time; the life that was set for that.
    Unreadable(Option<Duration>),
}

// === impl Lifetime ===

impl Lifetime {
    /// A member holds the seconds that it lives, counted from the request: `expires_in` of RFC 6749 §5.1.
    pub fn seconds(member: impl Into<Cow<'static, str>>) -> Self {
        Self::at(Place::Seconds(member.into()))
    }

    /// A member holds the milliseconds that it lives, counted from the request.
    pub fn milliseconds(member: impl Into<Cow<'static, str>>) -> Self {
        Self::at(Place::Milliseconds(member.into()))
    }

    /// A member holds the instant at which it ends, in seconds since 1970. It is compared with the local clock.
    pub fn unix_time(member: impl Into<Cow<'static, str>>) -> Self {
        Self::at(Place::UnixTime(member.into()))
    }

    /// The access token is a JWT, whose `exp` (RFC 7519 §4.1.4) is read, and not verified. It is compared with the
    /// local clock.
    pub fn jwt_exp() -> Self {
        Self::at(Place::JwtExp)
    }

    /// The answer doesn't say: the token is used until a server refuses it, or for as long as
    /// [`or_default`](Self::or_default) has it.
    pub fn unknown() -> Self {
        Self::at(Place::Nowhere)
    }

    /// Sets the life of a token whose answer doesn't say, or not in a way that can be read.
    pub fn or_default(mut self, life: Duration) -> Self {
        self.default = Some(life);
        self
    }

    fn at(place: Place) -> Self {
        Self { place, default: None }
    }

    /// Whether an answer without it is odd: it was named, and nothing was said for that.
    pub(super) fn is_expected(&self) -> bool {
        self.default.is_none() && self.member().is_some_and(|name| name != "expires_in")
    }

    /// The member that is read, if one is.
    pub(super) fn member(&self) -> Option<&str> {
        match &self.place {
            Place::Seconds(name) | Place::Milliseconds(name) | Place::UnixTime(name) => Some(name),
            Place::Nowhere | Place::JwtExp => None,
        }
    }

    pub(super) fn read(&self, members: Members<'_>, access_token: &str) -> End {
        let told = match &self.place {
            Place::Nowhere => End::Unknown,
            Place::Seconds(name) => read(members.get(name), |number| End::In(seconds(number))),
            Place::Milliseconds(name) => read(members.get(name), |number| End::In(seconds(number / 1e3))),
            Place::UnixTime(name) => read(members.get(name), |number| End::At(unix_time(number))),
            Place::JwtExp => jwt::exp(access_token).map_or(UNREADABLE, |exp| End::At(unix_time(exp))),
        };
        match (told, self.default) {
            (End::Unknown, Some(life)) => End::In(life),
            (UNREADABLE, default) => End::Unreadable(default),
            _ => told,
        }
    }
}

fn read(value: Option<Value<'_>>, end: impl FnOnce(f64) -> End) -> End {
    match value {
        None => End::Unknown,
        Some(value) => value.number().map_or(UNREADABLE, end),
    }
}

/// Less than nothing is nothing, more than can be held is the most.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(LONGEST)
}

fn unix_time(number: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + seconds(number).min(LONGEST)
}

const UNREADABLE: End = End::Unreadable(None);

/// Some thousand years: what is longer is cut by the token itself.
const LONGEST: Duration = Duration::from_secs(1 << 37);

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lifetime: &Lifetime, body: &str) -> End {
        lifetime.read(Members::try_new(body).unwrap(), "opaque")
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn c34_b34_each_place_has_its_unit() {
        let body = r#"{"n":1500,"neg":-1,"big":1e300,"far":1e19,"bad":"x","null":null}"#;
        let at = |seconds| End::At(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (lifetime, expected) in [
            (Lifetime::seconds("n"), End::In(1500 * SECOND)),
            (Lifetime::milliseconds("n"), End::In(Duration::from_millis(1500))),
            (Lifetime::unix_time("n"), at(1500)),
            (Lifetime::seconds("neg"), End::In(Duration::ZERO)),
            (Lifetime::unix_time("neg"), at(0)),
            (Lifetime::seconds("big"), End::In(LONGEST)),
            (Lifetime::milliseconds("big"), End::In(LONGEST)),
            (Lifetime::unix_time("big"), at(LONGEST.as_secs())),
            (Lifetime::unix_time("far"), at(LONGEST.as_secs())),
            (Lifetime::seconds("bad"), End::Unreadable(None)),
            (Lifetime::seconds("bad").or_default(SECOND), End::Unreadable(Some(SECOND))),
            (Lifetime::seconds("null"), End::Unknown),
            (Lifetime::seconds("null").or_default(SECOND), End::In(SECOND)),
            (Lifetime::seconds("n").or_default(SECOND), End::In(1500 * SECOND)),
            (Lifetime::unknown(), End::Unknown),
            (Lifetime::unknown().or_default(SECOND), End::In(SECOND)),
            (Lifetime::jwt_exp(), End::Unreadable(None)),
            (Lifetime::jwt_exp().or_default(SECOND), End::Unreadable(Some(SECOND))),
        ] {
            assert_eq!(told(&lifetime, body), expected, "{lifetime:?}");
        }
    }

    #[test]
    fn b34_no_number_makes_it_panic() {
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
