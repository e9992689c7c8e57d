//! [`redirect_policy`].

use reqwest::{
    Url,
    redirect::{Action, Attempt, Policy},
};

/// A redirect policy that never sends the token to another origin.
///
/// reqwest leaves `authorization` out when a redirect leaves the origin. But each redirect is checked only against
/// the one before: if the other origin redirects to another of its own URLs, reqwest 0.13 (up to 0.13.5, at least) sends the header
/// after all. This policy doesn't follow such a redirect: the caller gets that response. Otherwise it is
/// reqwest's default, which follows ten redirects.
///
/// A header of another name ([`SessionBuilder::header`](crate::SessionBuilder::header)) is never left out by
/// reqwest. Use [`Policy::none`] with it.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), reqwest::Error> {
/// use tower_reauth::reqwest::redirect_policy;
///
/// let client = reqwest::Client::builder().redirect(redirect_policy()).build()?;
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
pub fn redirect_policy() -> Policy {
    Policy::custom(follow)
}

fn follow(attempt: Attempt<'_>) -> Action {
    let (next, previous) = (attempt.url(), attempt.previous());
    let is_foreign = previous.first().is_some_and(|first| !is_same_origin(first, next));
    let keeps_header = previous.last().is_some_and(|last| is_same_origin(last, next));
    if is_foreign && keeps_header { attempt.stop() } else { Policy::default().redirect(attempt) }
}

/// As reqwest decides whether a redirect keeps `authorization`.
pub(super) fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}
