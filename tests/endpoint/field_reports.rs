//! Token responses as reported from the field.

use std::time::Duration;

use tower_reauth::{
    Session, SessionBuilder,
    endpoint::{ErrorClassifier, FailureKind, Lifetime},
};

use crate::{
    classifier::{Classified, classify},
    token_endpoint::{Reply, Server, reply},
};

struct Row {
    name: &'static str,
    replies: Vec<Reply>,
    session: fn(&Server) -> SessionBuilder,
    expected: Classified,
    /// How many requests the endpoint receives.
    requests: usize,
}

fn grant(server: &Server) -> SessionBuilder {
    Session::builder(server.client().refresh_token_grant())
}

fn row(name: &'static str, reply: Reply, expected: Classified) -> Row {
    // An unknown outcome is repeated once.
    let requests = if matches!(expected, Classified::Unknown(..)) { 2 } else { 1 };
    Row { name, replies: vec![reply], session: grant, expected, requests }
}

/// A token: `Bearer A2 3600 R2 0` is its header, lifetime, refresh token and number of warnings.
fn token(spec: &str) -> Classified {
    let [scheme, token, lifetime, refresh_token, warnings] = spec.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{spec}")
    };
    Classified::Token {
        header: format!("{scheme} {token}"),
        lifetime: (lifetime != "-").then(|| Duration::from_secs(lifetime.parse().unwrap())),
        refresh_token: Some(refresh_token.to_owned()),
        warnings: warnings.parse().unwrap(),
    }
}

fn transient(code: &str, wait: u64) -> Classified {
    Classified::Transient(Some(code.to_owned()).filter(|code| !code.is_empty()), wait)
}

fn unknown() -> Classified {
    Classified::Unknown(None, 1)
}

fn configuration(code: &str) -> Classified {
    Classified::Misconfigured(Some(code.to_owned()).filter(|code| !code.is_empty()), 1)
}

fn ended(code: &str) -> Classified {
    Classified::GrantEnded(Some(code.to_owned()))
}

// === impl Row ===

impl Row {
    fn with(self, session: fn(&Server) -> SessionBuilder) -> Self {
        Self { session, ..self }
    }

    fn then(mut self, reply: Reply) -> Self {
        self.replies.push(reply);
        self.requests = self.replies.len();
        self
    }
}

