//! `Retry-After`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use tower_reauth::{RefreshError, Session, oauth2::Client};

use crate::{
    canned::Canned,
    time::{run, start},
};

const HOUR: Duration = Duration::from_secs(3600);

/// A session waits for the stated time, at most for an hour.
///
/// The input is the value of `Retry-After`, and on the next line that of `Date`, if there is one.
pub fn retry_after(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let Some(Ok(value)) = lines.next().map(HeaderValue::from_bytes) else { return };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(header::RETRY_AFTER, value.clone());
    let sent = lines.next().and_then(|date| HeaderValue::from_bytes(date).ok());
    if let Some(date) = &sent {
        response.headers_mut().insert(header::DATE, date.clone());
    }
    let refresher = Client::new(Canned::new(response).endpoint, "web").refresh_token_grant();
    let (error, now) = run(async |clock| {
        let session =
            Session::builder(refresher).refresh_token("R1").clock(clock.clone()).jitter(false).build();
        let error = session.token().await.expect_err("it is throttled");
        (error, tower_reauth::rt::Clock::now(&clock).wall())
    });
    assert!(error.is_transient() && error.is_retryable(), "{error}");
    let retry_at = error.retry_at().expect("it is retryable");
    assert!((now..=now + HOUR).contains(&retry_at), "{retry_at:?}");

    let stated = RefreshError::find(&error).expect("it is the refresher's").retry_after();
    let text = value.to_str().unwrap_or_default().trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text.parse().unwrap_or(u64::MAX);
        assert_eq!(stated, Some(Duration::from_secs(seconds)));
        assert!(retry_at >= start() + Duration::from_secs(seconds).min(HOUR));
    } else if let Some(stated) = stated {
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        let sent = sent.and_then(|sent| date(sent.to_str().ok()?)).unwrap_or(start());
        // Each attempt reads the clock again.
        let since = (now.duration_since(start())).expect("time goes on");
        let exact = date(text).expect("it is a date").duration_since(sent).expect("it is later");
        assert!((exact.saturating_sub(since)..=exact).contains(&stated), "{stated:?}, not {exact:?}");
    }
}
