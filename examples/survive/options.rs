//! Command line options.

use crate::servers::Kind;

pub(crate) struct Options {
    pub(crate) server: Kind,
    pub(crate) expiries: u32,
}

pub(crate) const USAGE: &str = "usage: survive [--server oidc|simplejwt|django-oauth-toolkit] [--expiries N]";

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { server: Kind::Oidc, expiries: 100 };
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} requires a value"));
            match name.as_str() {
                "--server" => options.server = server(&value()?)?,
                "--expiries" => {
                    let number = value()?;
                    options.expiries = number.parse().map_err(|_| format!("invalid number {number:?}"))?;
                }
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(options)
    }
}

/// The server's name on the command line.
pub(crate) fn server_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Oidc => "oidc",
        Kind::SimpleJwt => "simplejwt",
        Kind::Dot => "django-oauth-toolkit",
    }
}

fn server(name: &str) -> Result<Kind, String> {
    let kinds = [Kind::Oidc, Kind::SimpleJwt, Kind::Dot];
    let kind = kinds.into_iter().find(|kind| server_name(*kind) == name);
    kind.ok_or_else(|| format!("unknown server {name:?}"))
}
