//! [`Issuer`].

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::watch;
use tower_service::Service;

use super::{
    body::ResponseBody,
    grants::{Access, Grants, Pair, Rules},
    server::LoopbackServer,
    token_request::{Grant, TokenRequest, error},
};
use crate::{
    error::BoxError,
    refresh::{RefreshContext, RefreshError, Refresher},
    rt::Clock,
    sync::lock,
    token::Token,
};

/// A token endpoint that rotates refresh tokens. Clones share its state.
///
/// See the [module docs](super) for a test that uses it. It can replace a token endpoint in three ways:
///
/// - as a [`Refresher`], which exchanges refresh tokens in memory, without HTTP; each refresh still counts as
///   a token request and follows the [script](Self::script);
/// - as a tower service, which is the transport of a refresher:
///   `oauth2::Client::try_with_transport("https://id.example.com/token", "app", issuer.clone())`;
/// - as a [loopback server](Self::serve), for code that has its own client.
///
/// Requests may be forms or JSON, with any method, for any path, and from any client. The refresh token may
/// be named `refresh_token` or, as simplejwt does, `refresh`.
///
/// It lets other tasks run before it responds, so that concurrent calls overlap: a test notices code that refreshes
/// once per call.
///
/// Access tokens expire by the clock after their [lifetime](super::IssuerBuilder::lifetime), or all at once
/// by [`expire_access_tokens`](Self::expire_access_tokens).
///
/// # Examples
///
/// What a client does about a lost response is tested without a network:
///
/// ```
/// use tower_reauth::{Session, testing::{Issuer, Reuse, Scripted}};
///
/// # tokio_test::block_on(async {
/// let issuer = Issuer::builder().reuse(Reuse::SameSuccessor).build();
/// let session = Session::builder(issuer.clone()).token(issuer.sign_in()).build();
///
/// issuer.script([Scripted::Lost]);
/// session.refresh().await?;
/// assert_eq!((issuer.refreshes(), issuer.reuses()), (1, 1));
/// assert!(issuer.family_is_alive());
/// # Ok::<(), tower_reauth::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Issuer {
    shared: Arc<Shared>,
}

/// How an [`Issuer`] responds to a token request, instead of normally.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scripted {
    /// The refresh token is exchanged, but the response is lost: the connection closes.
    ///
    /// The session then presents the same refresh token once more. By default, that is a reuse which ends the
    /// sign-in, as at a strict server; [`SameSuccessor`](super::Reuse::SameSuccessor) is a server that tolerates it.
    Lost,
    /// The refresh token is exchanged; the response comes after [`Issuer::release`].
    Hang,
    /// The refresh token is exchanged; the response comes after this time.
    Slow(Duration),
    /// The refresh token isn't exchanged, and the response has this status and no body.
    ///
    /// `oauth2::Client` and `JsonEndpoint` retry a 503 twice before a refresh fails: it takes three.
    Status(StatusCode),
    /// The response repeats the user's latest access token. Ignored for client credentials.
    SameToken,
    /// The response has an access token that has expired, with a lifetime of zero. Ignored for client
    /// credentials.
    Expired,
}

/// The response to a token request was lost.
#[derive(Debug)]
struct Lost;

struct Shared {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    requests: watch::Sender<usize>,
    /// Counts the calls of `release`.
    releases: watch::Sender<usize>,
}

struct State {
    grants: Grants,
    script: VecDeque<Scripted>,
}

enum TokenResponse {
    Tokens(Pair),
    Refusal,
    Status(StatusCode),
}

// === impl Issuer ===

