//! Why a call wasn't retried, in its status.

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;

use super::GRPC_STATUS;
use crate::request::replay::NotReplayed;

/// Why a rejected call's messages couldn't be replayed, so that it wasn't retried.
///
/// A generated client returns a rejection as a [`Status`], without the
/// [`AuthReport`](crate::future::AuthReport). The reason is in the status's metadata. `None`: the call was
/// retried, or no newer token was obtained, or it wasn't rejected.
///
/// # Examples
///
/// ```
/// fn can_be_repeated(status: &tonic::Status) -> bool {
///     // The token is marked as rejected, so the same call, made again, gets a newer one.
///     tower_reauth::grpc::not_replayed(status).is_some()
/// }
/// ```
pub fn not_replayed(status: &Status) -> Option<NotReplayed> {
    let value = status.metadata().get(NAME.as_str())?;
    let reasons = [NotReplayed::TooLarge, NotReplayed::SingleUse, NotReplayed::Failed];
    reasons.into_iter().find(|reason| value == name(*reason))
}

pub(super) fn report(headers: &mut HeaderMap, reason: NotReplayed) {
    headers.insert(NAME, HeaderValue::from_static(name(reason)));
    // For a proxy's plain 401, tonic would otherwise make a status without metadata.
    headers.entry(GRPC_STATUS).or_insert(const { HeaderValue::from_static("16") });
}

fn name(reason: NotReplayed) -> &'static str {
    match reason {
        NotReplayed::TooLarge => "too-large",
        NotReplayed::SingleUse => "single-use",
        NotReplayed::Failed => "failed",
    }
}

const NAME: HeaderName = HeaderName::from_static("tower-reauth-not-replayed");
