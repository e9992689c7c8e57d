//! Command line options.

use std::path::PathBuf;

use http::Uri;

use crate::BoxError;

#[derive(Debug, Default)]
pub(crate) struct Options {
    callers: Option<usize>,
    pub(crate) revoke_grant_on_reuse: bool,
    /// The number of callers of the fourth run.
    pub(crate) revoke_mid_traffic: Option<usize>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) server: Option<Uri>,
}

#[derive(Debug)]
pub(crate) enum Parsed {
    Help,
    Run(Options),
}

pub(crate) const HELP: &str = "\
Three calls find the access token expired at once: without the layer, with it, and with it and N callers.

Usage: cargo run --release --example race -- [OPTIONS]

Options:
  --callers N               number of callers of the third run [default: 10000; with --server: 200]
  --revoke-grant-on-reuse   when a used refresh token is presented again, the server revokes the whole grant
                            (RFC 9700, section 4.14.2)
  --revoke-mid-traffic N    adds a fourth run: while N callers use a valid token, the server revokes it
  --svg FILE                draws the timelines into FILE
  --server URL              uses this backend instead of the built-in one. It needs the routes of
                            tests/support/servers/simplejwt_server.py: /auth/token/, /auth/token/refresh/, /messages/,
                            /dashboard/stats/, /tickets/ and /_counts
  --help                    prints this help

The exit status is non-zero if a call through the layer failed or the layer needed more than one refresh.
";

const CALLERS: usize = 10_000;
/// A backend that wasn't made for this example may serve one request at a time, and the token has to stay
/// valid until the last one.
const CALLERS_ELSEWHERE: usize = 200;

// === impl Options ===

impl Options {
    pub(crate) fn callers(&self) -> usize {
        self.callers.unwrap_or(if self.server.is_some() { CALLERS_ELSEWHERE } else { CALLERS })
    }
}

pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Parsed, BoxError> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} requires a value, see --help"));
        match word.as_str() {
            "--help" | "-h" => return Ok(Parsed::Help),
            "--revoke-grant-on-reuse" => options.revoke_grant_on_reuse = true,
            "--svg" => options.svg = Some(value()?.into()),
            "--callers" => options.callers = Some(callers(&word, &value()?)?),
            "--revoke-mid-traffic" => options.revoke_mid_traffic = Some(callers(&word, &value()?)?),
            "--server" => options.server = Some(server(&value()?)?),
            _ => return Err(format!("unknown option {word}, see --help").into()),
        }
    }
    if (options.revoke_grant_on_reuse || options.revoke_mid_traffic.is_some()) && options.server.is_some() {
        return Err(
            "--revoke-grant-on-reuse and --revoke-mid-traffic need the built-in server: remove --server"
                .into(),
        );
    }
    Ok(Parsed::Run(options))
}

fn callers(option: &str, value: &str) -> Result<usize, BoxError> {
    match value.parse() {
        Ok(callers) if callers > 0 => Ok(callers),
        _ => Err(format!("{option} expects a positive number, got {value:?}").into()),
    }
}

fn server(value: &str) -> Result<Uri, BoxError> {
    match value.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.authority().is_some() => Ok(uri),
        _ => Err(format!("--server expects a URL like http://127.0.0.1:8000, got {value:?}").into()),
    }
}