impl Issuer {
    pub(super) fn of(rules: Rules, clock: Arc<dyn Clock>) -> Self {
        let state = State { grants: Grants::new(rules), script: VecDeque::new() };
        let shared = Shared {
            state: Mutex::new(state),
            clock,
            requests: watch::Sender::new(0),
            releases: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Signs a user in: issues the first tokens of a family.
    pub fn sign_in(&self) -> Token {
        self.sign_in_with_scopes::<String>([])
    }

    /// Signs a user in who grants these scopes, for
    /// [`Resource::require_scope`](super::Resource::require_scope).
    pub fn sign_in_with_scopes<T: Into<String>>(&self, scopes: impl IntoIterator<Item = T>) -> Token {
        let scopes: Vec<_> = scopes.into_iter().map(Into::into).collect();
        let now = self.shared.clock.now();
        let pair = lock(&self.shared.state).grants.sign_in(scopes, now);
        token(pair).into_builder().received_at(now.wall()).build().expect("the token is valid")
    }

    /// Exchanges a refresh token, as a token request does. Returns `None` if it is refused.
    ///
    /// This neither follows the script nor counts as a request.
    pub fn exchange(&self, refresh_token: &str) -> Option<Token> {
        let now = self.shared.clock.now();
        lock(&self.shared.state).grants.exchange(refresh_token, Access::New, now).map(token)
    }

    /// Issues another access token in the family of `token`. Returns `None` if this issuer didn't issue
    /// `token`.
    pub fn issue_access_token(&self, token: &str) -> Option<String> {
        let now = self.shared.clock.now();
        lock(&self.shared.state).grants.issue_access_for(token, now)
    }

    /// Revokes the family of a token: all tokens of that sign-in.
    ///
    /// Returns whether this changed anything: `false` for a revoked family and for an unknown token.
    pub fn revoke_family(&self, token: &str) -> bool {
        let grants = &mut lock(&self.shared.state).grants;
        grants.family_of(token).is_some_and(|family| grants.revoke(family))
    }

    /// Expires all access tokens. Their refresh tokens stay valid.
    ///
    /// A session isn't told: the API rejects its next call, as after a revocation. For an expiry that the session
    /// knows of, give the issuer and the session the same clock, see [`testing`](super#time).
    ///
    /// After a refresh, a session's token is on trial for a tenth of its lifetime, 30 s at most. If the token
    /// is rejected during the trial, the next refresh waits for the
    /// [backoff](crate::SessionBuilder::backoff). In a test, call this after the trial, or set a short
    /// backoff.
    pub fn expire_access_tokens(&self) {
        lock(&self.shared.state).grants.expire_all();
    }

    /// Scripts the responses to the next token requests, after those already scripted. Later requests get
    /// normal responses.
    pub fn script(&self, responses: impl IntoIterator<Item = Scripted>) {
        lock(&self.shared.state).script.extend(responses);
    }

    /// Sends the responses that [hang](Scripted::Hang).
    pub fn release(&self) {
        self.shared.releases.send_modify(|count| *count += 1);
    }

    /// The number of token requests that were processed, including those whose responses hang or were lost.
    ///
    /// A request without a refresh token, or with an unsupported grant, isn't counted.
    pub fn requests(&self) -> usize {
        *self.shared.requests.borrow()
    }

    /// Waits until `count` token requests have been processed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn wait_for_requests(&self, count: usize) {
        let mut requests = self.shared.requests.subscribe();
        // The sender is in `self`.
        let _ = requests.wait_for(|requests| *requests >= count).await;
    }

    /// How often a refresh token was exchanged for new tokens.
    pub fn refreshes(&self) -> usize {
        lock(&self.shared.state).grants.refreshes
    }

    /// How often a refresh token was presented that had already been replaced.
    pub fn reuses(&self) -> usize {
        lock(&self.shared.state).grants.reuses
    }

    /// How often a refresh token was refused.
    pub fn refusals(&self) -> usize {
        lock(&self.shared.state).grants.refusals
    }

    /// Whether no family has been revoked, so that all users are still signed in.
    pub fn family_is_alive(&self) -> bool {
        lock(&self.shared.state).grants.are_alive()
    }

    /// Whether this issuer issued `token`, and hasn't revoked its family.
    pub fn is_in_live_family(&self, token: &str) -> bool {
        let grants = &lock(&self.shared.state).grants;
        grants.family_of(token).is_some_and(|family| grants.is_alive(family))
    }

    /// The number of the sign-in that a token descends from. `None` if this issuer didn't issue the token.
    pub fn family_of(&self, token: &str) -> Option<u64> {
        lock(&self.shared.state).grants.family_of(token)
    }

    /// Whether an access token is valid.
    pub fn accepts(&self, access_token: &str) -> bool {
        lock(&self.shared.state).grants.accepts(access_token, self.shared.clock.now())
    }

    /// Whether a refresh token hasn't been replaced, and its family isn't revoked.
    ///
    /// Without [rotation](super::IssuerBuilder::rotate), an exchange doesn't replace it.
    pub fn is_unused(&self, refresh_token: &str) -> bool {
        lock(&self.shared.state).grants.is_unused(refresh_token)
    }

    pub(super) fn has_scope(&self, access_token: &str, scope: &str) -> bool {
        lock(&self.shared.state).grants.has_scope(access_token, scope)
    }

    /// Starts a loopback server for token requests, at any path.
    ///
    /// # Errors
    ///
    /// If no port is free.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, and in one without I/O.
    pub async fn serve(&self) -> io::Result<LoopbackServer> {
        LoopbackServer::start(self.clone()).await
    }

    async fn process(&self, grant: &Grant) -> Result<TokenResponse, Lost> {
        let Shared { state, clock, requests, releases } = &*self.shared;
        // Subscribed before the request is counted, as a test that sees the count may call `release` at once.
        let mut releases = releases.subscribe();
        let (scripted, response) = {
            let mut state = lock(state);
            let now = clock.now();
            let scripted = state.script.pop_front();
            let access = match scripted {
                Some(Scripted::SameToken) => Access::Same,
                Some(Scripted::Expired) => Access::Expired,
                _ => Access::New,
            };
            let response = match (&scripted, grant) {
                (Some(Scripted::Status(status)), _) => TokenResponse::Status(*status),
                (_, Grant::RefreshToken(presented)) => {
                    let pair = state.grants.exchange(presented, access, now);
                    pair.map_or(TokenResponse::Refusal, TokenResponse::Tokens)
                }
                (_, _) => {
                    let pair = state.grants.sign_in(Vec::new(), now);
                    TokenResponse::Tokens(Pair { refresh: None, ..pair })
                }
            };
            requests.send_modify(|count| *count += 1);
            (scripted, response)
        };
        match scripted {
            Some(Scripted::Lost) => return Err(Lost),
            Some(Scripted::Hang) => {
                // The sender is in `self`.
                let _ = releases.changed().await;
            }
            Some(Scripted::Slow(time)) => {
                if let Ok(sleep) = clock.sleep(time) {
                    sleep.await;
                }
            }
            _ => let_others_run().await,
        }
        Ok(response)
    }

    async fn respond<B>(self, request: Request<B>) -> Result<Response<ResponseBody>, BoxError>
    where
        B: Body<Error: Into<BoxError>>,
    {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(Into::into)?.to_bytes();
        let request = TokenRequest::parse(&head.headers, &body);
        if let Grant::Unsupported(code) = request.grant {
            return Ok(error(code));
        }
        Ok(match self.process(&request.grant).await? {
            TokenResponse::Tokens(pair) => request.tokens(&pair),
            TokenResponse::Refusal => request.refusal(),
            TokenResponse::Status(status) => {
                let mut response = Response::new(ResponseBody::default());
                *response.status_mut() = status;
                response
            }
        })
    }
}

impl<B> Service<Request<B>> for Issuer
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.clone().respond(request))
    }
}

