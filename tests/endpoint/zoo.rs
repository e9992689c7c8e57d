//! Token responses of real providers. Each row is a response, the settings that it needs, and its right outcome.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::service_fn;
use tower_reauth::{
    Session, SessionBuilder, Token,
    endpoint::{Endpoint, EndpointError, ErrorClassifier, FailureKind, Lifetime, RequestBody},
    event::EventKind,
    json::JsonEndpoint,
    oauth2::Client,
    rt::{Clock, TestClock},
};

use crate::canned::URL;

/// A kind of refresher.
struct Kind {
    name: &'static str,
    session: fn(Endpoint) -> SessionBuilder,
}

pub(crate) struct Row {
    /// What the provider means.
    meaning: &'static str,
    /// Where the response was found.
    source: &'static str,
    response: Response<&'static str>,
    /// The refreshers that it is run through. What is set on the endpoint holds for both.
    refreshers: &'static [Kind],
    settings: fn(Endpoint) -> Endpoint,
    /// One of `token TOKEN SECONDS NEXT WARNINGS scopes SCOPES` (scopes only
    /// if it is about them), `ended CODE`, and `KIND SECONDS NEXT CODE`. NEXT is the refresh token
    /// that is presented next; a failure's seconds are those until the next try.
    pub(crate) outcome: &'static str,
}

const OAUTH2: &[Kind] = &[Kind { name: "oauth2", session: oauth2 }];
const JSON: &[Kind] = &[Kind { name: "json", session: json }];
const BOTH: &[Kind] = &[Kind { name: "oauth2", session: oauth2 }, Kind { name: "json", session: json }];

fn oauth2(endpoint: Endpoint) -> SessionBuilder {
    Session::builder(Client::new(endpoint, "web").refresh_token_grant())
}

fn json(endpoint: Endpoint) -> SessionBuilder {
    Session::builder(JsonEndpoint::new(endpoint))
}

fn as_is(endpoint: Endpoint) -> Endpoint {
    endpoint
}

fn classified(code: &'static str) -> ErrorClassifier {
    ErrorClassifier::new().code(code, FailureKind::GrantEnded)
}

fn reply(status: u16, body: &'static str) -> Response<&'static str> {
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}

fn with_header(
    name: &'static str,
    value: &'static str,
    mut response: Response<&'static str>,
) -> Response<&'static str> {
    response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    response
}

// === impl Row ===

impl Row {
    async fn check(&self) {
        let Self { meaning, source, refreshers, settings, outcome, .. } = self;
        for Kind { name, session } in *refreshers {
            let (_, mut seen) = self.run(|endpoint| session(settings(endpoint))).await;
            if refreshers.len() > 1 {
                // Only `oauth2` expects a type.
                seen = seen.replace(" MissingTokenType", "");
            }
            assert_eq!(seen, *outcome, "{meaning}, through {name} ({source})");
        }
    }

    /// The query and the body of a session's first request, and the outcome of the row's response to it.
    pub(crate) async fn run(&self, session: impl FnOnce(Endpoint) -> SessionBuilder) -> (String, String) {
        let sent = Arc::<OnceLock<String>>::default();
        let (record, response) = (Arc::clone(&sent), self.response.clone());
        let transport = service_fn(move |request: Request<RequestBody>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let body = request.into_body().into_bytes();
            record.get_or_init(|| query + std::str::from_utf8(&body).unwrap());
            std::future::ready(Ok::<_, Infallible>(response.clone().map(Full::<Bytes>::from)))
        });
        let endpoint = Endpoint::try_with_transport(URL, transport).unwrap();
        let outcome = observed(session(endpoint), self.outcome.contains(" scopes ")).await;
        (sent.get().unwrap().clone(), outcome)
    }
}

