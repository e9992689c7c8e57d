//! [`check_refresher`].

use std::{
    error::Error as StdError, fmt, iter::successors, panic::AssertUnwindSafe, pin::pin, time::Duration,
};

use futures_util::{
    FutureExt,
    future::{Either, join, select},
};
use http::StatusCode;

use super::issuer::{Issuer, Scripted};
use crate::{
    panics::drop_panic,
    refresh::{RefreshContext, RefreshError, Refresher},
    rt::{Clock, SystemClock},
    token::Token,
};

/// A step of [`check_refresher`] that failed.
///
/// Its message has the step's name, what happened and what to do.
#[derive(Clone, PartialEq, Eq)]
pub struct FailedStep {
    step: &'static str,
    problem: String,
}

/// A refresher, its token endpoint, and the tokens of a user.
struct Setup<R> {
    refresher: R,
    issuer: Issuer,
    token: Token,
}

const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// What happened, and what to do.
type Problem = String;

/// Checks a [`Refresher`] that presents refresh tokens, in a test of your own refresher.
///
/// For each step, `make` gets a new [`Issuer`] and the URL of its loopback server, and returns a refresher
/// that uses either. A step can take as long as the refresher's own retries. Don't pause tokio's time: it
/// would jump to the 60 s timeout while the refresher waits for its connection.
///
/// # What it doesn't check
///
/// - Refusals other than `invalid_grant`, such as `invalid_client`, and statuses other than 503.
/// - Lifetimes that aren't in `expires_in`: a refresher that reads them from a JWT, as for simplejwt, fails
///   the first step, as the issuer's tokens aren't JWTs.
/// - Timeouts, other than that each step finishes within 60 s.
/// - That no request is made when nothing [is wanted](RefreshContext::is_wanted) any more.
///
/// # Examples
///
/// ```
/// # use tower_reauth::{RefreshContext, RefreshError, Refresher, Token, testing::Issuer};
/// # struct MyRefresher(Issuer);
/// # impl MyRefresher {
/// #     fn new(issuer: &Issuer) -> Self {
/// #         Self(issuer.clone())
/// #     }
/// # }
/// # impl Refresher for MyRefresher {
/// #     async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
/// #         self.0.refresh(cx).await
/// #     }
/// # }
/// use tower_reauth::testing::{FailedStep, check_refresher};
///
/// # /*
/// #[tokio::test]
/// # */
/// async fn my_refresher_keeps_the_contract() -> Result<(), FailedStep> {
/// #   let _ = r#"
///     check_refresher(|_issuer, url| MyRefresher::new(url)).await
/// #   "#;
/// #   check_refresher(|issuer, _url| MyRefresher::new(issuer)).await
/// }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(my_refresher_keeps_the_contract())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Returns the first step that failed. Without timers in the tokio runtime, the first step fails.
///
/// # Panics
///
/// Outside a tokio runtime, and in one without I/O.
pub async fn check_refresher<R: Refresher>(make: impl Fn(&Issuer, &str) -> R) -> Result<(), FailedStep> {
    let make = &make;
    step("a refresh returns the new tokens", make, new_tokens).await?;
    step("the next refresh presents the new refresh token", make, successor).await?;
    step("the refreshes of two users don't mix", make, two_users).await?;
    step("a refused refresh token ends the grant", make, refusal).await?;
    step("a lost response is an unknown outcome", make, lost_response).await?;
    step("an unavailable endpoint is a transient failure", make, unavailable).await?;
    step("a dropped refresh leaves the refresher usable", make, dropped).await?;
    step("a missing refresh token doesn't cause a panic", make, no_refresh_token).await
}

async fn step<R: Refresher>(
    step: &'static str,
    make: &impl Fn(&Issuer, &str) -> R,
    check: impl AsyncFnOnce(Setup<R>) -> Result<(), Problem>,
) -> Result<(), FailedStep> {
    let failed = |problem| FailedStep { step, problem };
    let issuer = Issuer::new();
    let server = issuer.serve().await;
    let server =
        server.map_err(|error| failed(format!("the issuer's loopback server didn't start: {error}")))?;
    let setup = Setup { refresher: make(&issuer, &server.url()), token: issuer.sign_in(), issuer };
    let limit = SystemClock.sleep(STEP_TIMEOUT).map_err(|error| failed(error.to_string()))?;
    match select(Box::pin(AssertUnwindSafe(check(setup)).catch_unwind()), limit).await {
        Either::Left((Ok(result), _)) => result.map_err(failed),
        Either::Left((Err(panic), _)) => {
            drop_panic(panic);
            Err(failed("it panicked; return an error instead".to_owned()))
        }
        Either::Right(_) => Err(failed(
            "it didn't finish within 60 s; set a timeout, and release locks and permits when a \
             refresh is dropped"
                .to_owned(),
        )),
    }
}

async fn new_tokens<R: Refresher>(setup: Setup<R>) -> Result<(), Problem> {
    let token = setup.refresh(&setup.token).await?;
    if setup.issuer.reuses() > 0 {
        return Err("it presented the refresh token twice; send a single request".to_owned());
    }
    let is_new = token.refresh_token().is_some_and(|refresh| setup.issuer.is_unused(refresh));
    ensure(is_new, "the new refresh token is missing; set `TokenBuilder::refresh_token` from the response")?;
    let lifetime = token.expires_at();
    ensure(lifetime.is_some(), "the lifetime is missing; set `TokenBuilder::expires_in` from the response")
}

