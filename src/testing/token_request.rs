//! Token requests over HTTP, and the responses to them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{body::ResponseBody, grants::Pair};

/// A token request.
pub(super) struct TokenRequest {
    pub(super) grant: Grant,
    /// The field names of the request and of its response.
    dialect: Dialect,
}

pub(super) enum Grant {
    RefreshToken(String),
    ClientCredentials,
    /// The code of the error.
    Unsupported(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// As RFC 6749 does.
    OAuth,
    /// `refresh` and `access`, as simplejwt does.
    SimpleJwt,
}

// === impl TokenRequest ===

impl TokenRequest {
    /// Parses JSON if the content type says so, and a form otherwise.
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let fields: Map<String, Value> = match content_type {
            Some(content_type) if content_type.starts_with("application/json") => {
                serde_json::from_slice(body).unwrap_or_default()
            }
            _ => form_urlencoded::parse(body)
                .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
                .collect(),
        };
        let field = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let (presented, dialect) = match (field("refresh_token"), field("refresh")) {
            (None, Some(refresh)) => (Some(refresh), Dialect::SimpleJwt),
            (refresh, _) => (refresh, Dialect::OAuth),
        };
        let grant = match (field("grant_type").as_deref(), presented) {
            // A JSON endpoint has no grant types.
            (None | Some("refresh_token"), Some(presented)) => Grant::RefreshToken(presented),
            (Some("client_credentials"), _) => Grant::ClientCredentials,
            (None | Some("refresh_token"), None) => Grant::Unsupported("invalid_request"),
            (Some(_), _) => Grant::Unsupported("unsupported_grant_type"),
        };
        Self { grant, dialect }
    }

    pub(super) fn tokens(&self, pair: &Pair) -> Response<ResponseBody> {
        let mut fields = match self.dialect {
            Dialect::OAuth => json!({ "access_token": pair.access, "token_type": "Bearer" }),
            Dialect::SimpleJwt => json!({ "access": pair.access }),
        };
        if let Some(refresh) = &pair.refresh {
            let name = if self.dialect == Dialect::OAuth { "refresh_token" } else { "refresh" };
            fields[name] = json!(refresh);
        }
        if let Some(lifetime) = pair.lifetime {
            fields["expires_in"] = json!(lifetime.as_millis().div_ceil(1000));
        }
        response(StatusCode::OK, &fields)
    }

    pub(super) fn refusal(&self) -> Response<ResponseBody> {
        match self.dialect {
            Dialect::OAuth => error("invalid_grant"),
            Dialect::SimpleJwt => {
                let fields = json!({ "detail": "Token is blacklisted", "code": "token_not_valid" });
                response(StatusCode::UNAUTHORIZED, &fields)
            }
        }
    }
}

pub(super) fn error(code: &str) -> Response<ResponseBody> {
    response(StatusCode::BAD_REQUEST, &json!({ "error": code }))
}

fn response(status: StatusCode, fields: &Value) -> Response<ResponseBody> {
    let mut response = Response::new(Bytes::from(fields.to_string()).into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