/// The outcome of a session's first refresh, in November 2023.
async fn observed(builder: SessionBuilder, shows_scopes: bool) -> String {
    let clock = TestClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let saved = Arc::<Mutex<Option<Token>>>::default();
    let remarks = Arc::<Mutex<Vec<String>>>::default();
    let (save, remark) = (Arc::clone(&saved), Arc::clone(&remarks));
    let session = builder
        .refresh_token("R1")
        .clock(clock.clone())
        .jitter(false)
        .save_with(move |token| {
            *save.lock().unwrap() = token;
            std::future::ready(Ok::<_, Infallible>(()))
        })
        .on_event(move |event| match &event.kind {
            EventKind::Warning { warning, .. } => remark.lock().unwrap().push(format!("{warning:?}")),
            EventKind::RefreshIneffective { reason, .. } => {
                remark.lock().unwrap().push(format!("{reason:?}"))
            }
            _ => {}
        })
        .build();
    let mut seen = match session.token().await {
        Ok(_) => {
            let token = saved.lock().unwrap().take().expect("it was saved before it was returned");
            let received = token.received_at().unwrap();
            let lifetime = token.expires_at().map_or("-".to_owned(), |expiry| {
                let lifetime = expiry.duration_since(received);
                lifetime.map_or("expired".to_owned(), |lifetime| lifetime.as_secs().to_string())
            });
            let next = token.refresh_token().unwrap();
            let mut words = vec!["token", token.access_token(), &*lifetime, next];
            let remarks = remarks.lock().unwrap();
            words.extend(remarks.iter().map(String::as_str));
            let scopes =
                token.scopes().filter(|_| shows_scopes).map(|scopes| format!(" scopes {}", scopes.join(" ")));
            return words.join(" ") + &scopes.unwrap_or_default();
        }
        Err(error) if error.is_grant_ended() => ("ended".to_owned(), error),
        Err(error) => {
            let wait = error.retry_at().unwrap().duration_since(clock.now().wall()).unwrap().as_secs();
            let refresh_error = tower_reauth::RefreshError::find(&error).unwrap();
            let kind = match refresh_error {
                error if error.is_unexplained() => "unexplained",
                error if error.is_transient() => "transient",
                error if error.is_misconfigured() => "misconfigured",
                error => panic!("{error:?}"),
            };
            let tokens = session.sign_out();
            (format!("{kind} {wait} {}", tokens.refresh_token().unwrap()), error)
        }
    };
    if let Some(code) = EndpointError::find(&seen.1).expect("it says why").code() {
        seen.0 += &format!(" `{code}`");
    }
    seen.0
}

macro_rules! rows {
    ($($name:ident: $meaning:literal, $source:literal, $refreshers:ident, $settings:expr, $response:expr => $outcome:literal;)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                row(stringify!($name)).check().await;
            }
        )*

        /// The row with this test.
        pub(crate) fn row(test: &str) -> Row {
            match test {
                $(stringify!($name) => Row {
                    meaning: $meaning,
                    source: $source,
                    response: $response,
                    refreshers: $refreshers,
                    settings: $settings,
                    outcome: $outcome,
                },)*
                _ => panic!("there is no {test}"),
            }
        }
    };
}

