//! What it is told.

use crate::servers::Kind;

pub(crate) struct Options {
    pub(crate) server: Kind,
    pub(crate) expiries: u32,
}

pub(crate) const USAGE: &str = "usage: survive [--server oidc|simplejwt|dot] [--expiries N]";

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { server: Kind::Oidc, expiries: 100 };
        while let Some(name) = args.next() {
            let value = args.next().ok_or(format!("{name} needs a value"))?;
            match (name.as_str(), value.as_str()) {
                ("--server", "oidc") => options.server = Kind::Oidc,
                ("--server", "simplejwt") => options.server = Kind::SimpleJwt,
                ("--server", "dot") => options.server = Kind::Dot,
                ("--expiries", number) => {
                    options.expiries = number.parse().map_err(|_| format!("{number} is no number"))?;
                }
                _ => return Err(format!("{name} {value} is not known")),
            }
        }
        Ok(options)
    }
}
