//! Command line options.

use tower_reauth_fleet::StoreKind;

use crate::BoxError;

pub(crate) struct Options {
    pub(crate) processes: usize,
    pub(crate) callers: usize,
    pub(crate) expiries: usize,
    pub(crate) store: StoreKind,
    pub(crate) strict: bool,
}

pub(crate) const HELP: &str = "\
Processes that share one rotating refresh token, without and with a store.

Usage: cargo run --release --example fleet -- [OPTIONS]

  --processes N   processes, at least 3 (default: 8)
  --callers N     concurrent calls of each process (default: 200)
  --expiries N    how often the access token expires (default: 5)
  --store STORE   none, file, file:/path (default: file)
  --strict        the server tolerates no repeat of a used refresh token
  --help          print this
";

/// `None`: help was asked for.
pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, BoxError> {
    let mut options =
        Options { processes: 8, callers: 200, expiries: 5, store: StoreKind::File(None), strict: false };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match &*argument {
            "--processes" => options.processes = value()?.parse()?,
            "--callers" => options.callers = value()?.parse()?,
            "--expiries" => options.expiries = value()?.parse()?,
            "--store" => options.store = value()?.parse()?,
            "--strict" => options.strict = true,
            "--help" => return Ok(None),
            _ => return Err(format!("unknown option: {argument}\n\n{HELP}").into()),
        }
    }
    // The server tolerates one repeat, so two processes without a store would be lucky.
    if options.processes < 3 || options.callers == 0 || options.expiries == 0 {
        return Err("at least 3 processes, 1 caller and 1 expiry are needed".into());
    }
    Ok(Some(options))
}