#[rustfmt::skip]
rows! {
    t07_matrix_token: "Matrix: lifetime in milliseconds", "Matrix specification, client-server API",
        BOTH, |endpoint| endpoint.lifetime(Lifetime::milliseconds("expires_in_ms")),
        reply(200, r#"{"access_token":"A2","refresh_token":"R2","expires_in_ms":60000}"#)
        => "token A2 60 R2";
    t07_matrix_dead_grant_classified: "Matrix: dead grant, classified", "Matrix specification, client-server API",
        BOTH, |endpoint| endpoint.error_code_path("errcode").error_classifier(classified("M_UNKNOWN_TOKEN")),
        reply(401, r#"{"errcode":"M_UNKNOWN_TOKEN","error":"Unrecognised refresh token","soft_logout":true}"#)
        => "ended `M_UNKNOWN_TOKEN`";
    t12_github_dead_grant_with_200: "GitHub: dead grant with 200", "lelylan/simple-oauth2#459",
        OAUTH2, as_is,
        reply(200, r#"{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}"#)
        => "ended `bad_refresh_token`";
    z01_google_reauthentication_required: "Google: reauthentication required", "Google docs, support.google.com/a/answer/9368756",
        OAUTH2, as_is,
        reply(400, r#"{"error":"invalid_grant","error_description":"reauth related error (invalid_rapt)","error_uri":"https://support.google.com/a/answer/9368756","error_subtype":"invalid_rapt"}"#)
        => "ended `invalid_grant`";
    z02_azure_ad_b2c_token: "Azure AD B2C: token", "Microsoft docs, Azure AD B2C",
        OAUTH2, as_is,
        reply(200, r#"{"access_token":"A2","token_type":"Bearer","not_before":1533672990,"expires_in":3600,"expires_on":1533676590,"resource":"resource","id_token_expires_in":3600,"profile_info":"eyJ2","refresh_token":"R2","refresh_token_expires_in":1209600}"#)
        => "token A2 3600 R2";
    z03_azure_ad_b2c_dead_grant: "Azure AD B2C: dead grant", "Microsoft docs, Azure AD B2C error codes",
        OAUTH2, as_is,
        reply(400, r#"{"error":"invalid_grant","error_description":"AADB2C90080: The provided grant has expired. Please re-authenticate and try again.\r\nCorrelation ID: 1"}"#)
        => "ended `invalid_grant`";
    z04_ebay_another_token_type: "eBay: another token type", "eBay docs, OAuth",
        OAUTH2, as_is,
        reply(200, r#"{"access_token":"v^1.1#i^1#p^3#r^1=","expires_in":7200,"token_type":"User Access Token"}"#)
        => "misconfigured 1 R1";
    z05_ebay_another_token_type_scheme_set: "eBay: another token type, scheme set", "eBay docs, OAuth",
        OAUTH2, |endpoint| endpoint.scheme("Bearer"),
        reply(200, r#"{"access_token":"v^1.1#i^1#p^3#r^1=","expires_in":7200,"token_type":"User Access Token"}"#)
        => "token v^1.1#i^1#p^3#r^1= 7200 R1";
    z06_ebay_a_word_for_no_refresh_token: "eBay: no refresh token, said in words", "eBay docs; README of an eBay gem",
        OAUTH2, |endpoint| endpoint.scheme("Bearer"),
        reply(200, r#"{"access_token":"A2","token_type":"User Access Token","expires_in":7200,"refresh_token":"N/A"}"#)
        => "token A2 7200 R1";
    z07_slack_token_type_bot: "Slack: token type bot", "Slack docs, token rotation",
        OAUTH2, as_is,
        reply(200, r#"{"ok":true,"app_id":"A1","authed_user":{"id":"U1"},"scope":"chat:write,incoming-webhook","token_type":"bot","access_token":"xoxe.xoxb-1-A2","bot_user_id":"U2","refresh_token":"R2","expires_in":43200,"team":{"id":"T1","name":"a"},"enterprise":null,"is_enterprise_install":false}"#)
        => "misconfigured 1 R2";
    z08_slack_token_type_bot_scheme_set: "Slack: token type bot, scheme set", "Slack docs, token rotation",
        OAUTH2, |endpoint| endpoint.scheme("Bearer"),
        reply(200, r#"{"ok":true,"app_id":"A1","authed_user":{"id":"U1"},"scope":"chat:write,incoming-webhook","token_type":"bot","access_token":"xoxe.xoxb-1-A2","bot_user_id":"U2","refresh_token":"R2","expires_in":43200,"team":{"id":"T1","name":"a"},"enterprise":null,"is_enterprise_install":false}"#)
        => "token xoxe.xoxb-1-A2 43200 R2";
    z09_slack_dead_grant_with_200: "Slack: dead grant with 200", "CogniQ/CogniQ#72",
        OAUTH2, as_is,
        reply(200, r#"{"ok":false,"error":"invalid_refresh_token"}"#)
        => "ended `invalid_refresh_token`";
    z10_slack_dead_grant_with_200_classified: "Slack: dead grant with 200, classified", "CogniQ/CogniQ#72",
        BOTH, |endpoint| endpoint.error_classifier(classified("invalid_refresh_token")),
        reply(200, r#"{"ok":false,"error":"invalid_refresh_token"}"#)
        => "ended `invalid_refresh_token`";
    z11_slack_throttled: "Slack: throttled", "Slack docs, rate limits",
        OAUTH2, as_is,
        with_header("retry-after", "30", reply(429, r#"{"ok":false,"error":"ratelimited"}"#))
        => "transient 30 R1 `ratelimited`";
    z12_wechat_dead_grant_with_200_not_classified: "WeChat: dead grant with 200, not classified", "WeChat docs, web authorization",
        JSON, as_is,
        reply(200, r#"{"errcode":40030,"errmsg":"invalid refresh_token"}"#)
        => "unexplained 1 R1";
    z13_wechat_dead_grant_with_200_classified: "WeChat: dead grant with 200, classified", "WeChat docs, web authorization",
        BOTH, |endpoint| endpoint.error_code_path("errcode").error_classifier(classified("40030")),
        reply(200, r#"{"errcode":40030,"errmsg":"invalid refresh_token"}"#)
        => "ended `40030`";
    z14_feishu_v1_token_in_an_envelope: "Feishu v1: token in an envelope", "Feishu docs, authen v1",
        BOTH, |endpoint| endpoint.access_token_path("/data/access_token").new_refresh_token_path("/data/refresh_token").lifetime(Lifetime::seconds("/data/expires_in")).error_code_path("code").error_classifier(classified("20037")),
        reply(200, r#"{"code":0,"msg":"success","data":{"access_token":"A2","token_type":"Bearer","expires_in":7140,"refresh_token":"R2","refresh_expires_in":2591940}}"#)
        => "token A2 7140 R2";
    z15_feishu_v1_dead_grant_with_200_classified: "Feishu v1: dead grant with 200, classified", "Feishu docs, authen v1",
        BOTH, |endpoint| endpoint.access_token_path("/data/access_token").error_code_path("code").error_classifier(classified("20037")),
        reply(200, r#"{"code":20037,"msg":"expired"}"#)
        => "ended `20037`";
    z16_feishu_v1_dead_grant_code_at_its_default_place: "Feishu v1: the same, code at its default place", "Feishu docs, authen v1",
        BOTH, |endpoint| endpoint.access_token_path("/data/access_token").error_classifier(classified("20037")),
        reply(200, r#"{"code":20037,"msg":"expired"}"#)
        => "ended `20037`";
    z17_feishu_v2_dead_grant: "Feishu v2: dead grant", "Feishu docs, authen v2",
        OAUTH2, as_is,
        reply(400, r#"{"code":20037,"error":"invalid_grant","error_description":"The refresh token is expired."}"#)
        => "ended `invalid_grant`";
    z18_dingtalk_token: "DingTalk: token", "DingTalk docs, userAccessToken",
        BOTH, |endpoint| endpoint.access_token_path("accessToken").new_refresh_token_path("refreshToken").lifetime(Lifetime::seconds("expireIn")),
        reply(200, r#"{"accessToken":"A2","refreshToken":"R2","expireIn":7200,"corpId":"c1"}"#)
        => "token A2 7200 R2";
    z19_hubspot_dead_grant_not_classified: "HubSpot: dead grant, not classified", "public code",
        OAUTH2, as_is,
        reply(400, r#"{"status":"BAD_REFRESH_TOKEN","error":"invalid_request","message":"missing or unknown refresh token"}"#)
        => "unexplained 1 R1 `invalid_request`";
    z20_hubspot_dead_grant_its_own_code_classified: "HubSpot: dead grant, its own code classified", "public code",
        BOTH, |endpoint| endpoint.error_code_path("status").error_classifier(classified("BAD_REFRESH_TOKEN")),
        reply(400, r#"{"status":"BAD_REFRESH_TOKEN","error":"invalid_request","message":"missing or unknown refresh token"}"#)
        => "ended `BAD_REFRESH_TOKEN`";
    z21_twitch_dead_grant_its_message_classified: "Twitch: dead grant, its message classified", "twitchdev/issues#1037, Teekeks/pyTwitchAPI#37",
        BOTH, |endpoint| endpoint.error_code_path("message").error_classifier(classified("Invalid refresh token")),
        reply(400, r#"{"status":400,"message":"Invalid refresh token"}"#)
        => "ended `Invalid refresh token`";
    z22_twitch_dead_grant_status_classified: "Twitch: dead grant, status classified", "twitchdev/issues#1037",
        BOTH, |endpoint| endpoint.error_classifier(ErrorClassifier::new().status(400, FailureKind::GrantEnded)),
        reply(400, r#"{"status":400,"message":"Invalid refresh token"}"#)
        => "ended";
    z23_strava_dead_grant_code_in_a_list: "Strava: dead grant, code in a list", "Strava docs, authentication",
        BOTH, |endpoint| endpoint.error_code_path("/errors/0/resource").error_classifier(classified("RefreshToken")),
        reply(400, r#"{"message":"Bad Request","errors":[{"resource":"RefreshToken","field":"refresh_token","code":"invalid"}]}"#)
        => "ended `RefreshToken`";
    z24_fitbit_dead_grant_code_in_a_list: "Fitbit: dead grant, code in a list", "Fitbit docs, Web API",
        OAUTH2, as_is,
        reply(400, r#"{"errors":[{"errorType":"invalid_grant","message":"Refresh token invalid: R1. Visit https://dev.fitbit.com/docs/oauth2 for more information on the Fitbit Web API authorization process."}],"success":false}"#)
        => "ended `invalid_grant`";
    z25_fitbit_dead_grant_status_classified: "Fitbit: dead grant, status classified", "Fitbit docs, Web API",
        BOTH, |endpoint| endpoint.error_classifier(ErrorClassifier::new().status(400, FailureKind::GrantEnded)),
        reply(400, r#"{"errors":[{"errorType":"invalid_grant","message":"Refresh token invalid: R1. Visit https://dev.fitbit.com/docs/oauth2 for more information on the Fitbit Web API authorization process."}],"success":false}"#)
        => "ended `invalid_grant`";
    z26_deviantart_dead_grant_classified: "DeviantArt: dead grant, classified", "wix-incubator/DeviantArt-API#58",
        BOTH, |endpoint| endpoint.error_classifier(classified("invalid_request")),
        reply(400, r#"{"error":"invalid_request","error_description":"The refresh_token is invalid.","status":"error"}"#)
        => "ended `invalid_request`";
    z27_atlassian_dead_grant_not_classified: "Atlassian: dead grant, not classified", "raycast/extensions#11836",
        OAUTH2, as_is,
        reply(403, r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#)
        => "misconfigured 1 R1 `unauthorized_client`";
    z28_atlassian_dead_grant_classified: "Atlassian: dead grant, classified", "raycast/extensions#11836",
        BOTH, |endpoint| endpoint.error_classifier(classified("unauthorized_client")),
        reply(403, r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#)
        => "ended `unauthorized_client`";
    z29_firebase_token: "Firebase: token", "Firebase docs, REST",
        OAUTH2, as_is,
        reply(200, r#"{"access_token":"A2","expires_in":"3600","token_type":"Bearer","refresh_token":"R2","id_token":"e.y.J","user_id":"u","project_id":"1"}"#)
        => "token A2 3600 R2";
    z30_supabase_dead_grant_not_classified: "Supabase: dead grant, not classified", "Supabase docs, Auth",
        JSON, as_is,
        reply(400, r#"{"code":400,"error_code":"refresh_token_already_used","msg":"Invalid Refresh Token: Already Used"}"#)
        => "unexplained 1 R1 `400`";
    z30_supabase_refresh_token_already_used_classified: "Supabase: dead grant, already used, classified", "Supabase docs, Auth",
        BOTH, |endpoint| endpoint.error_code_path("error_code").error_classifier(classified("refresh_token_already_used")),
        reply(400, r#"{"code":400,"error_code":"refresh_token_already_used","msg":"Invalid Refresh Token: Already Used"}"#)
        => "ended `refresh_token_already_used`";
    z30_supabase_refresh_token_not_found_classified: "Supabase: dead grant, not found, classified", "Supabase docs, Auth",
        BOTH, |endpoint| endpoint.error_code_path("error_code").error_classifier(classified("refresh_token_not_found")),
        reply(400, r#"{"code":400,"error_code":"refresh_token_not_found","msg":"Invalid Refresh Token: Refresh Token Not Found"}"#)
        => "ended `refresh_token_not_found`";
    z31_supabase_token: "Supabase: token", "Supabase docs, Auth",
        JSON, as_is,
        reply(200, r#"{"access_token":"A2","token_type":"bearer","expires_in":3600,"expires_at":1900000000,"refresh_token":"R2","user":{"id":"u","aud":"authenticated"}}"#)
        => "token A2 3600 R2";
    z32_reddit_dead_grant_not_classified: "Reddit: dead grant, not classified", "public code",
        OAUTH2, as_is,
        reply(400, r#"{"message":"Bad Request","error":400}"#)
        => "unexplained 1 R1 `400`";
    z33_reddit_dead_grant_numeric_code_classified: "Reddit: dead grant, numeric code classified", "public code",
        BOTH, |endpoint| endpoint.error_classifier(classified("400")),
        reply(400, r#"{"message":"Bad Request","error":400}"#)
        => "ended `400`";
    z34_mercado_libre_dead_grant: "Mercado Libre: dead grant", "Mercado Libre docs",
        OAUTH2, as_is,
        reply(400, r#"{"message":"Error validating grant. Your authorization code or refresh token may be expired or it was already used.","error":"invalid_grant","status":400,"cause":[]}"#)
        => "ended `invalid_grant`";
    z35_cloud_foundry_uaa_sap_xsuaa_dead_grant: "Cloud Foundry UAA, SAP XSUAA: dead grant", "Cloud Foundry UAA docs",
        OAUTH2, as_is,
        reply(401, r#"{"error":"invalid_token","error_description":"The token expired, was revoked, or the token ID is incorrect: R1-r"}"#)
        => "ended `invalid_token`";
    z36_cloud_foundry_uaa_dead_grant_classified: "Cloud Foundry UAA: dead grant, classified", "Cloud Foundry UAA docs",
        BOTH, |endpoint| endpoint.error_classifier(classified("invalid_token")),
        reply(401, r#"{"error":"invalid_token","error_description":"The token expired, was revoked, or the token ID is incorrect: R1-r"}"#)
        => "ended `invalid_token`";
    z37_databricks_dead_grant: "Databricks: dead grant", "databricks/cli",
        OAUTH2, as_is,
        reply(401, r#"{"error":"invalid_refresh_token","error_description":"Refresh token is invalid"}"#)
        => "ended `invalid_refresh_token`";
    z38_databricks_dead_grant_classified: "Databricks: dead grant, classified", "databricks/cli",
        BOTH, |endpoint| endpoint.error_classifier(classified("invalid_refresh_token")),
        reply(401, r#"{"error":"invalid_refresh_token","error_description":"Refresh token is invalid"}"#)
        => "ended `invalid_refresh_token`";
    z39_keycloak_refresh_token_reused: "Keycloak: refresh token reused", "keycloak/keycloak, TokenManager",
        OAUTH2, as_is,
        reply(400, r#"{"error":"invalid_grant","error_description":"Maximum allowed refresh token reuse exceeded"}"#)
        => "ended `invalid_grant`";
    z40_withings_token_in_an_envelope: "Withings: token in an envelope", "Withings docs",
        BOTH, |endpoint| endpoint.access_token_path("/body/access_token").new_refresh_token_path("/body/refresh_token").lifetime(Lifetime::seconds("/body/expires_in")),
        reply(200, r#"{"status":0,"body":{"userid":"1","access_token":"A2","refresh_token":"R2","scope":"user.info","expires_in":10800,"token_type":"Bearer"}}"#)
        => "token A2 10800 R2";
    z41_withings_dead_grant_with_200_not_classified: "Withings: dead grant with 200, not classified", "Withings docs",
        BOTH, |endpoint| endpoint.access_token_path("/body/access_token"),
        reply(200, r#"{"status":503,"body":{},"error":"Invalid Params: invalid refresh_token"}"#)
        => "unexplained 1 R1 `Invalid Params: invalid refresh_token`";
    z42_withings_dead_grant_with_200_classified: "Withings: dead grant with 200, classified", "Withings docs",
        BOTH, |endpoint| endpoint.access_token_path("/body/access_token").error_classifier(classified("Invalid Params: invalid refresh_token")),
        reply(200, r#"{"status":503,"body":{},"error":"Invalid Params: invalid refresh_token"}"#)
        => "ended `Invalid Params: invalid refresh_token`";
    z43_cognito_token: "Cognito: token", "AWS docs, InitiateAuth",
        BOTH, |endpoint| endpoint.access_token_path("/AuthenticationResult/AccessToken").new_refresh_token_path("/AuthenticationResult/RefreshToken").lifetime(Lifetime::seconds("/AuthenticationResult/ExpiresIn")),
        reply(200, r#"{"AuthenticationResult":{"AccessToken":"A2","ExpiresIn":3600,"IdToken":"e.y.J","TokenType":"Bearer"},"ChallengeParameters":{}}"#)
        => "token A2 3600 R1";
    z44_aws_sso_oidc_token: "AWS SSO OIDC: token", "AWS docs, CreateToken",
        BOTH, |endpoint| endpoint.access_token_path("accessToken").new_refresh_token_path("refreshToken").lifetime(Lifetime::seconds("expiresIn")),
        reply(200, r#"{"accessToken":"A2","expiresIn":28800,"idToken":null,"refreshToken":"R2","tokenType":"Bearer"}"#)
        => "token A2 28800 R2";
    z45_aws_sso_oidc_dead_grant: "AWS SSO OIDC: dead grant", "AWS docs, CreateToken",
        JSON, as_is,
        with_header("content-type", "application/x-amz-json-1.1", reply(400, r#"{"error":"invalid_grant","error_description":"Invalid refresh token provided"}"#))
        => "ended `invalid_grant`";
    z46_salesforce_token_without_a_lifetime: "Salesforce: token without a lifetime", "Salesforce docs, refresh token flow",
        OAUTH2, as_is,
        reply(200, r#"{"access_token":"00D000!A2.x_y","signature":"c2ln","scope":"refresh_token api","instance_url":"https://x.my.salesforce.com","id":"https://login.salesforce.com/id/0/0","token_type":"Bearer","issued_at":"1600000000000"}"#)
        => "token 00D000!A2.x_y - R1";
    z47_salesforce_dead_grant: "Salesforce: dead grant", "Salesforce docs, OAuth errors",
        OAUTH2, as_is,
        reply(400, r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#)
        => "ended `invalid_grant`";
    z48_salesforce_temporary_failure_with_400: "Salesforce: temporary failure with 400", "Salesforce docs, OAuth errors",
        OAUTH2, as_is,
        reply(400, r#"{"error":"unknown_error","error_description":"retry your request"}"#)
        => "unexplained 1 R1 `unknown_error`";
    z49_quickbooks_token: "QuickBooks: token", "Intuit docs, OAuth 2.0",
        OAUTH2, as_is,
        reply(200, r#"{"token_type":"bearer","expires_in":3600,"refresh_token":"R2","x_refresh_token_expires_in":8726400,"access_token":"A2"}"#)
        => "token A2 3600 R2";
    z50_zoho_throttled_with_400: "Zoho: throttled with 400", "Zoho docs, OAuth",
        OAUTH2, as_is,
        reply(400, r#"{"error_description":"You have made too many requests continuously. Please try again after some time.","error":"Access Denied","status":"failure"}"#)
        => "unexplained 1 R1 `Access Denied`";
    z51_auth0_second_factor_required: "Auth0: second factor required", "Auth0 docs, MFA",
        OAUTH2, as_is,
        reply(403, r#"{"error":"mfa_required","error_description":"Multifactor authentication required","mfa_token":"m"}"#)
        => "unexplained 1 R1 `mfa_required`";
    z52_auth0_second_factor_required_classified: "Auth0: second factor required, classified", "Auth0 docs, MFA",
        BOTH, |endpoint| endpoint.error_classifier(classified("mfa_required")),
        reply(403, r#"{"error":"mfa_required","error_description":"Multifactor authentication required","mfa_token":"m"}"#)
        => "ended `mfa_required`";
    z53_discord_throttled: "Discord: throttled", "Discord docs, rate limits",
        OAUTH2, as_is,
        with_header("retry-after", "65", reply(429, r#"{"message":"You are being rate limited.","retry_after":64.57,"global":false}"#))
        => "transient 65 R1";
    z54_docker_registry_token_without_a_type: "Docker registry: token without a type", "distribution/distribution, token spec",
        OAUTH2, as_is,
        reply(200, r#"{"token":"A2","access_token":"A2","expires_in":300,"issued_at":"2020-01-01T00:00:00Z"}"#)
        => "token A2 300 R1 MissingTokenType";
    z55_a_rotation_still_in_progress: "a rotation still in progress", "public code",
        OAUTH2, as_is,
        reply(503, r#"{"error":"temporarily_unavailable","error_description":"refresh token rotation is still in progress"}"#)
        => "transient 1 R1 `temporarily_unavailable`";
    z56_spotify_dead_grant: "Spotify: dead grant", "Spotify's forum",
        OAUTH2, as_is,
        reply(400, r#"{"error":"invalid_grant","error_description":"Refresh token revoked"}"#)
        => "ended `invalid_grant`";
    z57_apigee_token_type_bearertoken: "Apigee: token type BearerToken", "Apigee docs, OAuthV2",
        OAUTH2, as_is,
        reply(200, r#"{"refresh_token_expires_in":"0","token_type":"BearerToken","issued_at":"1566275920240","access_token":"A2","refresh_token":"R2","scope":"","expires_in":"3599","refresh_count":"0","status":"approved"}"#)
        => "misconfigured 1 R2";
    z58_apigee_token_type_bearertoken_scheme_set: "Apigee: token type BearerToken, scheme set", "Apigee docs, OAuthV2",
        OAUTH2, |endpoint| endpoint.scheme("Bearer"),
        reply(200, r#"{"refresh_token_expires_in":"0","token_type":"BearerToken","issued_at":"1566275920240","access_token":"A2","refresh_token":"R2","scope":"","expires_in":"3599","refresh_count":"0","status":"approved"}"#)
        => "token A2 3599 R2";
    z59_eve_online_dead_grant_code_followed_by_words: "EVE Online: dead grant, code followed by words", "ccpgames/sso-issues#54",
        OAUTH2, as_is,
        reply(400, r#"{"error":"invalid_grant: Token is expired or invalid.","error_description":"Token is expired or invalid."}"#)
        => "ended `invalid_grant: Token is expired or invalid.`";
    z60_casdoor_an_error_in_place_of_the_token: "Casdoor: an error in place of the token", "casdoor/casdoor#611",
        OAUTH2, as_is,
        reply(200, r#"{"access_token":"error: token is expired by 23m58.37607235s","id_token":"","refresh_token":"","token_type":"","expires_in":0,"scope":""}"#)
        => "misconfigured 1 R1";
    z61_meta_dead_grant_numeric_code_classified: "Meta: dead grant, numeric code classified", "Meta docs, access token errors",
        BOTH, |endpoint| endpoint.error_classifier(classified("190")),
        reply(400, r#"{"error":{"message":"Error validating access token: Session has expired on Monday.","type":"OAuthException","code":190,"error_subcode":463}}"#)
        => "ended `190`";
    z62_server_error_with_400: "server_error with 400", "public code",
        OAUTH2, as_is,
        reply(400, r#"{"error":"server_error","error_description":"try again"}"#)
        => "transient 1 R1 `server_error`";
    z63_google_temporary_failure_with_400: "Google: temporary failure with 400", "public code",
        OAUTH2, as_is,
        reply(400, r#"{"error":"internal_failure"}"#)
        => "unexplained 1 R1 `internal_failure`";
    z64_entra_throttled_request_loop: "Entra: throttled (request loop)", "Microsoft docs, AADSTS error codes",
        OAUTH2, as_is,
        reply(400, r#"{"error":"invalid_grant","error_description":"AADSTS50196: The server terminated an operation because it encountered a client request loop. Please contact your app vendor.","error_codes":[50196]}"#)
        => "transient 1 R1 `invalid_grant`";
    z65_xee_dead_grant_classified: "Xee: dead grant, classified", "xee-lab/xee-api-docs#82",
        BOTH, |endpoint| endpoint.error_classifier(classified("invalid_request")),
        reply(400, r#"{"error":"invalid_request"}"#)
        => "ended `invalid_request`";
    z66_twitch_scopes_as_a_list: "Twitch: scopes as a list", "twitchdev/issues#1037",
        OAUTH2, as_is,
        reply(200, r#"{"access_token":"A2","expires_in":14542,"refresh_token":"R2","scope":["a","b"],"token_type":"bearer"}"#)
        => "token A2 14542 R2 scopes a b";
    z67_shopee_token_empty_error: "Shopee: token, empty error", "Shopee docs, Open Platform",
        BOTH, |endpoint| endpoint.lifetime(Lifetime::seconds("expire_in")),
        reply(200, r#"{"shop_id":1,"error":"","access_token":"A2","expire_in":14400,"message":"","request_id":"1","partner_id":1,"refresh_token":"R2"}"#)
        => "token A2 14400 R2";
    z68_shopee_dead_grant_with_200_classified: "Shopee: dead grant with 200, classified", "Shopee docs, Open Platform",
        BOTH, |endpoint| endpoint.error_classifier(classified("error_auth")),
        reply(200, r#"{"error":"error_auth","message":"Invalid refresh_token.","request_id":"request-1"}"#)
        => "ended `error_auth`";
    z69_tuya_dead_grant_with_200_classified: "Tuya: dead grant with 200, classified", "Tuya docs, error codes",
        BOTH, |endpoint| endpoint.access_token_path("/result/access_token").error_classifier(classified("1010")),
        reply(200, r#"{"code":1010,"msg":"token is expired","success":false,"t":1600000000000}"#)
        => "ended `1010`";
    z70_laravel_passport_dead_grant_not_classified: "Laravel Passport: dead grant, not classified", "thephpleague/oauth2-server",
        OAUTH2, as_is,
        reply(401, r#"{"error":"invalid_request","error_description":"The refresh token is invalid.","hint":"Token has been revoked","message":"The refresh token is invalid."}"#)
        => "unexplained 1 R1 `invalid_request`";
    z71_laravel_passport_dead_grant_classified: "Laravel Passport: dead grant, classified", "thephpleague/oauth2-server",
        BOTH, |endpoint| endpoint.error_classifier(classified("invalid_request")),
        reply(401, r#"{"error":"invalid_request","error_description":"The refresh token is invalid.","hint":"Token has been revoked","message":"The refresh token is invalid."}"#)
        => "ended `invalid_request`";
    z72_qpay_coze_an_instant_as_expires_in: "QPay, Coze: an instant as expires_in, not set", "public code",
        OAUTH2, as_is,
        reply(200, r#"{"token_type":"bearer","refresh_expires_in":1900000000,"refresh_token":"R2","access_token":"A2","expires_in":1900000000,"scope":"profile email","not-before-policy":"0"}"#)
        => "token A2 200000000 R2 InvalidLifetime";
    z72_qpay_coze_an_instant_as_expires_in_set: "QPay, Coze: an instant as expires_in, set", "public code",
        BOTH, |endpoint| endpoint.lifetime(Lifetime::unix_time("expires_in")),
        reply(200, r#"{"token_type":"bearer","refresh_expires_in":1900000000,"refresh_token":"R2","access_token":"A2","expires_in":1900000000,"scope":"profile email","not-before-policy":"0"}"#)
        => "token A2 200000000 R2";
    z73_asp_net_core_identity_token: "ASP.NET Core Identity: token", "learn.microsoft.com, AccessTokenResponse",
        BOTH, |endpoint| endpoint.access_token_path("accessToken").new_refresh_token_path("refreshToken").lifetime(Lifetime::seconds("expiresIn")),
        reply(200, r#"{"tokenType":"Bearer","accessToken":"A2","expiresIn":3600,"refreshToken":"R2"}"#)
        => "token A2 3600 R2";
    z74_asp_net_core_identity_dead_grant_status_classified: "ASP.NET Core Identity: dead grant, status classified", "learn.microsoft.com",
        BOTH, |endpoint| endpoint.error_classifier(ErrorClassifier::new().status(401, FailureKind::GrantEnded)),
        reply(401, "")
        => "ended";
    z75_cj_dropshipping_expiry_as_a_date: "CJ Dropshipping: expiry as a date", "developers.cjdropshipping.cn",
        BOTH, |endpoint| endpoint.access_token_path("/data/accessToken").new_refresh_token_path("/data/refreshToken").lifetime(Lifetime::unix_time("/data/accessTokenExpiryDate")),
        reply(200, r#"{"code":200,"result":true,"message":"Success","data":{"openId":1,"accessToken":"A2","accessTokenExpiryDate":"2021-08-18T09:16:33+08:00","refreshToken":"R2","refreshTokenExpiryDate":"2022-02-07T09:16:33+08:00"},"requestId":"1"}"#)
        => "token A2 expired R2 Expired";
    z76_salesforce_not_allowed_from_this_network: "Salesforce: not allowed from this network", "Salesforce docs, OAuth errors",
        OAUTH2, as_is,
        reply(400, r#"{"error":"invalid_grant","error_description":"ip restricted"}"#)
        => "ended `invalid_grant`";
    z76_salesforce_not_allowed_from_this_network_classified: "Salesforce: not allowed from this network, classified by its description", "Salesforce docs, OAuth errors",
        BOTH, |endpoint| endpoint.error_classifier(ErrorClassifier::new().code("ip restricted", FailureKind::Transient)),
        reply(400, r#"{"error":"invalid_grant","error_description":"ip restricted"}"#)
        => "transient 1 R1 `invalid_grant`";
    z77_an_error_beside_tokens: "an error beside tokens", "no provider; p02",
        OAUTH2, as_is,
        reply(200, r#"{"error":"partial_failure","access_token":"A2","refresh_token":"R2","token_type":"Bearer","expires_in":60}"#)
        => "unexplained 1 R2 `partial_failure`";
    z78_an_error_beside_tokens_json: "an error beside tokens, json", "no provider; p02",
        JSON, as_is,
        reply(200, r#"{"error":"partial_failure","access_token":"A2","refresh_token":"R2","token_type":"Bearer","expires_in":60}"#)
        => "unexplained 1 R2 `partial_failure`";
}
