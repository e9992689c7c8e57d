//! What a server says of a refused token, as its `WWW-Authenticate` fields have it (RFC 9110 §11.6.1).

use std::sync::Arc;

use http::{HeaderMap, header::WWW_AUTHENTICATE};
use http_auth::{ChallengeRef, parser::ChallengeParser};

mod lenient;

use lenient::{Piece, Pieces};

/// All that a server's `WWW-Authenticate` fields say.
///
/// The status decides that a token was refused; a challenge can only say more: which claims the next token must
/// carry, where and for which scope to ask, or that a refresh won't help (RFC 6750 §3, RFC 9449 §9). Many servers
/// don't keep to the grammar. What does is read strictly, what doesn't is read as it was meant where that is plain,
/// and what can't be read at all is left out: no field makes this fail.
///
/// Of one field 16 KiB are read, and 64 challenges in all, each with 64 parameters. Cheap to clone.
///
/// # Examples
///
/// Two fields, one of them as some gateways write it:
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
/// use tower_reauth::challenge::Challenges;
///
/// let mut headers = HeaderMap::new();
/// headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Basic realm="a", Bearer error="invalid_token""#));
/// // No commas, as some gateways write it.
/// headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="b" error="invalid_token""#));
/// let challenges = Challenges::from_headers(&headers);
/// let schemes: Vec<&str> = challenges.iter().map(|challenge| challenge.scheme()).collect();
/// assert_eq!(schemes, ["Basic", "Bearer", "Bearer"]);
/// assert_eq!(challenges.iter().last().and_then(|bearer| bearer.param("realm")), Some("b"));
/// assert!(!challenges.is_step_up());
/// ```
///
/// A registry that says where and for what to ask:
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
/// use tower_reauth::challenge::Challenges;
///
/// let field = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull""#;
/// let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(field))]);
/// let challenges = Challenges::from_headers(&headers);
/// let bearer = challenges.find("bearer").expect("it was sent");
/// assert_eq!(bearer.param("realm"), Some("https://auth.docker.io/token"));
/// assert_eq!(bearer.param("Scope"), Some("repository:a:pull"));
/// ```
///
/// A token that lacks a scope, and a proof that lacks a nonce:
///
/// ```
/// # use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
/// # use tower_reauth::challenge::Challenges;
/// let read = |field| Challenges::from_headers(&HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(field))]));
/// assert!(read(r#"Bearer error="insufficient_scope", scope="files:write""#).is_step_up());
/// assert!(read(r#"DPoP error="use_dpop_nonce""#).is_use_dpop_nonce());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Challenges {
    all: Arc<[Challenge]>,
    unreadable: bool,
}

/// One challenge: a scheme, with parameters or with one opaque text.
///
/// See [`Challenges`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    token68: Option<String>,
    params: Vec<(String, String)>,
}

/// What has been read so far, within the limits.
#[derive(Default)]
struct Reading {
    all: Vec<Challenge>,
    unreadable: bool,
}

// === impl Challenges ===

impl Challenges {
    /// Reads every `WWW-Authenticate` field.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut reading = Reading::default();
        for field in headers.get_all(WWW_AUTHENTICATE) {
            reading.field(field.as_bytes());
        }
        reading.all.retain(|challenge| !challenge.scheme.is_empty() || !challenge.params.is_empty());
        Self { all: reading.all.into(), unreadable: reading.unreadable }
    }

    /// The challenges, in the order of their fields.
    pub fn iter(&self) -> impl Iterator<Item = &Challenge> {
        self.all.iter()
    }

    /// There is none: none was sent, or none could be read.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Something of a field could not be read, or lies beyond the limits.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    /// The first challenge of this scheme, in whatever case. There may be more: see [`iter`](Self::iter).
    pub fn find(&self, scheme: &str) -> Option<&Challenge> {
        self.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme))
    }

    /// The token is valid and its scope doesn't suffice (RFC 6750 §3.1): another one of the same grant won't help.
    ///
    /// So it says `error="insufficient_scope"`, under whatever scheme, and not that the token is at fault as well.
    pub fn is_step_up(&self) -> bool {
        self.say("insufficient_scope") && !self.blame_the_token()
    }

    /// The proof beside the token lacks the server's nonce (RFC 9449 §9): the same token will do.
    ///
    /// So it says `error="use_dpop_nonce"`, under whatever scheme, and not that the token is at fault as well.
    pub fn is_use_dpop_nonce(&self) -> bool {
        self.say("use_dpop_nonce") && !self.blame_the_token()
    }

    /// A new token is wanted: this one is invalid (RFC 6750 §3.1), or lacks claims that come with a refresh (Entra).
    fn blame_the_token(&self) -> bool {
        self.say("invalid_token") || self.say("insufficient_claims")
    }

    fn say(&self, code: &str) -> bool {
        // A name should occur once (RFC 9110 §11.2). Where it does twice, both count.
        let mut errors = self.iter().flat_map(|challenge| challenge.all_of("error"));
        errors.any(|error| error.trim_matches([' ', '\t', '\'']).eq_ignore_ascii_case(code))
    }
}

