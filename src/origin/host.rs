//! [`HostPort`].

use std::net::{IpAddr, Ipv6Addr};

/// A plain host and port, which every client reads in the same way.
///
/// A [`Uri`](http::Uri) accepts more as an authority, and its accessors hide the rest: the host of
/// `[::1].evil.example` is `[::1]`, and the port of `host:99999` is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostPort<'a> {
    /// An IPv6 address is in brackets.
    pub(super) host: &'a str,
    /// `None`: the scheme's own.
    pub(super) port: Option<u16>,
}

// === impl HostPort ===

impl<'a> HostPort<'a> {
    pub(crate) fn parse(authority: &'a str) -> Option<Self> {
        let end = match authority.strip_prefix('[') {
            Some(address) => address.find(']')? + 2,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, rest) = authority.split_at(end);
        let port = match rest.strip_prefix(':') {
            // `parse` accepts a sign.
            Some(port) if port.starts_with(|first: char| first.is_ascii_digit()) => Some(port.parse().ok()?),
            Some(_) => return None,
            None => rest.is_empty().then_some(None)?,
        };
        let this = Self { host, port };
        (this.ipv6().is_some() || is_name(host)).then_some(this)
    }

    /// Whether it is `localhost`, 127.0.0.0/8 or `::1`.
    ///
    /// Names below `localhost` aren't: some resolvers, such as glibc's, look them up in DNS.
    pub(crate) fn is_loopback(self) -> bool {
        match self.ipv6() {
            Some(address) => address.is_loopback(),
            None => {
                self.host.eq_ignore_ascii_case("localhost")
                    || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
        }
    }

    fn ipv6(self) -> Option<Ipv6Addr> {
        self.host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
    }
}

/// A name or an IPv4 address. Percent-encoding isn't plain: clients may decode it or not.
fn is_name(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    // The longest name of DNS (RFC 1035 §2.3.4).
    (1..=253).contains(&host.len()) && host.bytes().all(is_plain)
}
