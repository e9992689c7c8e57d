//! What callers do.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::atomic::Ordering::SeqCst,
    task::{Context, Poll},
};

use crate::{
    AccessToken, Error,
    credential::{Credential, Observed, user},
};

/// A call that may be dropped when it has to wait. `None`: it was.
struct Call<'a, F> {
    future: Pin<&'a mut F>,
    is_cancelled: bool,
    /// The last sign-in that had begun when it first had to wait.
    waits_since: Option<u64>,
    credential: &'a Credential,
}

/// One operation at random, in a runtime.
pub(crate) async fn operate(credential: &Credential) {
    let session = &credential.session;
    let before = credential.observed();
    match fastrand::u8(..100) {
        0..40 => call(credential, "token", before, session.token()).await,
        40..60 => reject(credential).await,
        60..65 => call(credential, "refresh", before, session.refresh()).await,
        65..70 => tokio::task::yield_now().await,
        70 => session.idle().await,
        _ => operate_outside(credential),
    }
}

/// One operation at random that needs no runtime.
pub(crate) fn operate_outside(credential: &Credential) {
    let session = &credential.session;
    let before = credential.observed();
    match fastrand::u8(..40) {
        0..10 => {
            if let Some(token) = session.with_published(AccessToken::clone) {
                credential.check("published", before, &token);
            }
        }
        10..20 => {
            if let Some(token) = session.current() {
                credential.check("current", before, &token);
            }
        }
        20..25 => {
            if let Some(token) = session.try_token() {
                credential.check("try_token", before, &token);
            }
        }
        25..31 => {
            if let Some(token) = session.try_token() {
                session.mark_rejected(&token);
            }
        }
        31..34 => credential.set_token(),
        34 => credential.sign_out(),
        35..37 => credential.sign_in(),
        37 => session.reset_backoff(),
        _ => drop(session.status()),
    }
}

/// Gets a token and reports it as rejected.
async fn reject(credential: &Credential) {
    if fastrand::bool() {
        // A rejection of a token that has just been refreshed causes a backoff.
        credential.session.reset_backoff();
    }
    let rejected = match credential.session.token().await {
        Ok(token) => token,
        Err(error) => return credential.check_error("token", &error),
    };
    let before = credential.observed();
    let future = async {
        let newer = credential.session.token_after_rejection(&rejected).await?;
        if newer.generation() <= rejected.generation() || user(newer.secret()) != user(rejected.secret()) {
            let (newer, rejected) = (newer.secret(), rejected.secret());
            credential.server.violation(format!("{newer} was returned after the rejection of {rejected}"));
        }
        Ok(newer)
    };
    call(credential, "after rejection", before, future).await;
}

async fn call<F>(credential: &Credential, what: &str, before: Observed, future: F)
where
    F: Future<Output = Result<AccessToken, Error>>,
{
    let is_cancelled = fastrand::u8(..4) == 0;
    let mut call = Call { future: pin!(future), is_cancelled, waits_since: None, credential };
    match (&mut call).await {
        None => {}
        Some(Err(error)) => credential.check_error(what, &error),
        Some(Ok(token)) => {
            credential.check(what, before, &token);
            // A waiter never gets a token of a later sign-in.
            if call.waits_since.is_some_and(|sign_in| user(token.secret()) > sign_in) {
                credential
                    .server
                    .violation(format!("{} was returned to a caller that waited", token.secret()));
            }
        }
    }
}

// === impl Call ===

impl<F> Future for Call<'_, F>
where
    F: Future<Output = Result<AccessToken, Error>>,
{
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(result) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        let sign_ins = self.credential.server.sign_ins.load(SeqCst);
        self.waits_since.get_or_insert(sign_ins);
        if self.is_cancelled { Poll::Ready(None) } else { Poll::Pending }
    }
}