// === impl Challenge ===

impl Challenge {
    /// The scheme, as it was spelt. Empty if the parameters had none.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The value of a parameter, without its quotes and escapes; the name in whatever case.
    ///
    /// The first, if there are several.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.all_of(name).next()
    }

    /// All parameters, in their order.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The opaque text in place of parameters, as `Negotiate` has it.
    pub fn token68(&self) -> Option<&str> {
        self.token68.as_deref()
    }

    fn all_of(&self, name: &str) -> impl Iterator<Item = &str> {
        self.params().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn new(scheme: &str) -> Self {
        Self { scheme: scheme.to_owned(), token68: None, params: Vec::new() }
    }
}

// === impl Reading ===

impl Reading {
    fn field(&mut self, field: &[u8]) {
        let whole = field.len() <= LONGEST_FIELD;
        let field = if whole { field } else { cut(&field[..LONGEST_FIELD]) };
        self.unreadable |= !whole;
        let text = String::from_utf8_lossy(field);
        // One more than there is room for, so that `begin` sees that there are too many.
        let room = MOST_CHALLENGES - self.all.len() + 1;
        match ChallengeParser::new(&text).take(room).collect::<Result<Vec<_>, _>>() {
            Ok(challenges) => self.strict(&challenges),
            Err(_) => self.lenient(&text),
        }
    }

    fn strict(&mut self, challenges: &[ChallengeRef<'_>]) {
        for challenge in challenges {
            if !self.begin(challenge.scheme) {
                return;
            }
            for (name, value) in &challenge.params {
                self.param(name, value.to_unescaped());
            }
        }
    }

    fn lenient(&mut self, text: &str) {
        let first = self.all.len();
        for piece in Pieces::of(text) {
            if self.all.len() == first && matches!(piece, Piece::Param(..)) && !self.begin("") {
                return;
            }
            match piece {
                Piece::Scheme(scheme) => {
                    self.unreadable |= scheme.is_empty();
                    if !self.begin(scheme) {
                        return;
                    }
                }
                Piece::Token68(text) => {
                    if let Some(challenge) = self.all.last_mut() {
                        challenge.token68 = Some(text.to_owned());
                    }
                }
                Piece::Param(name, value) => self.param(name, value.into_owned()),
                Piece::Unreadable => self.unreadable = true,
            }
        }
    }

    /// False: there is no room for another challenge.
    fn begin(&mut self, scheme: &str) -> bool {
        let has_room = self.all.len() < MOST_CHALLENGES;
        if has_room {
            self.all.push(Challenge::new(scheme));
        }
        self.unreadable |= !has_room;
        has_room
    }

    fn param(&mut self, name: &str, value: String) {
        match self.all.last_mut() {
            Some(challenge) if challenge.params.len() < MOST_PARAMS => {
                challenge.params.push((name.to_owned(), value));
            }
            _ => self.unreadable = true,
        }
    }
}

/// The part of a field that ends with a whole item: half an error code must not be taken for another one.
fn cut(field: &[u8]) -> &[u8] {
    let end = field.iter().rposition(|byte| *byte == b',');
    &field[..end.unwrap_or(0)]
}

const LONGEST_FIELD: usize = 16 * 1024;
const MOST_CHALLENGES: usize = 64;
const MOST_PARAMS: usize = 64;

#[cfg(test)]
mod tests;
