//! What is asked on the command line.

use std::path::PathBuf;

use http::Uri;

use crate::BoxError;

/// What to show, and against which server.
#[derive(Debug, Default)]
pub(crate) struct Options {
    callers: Option<usize>,
    pub(crate) revoke_family: bool,
    /// How many callers a fourth part has.
    pub(crate) revoke: Option<usize>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) server: Option<Uri>,
}

#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Run(Options),
}

pub(crate) const HELP: &str = "\
Three calls find the access token expired at once: naively, with the layer, and with the layer by N callers.

Usage: cargo run --release --example race -- [OPTIONS]

Options:
  --callers N       how many callers the third part has [default: 10000; with --server: 200]
  --revoke-family   the server also revokes the new tokens when a spent refresh token is presented
                    (RFC 9700, section 4.14.2)
  --revoke N        a fourth part: N callers with a valid token, which the server revokes in mid-traffic
  --svg FILE        draw the timelines into FILE
  --server URL      run against this backend instead of the built-in one. It needs the routes of
                    tests/support/servers/simplejwt_server.py: /auth/token/, /auth/token/refresh/, /messages/,
                    /dashboard/stats/, /tickets/ and /_counts
  --help            print this

It exits with a failure if the layer needed more than one refresh, or a call through it failed.
";

const CALLERS: usize = 10_000;
/// A backend that isn't made for the example may answer one request at a time, within the life of one token.
const CALLERS_ELSEWHERE: usize = 200;

// === impl Options ===

impl Options {
    pub(crate) fn callers(&self) -> usize {
        self.callers.unwrap_or(if self.server.is_some() { CALLERS_ELSEWHERE } else { CALLERS })
    }
}

pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Asked, BoxError> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value, see --help"));
        match word.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--revoke-family" => options.revoke_family = true,
            "--svg" => options.svg = Some(value()?.into()),
            "--callers" => options.callers = Some(callers(&word, &value()?)?),
            "--revoke" => options.revoke = Some(callers(&word, &value()?)?),
            "--server" => options.server = Some(server(&value()?)?),
            _ => return Err(format!("{word} is no option, see --help").into()),
        }
    }
    if (options.revoke_family || options.revoke.is_some()) && options.server.is_some() {
        return Err(
            "--revoke-family and --revoke are for the built-in server: another one has its own rules".into(),
        );
    }
    Ok(Asked::Run(options))
}

fn callers(option: &str, text: &str) -> Result<usize, BoxError> {
    match text.parse() {
        Ok(callers) if callers > 0 => Ok(callers),
        _ => Err(format!("{option} wants a number above 0, not {text:?}").into()),
    }
}

fn server(text: &str) -> Result<Uri, BoxError> {
    match text.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.authority().is_some() => Ok(uri),
        _ => Err(format!("--server wants a URL like http://127.0.0.1:8000, not {text:?}").into()),
    }
}
