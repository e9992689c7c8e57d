//! A store of your own: etcd, over its JSON gateway.
//!
//! `cargo run --example etcd_store -- http://127.0.0.1:2379` signs in and reads the token back.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tower_reauth::{
    RefreshError, Session, Token, refresh_fn,
    store::{Loaded, Record, StoreError, Swap, TokenStore, Version},
};

/// A record in etcd, with the hash of its content, the version, under a second key.
pub(crate) struct EtcdStore {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    name: String,
}

impl EtcdStore {
    pub(crate) fn new(url: &str, name: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, url: url.to_owned(), name: name.to_owned() }
    }

    fn key(&self, of: &str) -> String {
        BASE64.encode(format!("tower-reauth/{}/{of}", self.name))
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, StoreError> {
        let request = Request::post(format!("{}/v3/{path}", self.url)).body(body.to_string().into());
        let request = request.map_err(StoreError::unavailable)?;
        let response = self.client.request(request).await.map_err(StoreError::unavailable)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(StoreError::unavailable)?.to_bytes();
        if !status.is_success() {
            return Err(StoreError::unavailable(format!("etcd's status is {status}")));
        }
        serde_json::from_slice(&body).map_err(StoreError::unavailable)
    }
}

impl TokenStore for EtcdStore {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        let response = self.post("kv/range", json!({"key": self.key("record")})).await?;
        let Some(found) = response["kvs"].get(0) else { return Ok(None) };
        // An empty value is left out.
        let value = found["value"].as_str().unwrap_or_default();
        let record = Record::from_bytes(BASE64.decode(value).map_err(StoreError::unreadable)?);
        let version = Version::of(&record);
        Ok(Some(Loaded::new(record, version)))
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        let (key, next) = (self.key("version"), Version::of(record));
        let is_expected = match expected {
            Some(version) => json!({"key": key, "target": "VALUE", "value": BASE64.encode(version.as_str())}),
            None => json!({"key": key, "target": "VERSION", "version": "0"}),
        };
        let puts = json!([
            {"requestPut": {"key": self.key("record"), "value": BASE64.encode(record.as_bytes())}},
            {"requestPut": {"key": key, "value": BASE64.encode(next.as_str())}},
        ]);
        let response = self.post("kv/txn", json!({"compare": [is_expected], "success": puts})).await?;
        Ok(if response["succeeded"] == true { Swap::Written(next) } else { Swap::Conflict })
    }
}

#[tokio::main]
#[allow(clippy::print_stdout, dead_code, reason = "an example, which a test includes")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("the URL of etcd is missing")?;
    let refresher = refresh_fn(|_| async { Err(RefreshError::grant_ended("there is no endpoint")) });
    let shared = Session::builder(refresher).build_shared(EtcdStore::new(&url, "example"));
    shared.sign_in(Token::builder("A1").refresh_token("R1").build()?).await?;

    // Another process, later:
    let refresher = refresh_fn(|_| async { Err(RefreshError::grant_ended("there is no endpoint")) });
    let other = Session::builder(refresher).build_shared(EtcdStore::new(&url, "example"));
    println!("{}", other.session().token().await?.secret());
    Ok(())
}
