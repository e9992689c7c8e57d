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

fn server(name: &str) -> Result<Kind, String> {
    match name {
        "oidc" => Ok(Kind::Oidc),
        "simplejwt" => Ok(Kind::SimpleJwt),
        "django-oauth-toolkit" => Ok(Kind::Dot),
        _ => Err(format!("unknown server {name:?}")),
    }
}
