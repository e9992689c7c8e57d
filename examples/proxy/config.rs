//! The configuration: a TOML file, and the files with secrets that it names.

use std::{
    collections::HashSet,
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

/// Where tokens come from. Secrets are in separate files, so that the configuration can be shown to anyone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    kind: Kind,
    token_url: String,
    client_id: Option<String>,
    client_secret_file: Option<PathBuf>,
    refresh_token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    RefreshToken,
    ClientCredentials,
    Json,
}

impl Config {
    pub(crate) fn read(path: &Path) -> Result<Self, BoxError> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let config: Self = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut paths = HashSet::new();
        for Route { path, .. } in &config.routes {
            if !path.starts_with('/') || path.ends_with('/') || path.starts_with("/_") {
                let rule = "it must look like /github, without a trailing slash and not starting with /_";
                return Err(format!("route {path}: invalid path; {rule}").into());
            }
            if !paths.insert(path) {
                return Err(format!("route {path}: defined twice; give each route its own path").into());
            }
        }
        Ok(config)
    }
}

impl Route {
    pub(crate) fn origin(&self) -> Result<Origin, BoxError> {
        self.upstream.parse().map_err(|error| self.error("upstream", error))
    }

    pub(crate) fn session(&self) -> Result<SharedSession, BoxError> {
        let builder = self.source.session().map_err(|error| self.error("source", error))?;
        let builder = builder.name(self.path.trim_start_matches('/').to_owned());
        match &self.store {
            Some(path) => Ok(builder.build_shared(FileStore::new(path))),
            None if self.source.kind == Kind::ClientCredentials => {
                Ok(builder.build_shared(MemoryStore::new()))
            }
            None => Err(self.error(
                "store",
                "missing; without one, the rotated refresh token would be lost when the proxy stops",
            )),
        }
    }

    fn error(&self, field: &str, error: impl Into<BoxError>) -> BoxError {
        format!("route {}: {field}: {}", self.path, error.into()).into()
    }
}

impl Source {
    fn session(&self) -> Result<SessionBuilder, BoxError> {
        let client = || {
            let id = self.client_id.as_deref().ok_or("client_id is missing")?;
            let client = oauth2::Client::try_new(&*self.token_url, id)?;
            Ok::<_, BoxError>(match &self.client_secret_file {
                Some(path) => client.client_secret_basic(secret(path)?),
                None => client,
            })
        };
        let builder = match self.kind {
            Kind::RefreshToken => Session::builder(client()?.refresh_token_grant()),
            Kind::ClientCredentials => return Ok(Session::builder(client()?.client_credentials_grant())),
            Kind::Json => Session::builder(JsonEndpoint::try_new(&*self.token_url)?),
        };
        let path = self.refresh_token_file.as_deref().ok_or("refresh_token_file is missing")?;
        Ok(builder.refresh_token(secret(path)?))
    }
}

fn secret(path: &Path) -> io::Result<String> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    Ok(fs::read_to_string(path).map_err(named)?.trim().to_owned())
}