/// The reports in the order of their numbers: a response, and how it is classified.
#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let milliseconds = r#"{"access_token":"A2","token_type":"Bearer","expires_in":3600000,"expires_in_sec":3600,"refresh_token":"R2"}"#;
    let matrix = r#"{"access_token":"A2","refresh_token":"R2","expires_in_ms":60000}"#;
    let only_expires = r#"{"access_token":"A2","token_type":"bearer","expires":5184000}"#;
    let registry = r#"{"token":"A2"}"#;
    let invalid_request = r#"{"error":"invalid_request"}"#;
    let windows = "{\"error\":\"invalid_grant\",\"error_description\":\"AADSTS700084: dead.\\r\\nTrace ID: 1\",\"error_codes\":[700084],\"suberror\":\"bad_token\"}";
    let athena = r#"{"expires_in":0,"error":"invalid_request","error_description":"Missing redirect_uri parameter"}"#;
    vec![
        row("T01", reply(200, r#"{"token_type":"Bearer","expires_in":"3599","ext_expires_in":"3599","expires_on":"1755073195","access_token":"A2","refresh_token":"R2"}"#), token("Bearer A2 3599 R2 0")),
        row("T02", reply(200, r#"{"access_token":"a/b+c==","token_type":"Bearer","expires_in":"2700","refresh_token":"R2"}"#), token("Bearer a/b+c== 2700 R2 0")),
        row("T03", reply(200, r#"{"access_token":"A2","expires_in":28800,"refresh_expires_in":0,"refresh_token":"R2","token_type":"Bearer","not-before-policy":0,"session_state":"3b9b","scope":"email profile"}"#), token("Bearer A2 28800 R2 0")),
        row("T04", reply(200, r#"{"access_token":"A2","token_type":"bearer","expires":1500000000,"expires_in":31536000,"refresh_token":"R2"}"#), token("Bearer A2 31536000 R2 0")),
        row("T05", reply(200, only_expires), token("Bearer A2 - R1 0")),
        row("T05 as a form", reply(200, "access_token=A2&expires=5184000").header("content-type", "text/plain"), token("Bearer A2 - R1 1")),
        row("T05 configured", reply(200, only_expires), token("Bearer A2 5184000 R1 0"))
            .with(|server| Session::builder(server.client().lifetime(Lifetime::seconds("expires")).refresh_token_grant())),
        row("T06", reply(200, milliseconds), token("Bearer A2 3600000 R2 0")),
        row("T06 configured", reply(200, milliseconds), token("Bearer A2 3600 R2 0"))
            .with(|server| Session::builder(server.client().lifetime(Lifetime::seconds("expires_in_sec")).refresh_token_grant())),
        row("T07", reply(200, matrix), token("Bearer A2 60 R2 0"))
            .with(|server| Session::builder(server.json().lifetime(Lifetime::milliseconds("expires_in_ms")))),
        row("T08", reply(200, r#"{"access_token":"A2","token_type":"Bearer","expires_in":5}"#), token("Bearer A2 5 R1 0")),
        row("T09", reply(200, r#"{"access_token":"A2","expires_in":5,"refresh_token":"R2"}"#), token("Bearer A2 5 R2 1")),
        row("T10", reply(200, r#"{"access_token":"A2","token_type":"DPoP","expires_in":5,"refresh_token":"R2"}"#), configuration("")),
        row("T11", reply(200, registry), token("Bearer A2 60 R1 0"))
            .with(|server| Session::builder(server.json().access_token_path("token").lifetime(Lifetime::seconds("expires_in").or_default(Duration::from_secs(60))))),
        row("T12", reply(200, r#"{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}"#), ended("bad_refresh_token")),
        row("T13", reply(200, r#"{"error":"incorrect_client_credentials","error_description":"wrong","error_uri":"https://docs.example.com"}"#), configuration("incorrect_client_credentials")),
        row("T14", reply(200, r#"{"token_type":"Bearer"}"#), transient("", 1)),
        row("T15", reply(200, "access_token=A2&expires_in=5&refresh_token=R2&token_type=bearer").header("content-type", "application/x-www-form-urlencoded"), token("Bearer A2 5 R2 0")),
        row("T15 as text", reply(200, "access_token=a%2Fb%2Bc%3D&token_type=bearer").header("content-type", "text/plain; charset=utf-8"), token("Bearer a/b+c= - R1 0")),
        row("T16", reply(200, "<html><body>Invalid Token</body></html>").header("content-type", "text/html"), transient("", 1)),
        row("T17", reply(200, "\u{feff}{\"access_token\":\"A2\",\"token_type\":\"Bearer\",\"expires_in\":5,\"refresh_token\":\"R2\"}"), token("Bearer A2 5 R2 0")),
        row("T18", reply(200, r#"{"access_token":"A2","token_type":"Bearer","expires_in":18446744073709551615,"refresh_token":"R2"}"#), token("Bearer A2 3153600000 R2 0")),
        row("T19", reply(200, r#"{"access_token":"A2","token_type":"Bearer","expires_in":0,"refresh_token":"R2"}"#), token("Bearer A2 0 R2 0")),
        row("T20", reply(400, invalid_request).header("content-type", "text/plain"), transient("invalid_request", 1)),
        row("T20 configured", reply(400, invalid_request).header("content-type", "text/plain"), configuration("invalid_request"))
            .with(|server| Session::builder(server.client().error_classifier(ErrorClassifier::new().code("invalid_request", FailureKind::Misconfigured)).refresh_token_grant())),
        row("T21", reply(400, windows), ended("invalid_grant")),
        row("T22", reply(400, r#"{"error":"invalid_grant","error_description":"AADSTS70000:..."}"#), ended("invalid_grant")),
        row("T23", reply(400, invalid_request), transient("invalid_request", 1)),
        row("T23 configured", reply(400, invalid_request), ended("invalid_request"))
            .with(|server| Session::builder(server.client().error_classifier(ErrorClassifier::new().code("invalid_request", FailureKind::GrantEnded)).refresh_token_grant())),
        row("T24", reply(400, athena), configuration("invalid_request"))
            .with(|server| Session::builder(server.client().error_classifier(ErrorClassifier::new().code("invalid_request", FailureKind::Misconfigured)).refresh_token_grant())),
        row("T25", reply(400, r#"{"error":"use_dpop_nonce"}"#).header("dpop-nonce", "n1"), configuration("use_dpop_nonce")),
        row("T25 as 401", reply(401, r#"{"error":"use_dpop_nonce"}"#).header("dpop-nonce", "n1"), configuration("use_dpop_nonce")),
        row("T26", reply(401, r#"{"error":{"message":"spent","type":"invalid_request_error","param":null,"code":"refresh_token_reused"}}"#), ended("refresh_token_reused")),
        row("T27", reply(401, r#"{"error":"invalid_client","message":"Invalid client credentials"}"#), configuration("invalid_client")),
        row("T28", reply(401, r#"{"error":"","error_description":"Access token request error."}"#), transient("", 1)),
        row("T29", reply(403, r#"{"error":"invalid_grant"}"#), ended("invalid_grant")),
        row("T30", reply(422, r#"{"detail":[{"loc":["body","client_id"],"msg":"field required","input":{"refresh_token":"R1"}}]}"#), configuration("")),
        row("T31", reply(302, "").header("location", "https://login.example.com/token"), transient("", 1)),
        row("T32", reply(429, "").header("retry-after", "17"), transient("", 17)),
        row("T33", reply(503, r#"{"error":"temporarily_unavailable"}"#).header("retry-after", "30"), transient("temporarily_unavailable", 30)),
        row("T34", reply(504, "<html>").header("content-type", "text/html"), unknown()),
        row("T34 as 499", reply(499, ""), unknown()),
        row("T35", reply(500, ""), unknown()),
        row("T35 and then", reply(500, ""), ended("invalid_grant")).then(reply(400, r#"{"error":"invalid_grant"}"#)),
    ]
}

#[tokio::test(start_paused = true)]
async fn t01_field_reports_are_interpreted_as_documented() {
    let mut wrong = Vec::new();
    for Row { name, replies, session, expected, requests } in rows() {
        let server = Server::in_memory(replies);
        let found = classify(session(&server)).await;
        if found != expected || server.count() != requests {
            wrong.push(format!(
                "{name}: {found:?} after {} requests, not {expected:?} after {requests}",
                server.count()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