impl Refresher for Issuer {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let Some(presented) = cx.refresh_token() else {
            return Err(RefreshError::grant_ended("there is no refresh token"));
        };
        match self.process(&Grant::RefreshToken(presented.to_owned())).await {
            Ok(TokenResponse::Tokens(pair)) => Ok(token(pair)),
            Ok(TokenResponse::Refusal) => Err(RefreshError::grant_ended("invalid_grant")),
            Ok(TokenResponse::Status(status)) => Err(match status.as_u16() {
                499 | 500 | 504 | 524 => RefreshError::outcome_unknown(status.to_string()),
                411 | 413 | 415 | 422 => RefreshError::misconfigured(status.to_string()),
                408 | 425 | 429 | 501..=599 => RefreshError::transient(status.to_string()),
                _ => RefreshError::unexplained(status.to_string()),
            }),
            Err(lost) => Err(RefreshError::outcome_unknown(lost)),
        }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("requests", &self.requests()).finish_non_exhaustive()
    }
}

/// With an immediate response, each call would end before the next one begins.
pub(super) async fn let_others_run() {
    tokio::task::yield_now().await;
}

fn token(pair: Pair) -> Token {
    let token = Token::builder(pair.access).refresh_token(pair.refresh).expires_in(pair.lifetime);
    token.build().expect("an access token of an issuer is a valid one")
}

// === impl Lost ===

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection closed before a response")
    }
}

impl std::error::Error for Lost {}
