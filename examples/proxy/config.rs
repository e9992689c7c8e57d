//! The configuration: a TOML file, and the files with secrets that it names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tower_reauth::{
    Origin, Session, SessionBuilder,
    json::JsonEndpoint,
    oauth2,
    store::{FileStore, MemoryStore, SharedSession},
};

use crate::BoxError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(rename = "route")]
    pub(crate) routes: Vec<Route>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Requests below this path are forwarded, without it: `/github`.
    pub(crate) path: String,
    /// The only origin that gets the token: `https://api.github.com`.
    pub(crate) upstream: String,
    source: Source,
    /// The file that keeps the token. Proxies with the same file share it.
    store: Option<PathBuf>,
}

/// Where tokens come from.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Source {
    RefreshToken {
        token_url: String,
        client_id: String,
        client_secret_file: Option<PathBuf>,
        refresh_token_file: PathBuf,
    },
    ClientCredentials {
        token_url: String,
        client_id: String,
        client_secret_file: PathBuf,
        scopes: Option<Vec<String>>,
    },
    Json {
        token_url: String,
        refresh_token_file: PathBuf,
    },
}

// === impl Config ===

impl Config {
    pub(crate) fn read(path: &Path) -> Result<Self, BoxError> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let config: Self = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        for route in &config.routes {
            if !route.path.starts_with('/') || route.path.ends_with('/') || route.path.starts_with("/_") {
                return Err(format!("{}: a route's path is like /github", route.path).into());
            }
        }
        Ok(config)
    }
}

// === impl Route ===

impl Route {
    pub(crate) fn origin(&self) -> Result<Origin, BoxError> {
        self.upstream.parse().map_err(|error| self.error("upstream", error))
    }

    pub(crate) fn session(&self) -> Result<SharedSession, BoxError> {
        let builder = self.source.session().map_err(|error| self.error("source", error))?;
        let builder = builder.name(self.path.trim_start_matches('/').to_owned());
        match (&self.store, &self.source) {
            (Some(path), _) => Ok(builder.build_shared(FileStore::new(path))),
            (None, Source::ClientCredentials { .. }) => Ok(builder.build_shared(MemoryStore::new())),
            (None, _) => {
                Err(self.error("store", "missing, and the next refresh token would be lost at the end"))
            }
        }
    }

    fn error(&self, field: &str, error: impl Into<BoxError>) -> BoxError {
        format!("route {}: {field}: {}", self.path, error.into()).into()
    }
}

// === impl Source ===

impl Source {
    fn session(&self) -> Result<SessionBuilder, BoxError> {
        Ok(match self {
            Self::RefreshToken { token_url, client_id, client_secret_file, refresh_token_file } => {
                let mut client = oauth2::Client::try_new(token_url.as_str(), client_id.as_str())?;
                if let Some(path) = client_secret_file {
                    client = client.client_secret_basic(secret(path)?);
                }
                Session::builder(client.refresh_token_grant()).refresh_token(secret(refresh_token_file)?)
            }
            Self::ClientCredentials { token_url, client_id, client_secret_file, scopes } => {
                let client = oauth2::Client::try_new(token_url.as_str(), client_id.as_str())?;
                let client = client.client_secret_basic(secret(client_secret_file)?);
                Session::builder(client.scopes(scopes.clone().unwrap_or_default()).client_credentials_grant())
            }
            Self::Json { token_url, refresh_token_file } => {
                let endpoint = JsonEndpoint::try_new(token_url.as_str())?;
                Session::builder(endpoint).refresh_token(secret(refresh_token_file)?)
            }
        })
    }
}

/// Secrets are in files of their own, so that the configuration can be shown to anybody.
fn secret(path: &Path) -> io::Result<String> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    Ok(fs::read_to_string(path).map_err(named)?.trim().to_owned())
}
