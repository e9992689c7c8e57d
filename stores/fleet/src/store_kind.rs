//! [`StoreKind`].

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

/// The store of a fleet: `none`, `file`, `file:/path`, `redis`, `redis://..`, `postgres` or `postgres://..`.
///
/// Without a path or a URL, it is one of the fleet's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums, reason = "tests name all stores")]
pub enum StoreKind {
    /// Each process has a session of its own.
    #[default]
    None,
    /// A file.
    File(Option<PathBuf>),
    /// The URL of a Redis server.
    Redis(Option<String>),
    /// The URL of a PostgreSQL server.
    Postgres(Option<String>),
}

impl FromStr for StoreKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        match (kind, rest) {
            ("none", None) => Ok(Self::None),
            ("file", None) => Ok(Self::File(None)),
            ("file", Some(path)) if !path.is_empty() => Ok(Self::File(Some(path.into()))),
            ("redis", None) => Ok(Self::Redis(None)),
            ("redis" | "rediss", Some(_)) => Ok(Self::Redis(Some(text.to_owned()))),
            ("postgres", None) => Ok(Self::Postgres(None)),
            ("postgres" | "postgresql", Some(_)) => Ok(Self::Postgres(Some(text.to_owned()))),
            _ => {
                Err(format!("unknown store: {text}; use none, file, file:/path, redis://.. or postgres://.."))
            }
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::File(None) => f.write_str("file"),
            Self::File(Some(path)) => write!(f, "file:{}", path.display()),
            Self::Redis(url) => f.write_str(url.as_deref().unwrap_or("redis")),
            Self::Postgres(url) => f.write_str(url.as_deref().unwrap_or("postgres")),
        }
    }
}
