//! `Retry-After` (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// The delay that a server asks for, as seconds or as a date. A date is compared with the response's own
/// `Date`, if there is one, so that neither clock needs to be right.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // A number that overflows is clamped.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let sent = headers.get(header::DATE).and_then(|value| date(value.to_str().ok()?));
    date(text)?.duration_since(sent.unwrap_or(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(retry_after_value: &str, date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, retry_after_value.parse().unwrap());
        if let Some(date) = date {
            headers.insert(header::DATE, date.parse().unwrap());
        }
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    #[test]
    fn c61_retry_after_is_seconds_or_a_date() {
        assert_eq!(read("30", None), Some(Duration::from_secs(30)));
        assert_eq!(read(" 0 ", None), Some(Duration::ZERO));
        // The RFC's example, 784,111,777 s after the epoch.
        assert_eq!(read("Sun, 06 Nov 1994 08:50:07 GMT", None), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:07 GMT", None), None);
    }

    #[test]
    fn c61_a_date_is_compared_with_the_servers_own() {
        let date = Some("Sat, 05 Nov 1994 08:00:00 GMT");
        assert_eq!(read("Sat, 05 Nov 1994 08:01:00 GMT", date), Some(Duration::from_secs(60)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:07 GMT", Some("soon")), Some(Duration::from_secs(30)));
    }

    #[test]
    fn c61_malformed_values_are_ignored() {
        for text in ["", "soon", "-5", "1.5", "30s", "1e3", "\u{7f}", "Sun, 06 Nov"] {
            let Ok(value) = http::HeaderValue::from_bytes(text.as_bytes()) else { continue };
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value)]);
            assert_eq!(retry_after(&headers, SystemTime::UNIX_EPOCH), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::UNIX_EPOCH), None);
        assert_eq!(read("99999999999999999999999", None), Some(Duration::from_secs(u64::MAX)));
    }

    proptest::proptest! {
        #[test]
        fn c61_no_value_panics(
            text in "[ -~]{0,40}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
            date in "[ -~]{0,40}|(Mon|Sun), [0-3][0-9] (Jan|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
        ) {
            read(&text, Some(&date));
            read(&date, Some(&text));
            read(&date, None);
        }
    }
}
