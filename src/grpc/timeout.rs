//! The deadline of a gRPC call: its `grpc-timeout` header.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, ErrorKind};

const NAME: HeaderName = HeaderName::from_static("grpc-timeout");

/// Reads the header: at most eight digits and a unit. `None` if it is missing or malformed.
pub(super) fn get(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(NAME)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Sets the header to the time that is left.
///
/// # Errors
///
/// No time is left.
pub(super) fn set(headers: &mut HeaderMap, left: Duration) -> Result<(), Error> {
    let left = left.as_nanos();
    if left == 0 {
        return Err(Error::new(ErrorKind::Deadline));
    }
    // The finest unit for which eight digits suffice; rounded up, so never to zero.
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let fits = units.iter().find(|(size, _)| left.div_ceil(*size) < 100_000_000);
    let (size, unit) = fits.copied().unwrap_or((3_600_000_000_000, 'H'));
    let text = format!("{}{unit}", left.div_ceil(size));
    let value = HeaderValue::try_from(text).expect("digits and a letter");
    headers.insert(NAME, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(NAME, text.parse().unwrap());
        get(&headers)
    }

    #[test]
    fn each_unit_is_read_and_malformed_ones_are_ignored() {
        for (text, duration) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ] {
            assert_eq!(read(text), Some(duration), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", " 1S"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_left_is_written_in_the_finest_unit_that_fits() {
        let mut headers = HeaderMap::new();
        for (left, text) in [
            (1, "1n"),
            (99_999_999, "99999999n"),
            (100_000_001, "100001u"),
            (2_500_000_000, "2500000u"),
            (10_000 * 1_000_000_000, "10000000m"),
            (i64::MAX as u64, "2562048H"),
        ] {
            set(&mut headers, Duration::from_nanos(left)).unwrap();
            let written = headers.get(NAME).unwrap().to_str().unwrap();
            assert!(
                written == text || get(&headers).unwrap().as_nanos() >= u128::from(left),
                "{left}: {written}"
            );
        }
        assert!(set(&mut headers, Duration::ZERO).is_err());
    }
}