async fn successor<R: Refresher>(setup: Setup<R>) -> Result<(), Problem> {
    let second = setup.refresh(&setup.token).await?;
    setup.refresh(&second).await?;
    let reuses = setup.issuer.reuses();
    ensure(reuses == 0, "it presented the first refresh token again; use `RefreshContext::refresh_token`")
}

async fn two_users<R: Refresher>(setup: Setup<R>) -> Result<(), Problem> {
    let other = setup.issuer.sign_in();
    let (one, two) = join(setup.refresh(&setup.token), setup.refresh(&other)).await;
    let family = |token: &Token| setup.issuer.family_of(token.access_token());
    let is_own = family(&one?) == family(&setup.token) && family(&two?) == family(&other);
    ensure(is_own, "one user got the other user's tokens; don't keep state between refreshes")
}

async fn refusal<R: Refresher>(setup: Setup<R>) -> Result<(), Problem> {
    setup.issuer.revoke_family(setup.token.access_token());
    let error = setup.error(&setup.token).await?;
    ensure(error.is_grant_ended(), "the error has the wrong kind; return `RefreshError::grant_ended`")
}

async fn lost_response<R: Refresher>(setup: Setup<R>) -> Result<(), Problem> {
    setup.issuer.script([Scripted::Lost]);
    let error = setup.error(&setup.token).await?;
    if setup.issuer.reuses() > 0 {
        return Err("it presented the refresh token again; leave retries to the session".to_owned());
    }
    ensure(error.is_outcome_unknown(), "the error has the wrong kind; return `RefreshError::outcome_unknown`")
}

/// The refresher may retry by itself, as nothing was exchanged.
async fn unavailable<R: Refresher>(setup: Setup<R>) -> Result<(), Problem> {
    setup.issuer.script([Scripted::Status(StatusCode::SERVICE_UNAVAILABLE)]);
    match setup.refresher.refresh(setup.cx(&setup.token)).await {
        Err(error) if !setup.checked(&error)?.is_transient() => {
            Err("the error has the wrong kind; return `RefreshError::transient`".to_owned())
        }
        _ => Ok(()),
    }
}

async fn dropped<R: Refresher>(setup: Setup<R>) -> Result<(), Problem> {
    drop(setup.refresher.refresh(setup.cx(&setup.token)));
    setup.issuer.script([Scripted::Hang]);
    {
        let refresh = pin!(setup.refresher.refresh(setup.cx(&setup.token)));
        let requested = pin!(setup.issuer.wait_for_requests(1));
        if let Either::Left(_) = select(refresh, requested).await {
            return Err("it returned before the response arrived; await the response".to_owned());
        }
    }
    setup.issuer.release();
    setup.refresh(&setup.issuer.sign_in()).await.map(drop)
}

/// Whether a missing refresh token is an error depends on the grant.
async fn no_refresh_token<R: Refresher>(setup: Setup<R>) -> Result<(), Problem> {
    match setup.refresher.refresh(RefreshContext::default()).await {
        Ok(_) => Ok(()),
        Err(error) => setup.checked(&error).map(drop),
    }
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

// === impl Setup ===

impl<R: Refresher> Setup<R> {
    fn cx(&self, token: &Token) -> RefreshContext {
        RefreshContext::builder().token(token.clone()).build()
    }

    /// A refresh that has to succeed.
    async fn refresh(&self, token: &Token) -> Result<Token, Problem> {
        let token = match self.refresher.refresh(self.cx(token)).await {
            Ok(token) => token,
            Err(error) => return Err(format!("it failed: {}", describe(self.checked(&error)?))),
        };
        let is_valid = self.issuer.accepts(token.access_token());
        ensure(
            is_valid,
            "the access token isn't the one in the response; return the access token from the response",
        )?;
        Ok(token)
    }

    /// A refresh that has to fail.
    async fn error(&self, token: &Token) -> Result<RefreshError, Problem> {
        match self.refresher.refresh(self.cx(token)).await {
            Ok(_) => Err("it returned a token; return an error".to_owned()),
            Err(error) => Ok(self.checked(&error)?.clone()),
        }
    }

    /// An error may be logged, so no step accepts one with a token in it.
    fn checked<'a>(&self, error: &'a RefreshError) -> Result<&'a RefreshError, Problem> {
        let text = format!("{} {error:?}", describe(error));
        let has = |token: Option<&str>| token.is_some_and(|token| text.contains(token));
        if has(self.token.refresh_token()) || has(Some(self.token.access_token())) {
            return Err("its error contains a token; leave tokens out of errors".to_owned());
        }
        Ok(error)
    }
}

/// An error with its sources.
fn describe(error: &RefreshError) -> String {
    let chain = successors(Some(error as &(dyn StdError + 'static)), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

// === impl FailedStep ===

impl FailedStep {
    /// The name of the step.
    pub fn step(&self) -> &str {
        self.step
    }
}

impl fmt::Display for FailedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "check_refresher: {}: {}", self.step, self.problem)
    }
}

/// The same as `Display`, because a test that returns an error prints its `Debug` output.
impl fmt::Debug for FailedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for FailedStep {}
