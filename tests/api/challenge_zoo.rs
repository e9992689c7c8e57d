//! Challenges of real servers. Each row is a response, what it is read as, and what the layer does about it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_reauth::{
    AuthLayer, RefreshContext, Session, challenge::Challenges, future::AuthReport, refresh::RefreshReason,
    refresh_fn,
};

use crate::support::{BoxError, clock, get, token};

type Client = BoxCloneSyncService<Request<()>, Response<()>, BoxError>;

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    /// One refresh, and one retry with the new token.
    Rejected,
    /// No refresh: the server wants more than it can bring.
    StepUp,
    /// No refresh: the response isn't about the token.
    Accepted,
}

struct Row {
    /// What the server means.
    meaning: &'static str,
    /// Where the response was found.
    source: &'static str,
    status: u16,
    fields: &'static [&'static str],
    outcome: Outcome,
    /// `SCHEME{NAME, NAME}`: the challenges and the names of their parameters.
    read: &'static str,
}

/// An API that accepts any token but the first, A1, and its client.
struct Api {
    client: Client,
    session: Session,
    /// The tokens of the requests.
    sent: Arc<Mutex<Vec<String>>>,
    /// What the refresher was called with.
    refreshes: Arc<Mutex<Vec<RefreshContext>>>,
}

// === impl Row ===

impl Row {
    async fn check(&self) {
        let Self { meaning, source, status, fields, outcome, read } = *self;
        let row = format!("{meaning} ({source})");
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(field));
        }
        let challenges = Challenges::from_headers(&headers);
        assert_eq!(shown(&challenges), read, "{row}");
        assert_eq!(without_separators(&text(&challenges)), without_separators(&fields.concat()), "{row}");
        assert!(!challenges.is_unreadable(), "{row}");
        assert_eq!(challenges.is_step_up(), outcome == Outcome::StepUp, "{row}");

        let api = Api::new(status, headers.clone());
        let response = api.client.oneshot(get()).await.unwrap();
        let (sent, refreshes) = (api.sent.lock().unwrap(), api.refreshes.lock().unwrap());
        if outcome == Outcome::Rejected {
            assert_eq!(
                (response.status().as_u16(), &**sent),
                (200, &["A1", "A2"].map(str::to_owned)[..]),
                "{row}"
            );
            let [cx] = &refreshes[..] else { panic!("{row}: {} refreshes", refreshes.len()) };
            assert_eq!((cx.reason(), cx.challenges()), (RefreshReason::Rejected, &challenges), "{row}");
        } else {
            assert_eq!((response.status().as_u16(), response.headers()), (status, &headers), "{row}");
            assert_eq!((&**sent, refreshes.len()), (&["A1".to_owned()][..], 0), "{row}");
            assert!(response.extensions().get::<AuthReport>().is_none(), "{row}");
            assert!(api.session.status().is_fresh(), "{row}");
        }
    }
}

// === impl Api ===

impl Api {
    fn new(status: u16, challenges: HeaderMap) -> Self {
        let refreshes = Arc::<Mutex<Vec<_>>>::default();
        let record = Arc::clone(&refreshes);
        let refresher = refresh_fn(move |cx: RefreshContext| {
            record.lock().unwrap().push(cx);
            async { Ok(token("A2 R2 36000")) }
        });
        let session =
            Session::builder(refresher).token(token("A1 R1 36000")).jitter(false).clock(clock()).build();
        let sent = Arc::<Mutex<Vec<_>>>::default();
        let record = Arc::clone(&sent);
        let server = service_fn(move |request: Request<()>| {
            let token = request.headers()[AUTHORIZATION].to_str().unwrap().replace("Bearer ", "");
            let mut response = Response::new(());
            if token == "A1" {
                *response.status_mut() = status.try_into().unwrap();
                response.headers_mut().clone_from(&challenges);
            }
            record.lock().unwrap().push(token);
            async { Ok::<_, BoxError>(response) }
        });
        let client = BoxCloneSyncService::new(AuthLayer::from_session(session.clone()).layer(server));
        Self { client, session, sent, refreshes }
    }
}

fn shown(challenges: &Challenges) -> String {
    let shown = challenges.iter().map(|challenge| {
        let names: Vec<_> = challenge.params().map(|(name, _)| name).collect();
        let names = if names.is_empty() { String::new() } else { format!("{{{}}}", names.join(", ")) };
        challenge.scheme().to_owned() + &names
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// All that was read.
fn text(challenges: &Challenges) -> String {
    let mut text = String::new();
    for challenge in challenges {
        text += challenge.scheme();
        text.extend(challenge.params().flat_map(|(name, value)| [name, "=", value]));
    }
    text
}

fn without_separators(text: &str) -> String {
    text.replace(['"', ',', ' '], "")
}

/// One call a second for ten minutes to a route that the token isn't enough for.
async fn assert_never_refreshed(challenge: &'static str) {
    let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))]);
    let api = Api::new(401, headers);
    for _ in 0..600 {
        let response = api.client.clone().oneshot(get()).await.unwrap();
        assert_eq!(response.status(), 401);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let sent = api.sent.lock().unwrap();
    assert!(sent.len() == 600 && sent.iter().all(|token| token == "A1"), "{} requests", sent.len());
    assert_eq!(api.refreshes.lock().unwrap().len(), 0);
    assert!(api.session.status().is_fresh());
}

#[tokio::test(start_paused = true)]
async fn z99_a_missing_scope_never_causes_a_refresh() {
    assert_never_refreshed(r#"Bearer error="insufficient_scope", scope="admin""#).await;
}

#[tokio::test(start_paused = true)]
async fn z100_a_missing_stronger_sign_in_never_causes_a_refresh() {
    assert_never_refreshed(r#"Bearer error="insufficient_user_authentication", acr_values="mfa""#).await;
}

macro_rules! rows {
    ($($name:ident: $meaning:literal, $source:literal, $status:literal, $fields:expr => $outcome:ident, $read:literal;)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            let row = Row {
                meaning: $meaning,
                source: $source,
                status: $status,
                fields: &$fields,
                outcome: Outcome::$outcome,
                read: $read,
            };
            row.check().await;
        }
    )*};
}

#[rustfmt::skip]
rows! {
    z79_sharepoint_claims_challenge: "SharePoint: claims challenge", "microsoft/FluidFramework, odsp tests",
        401, [r#"Bearer realm="11111111-1111-1111-1111-111111111111",client_id="00000003-0000-0ff1-ce00-000000000000",trusted_issuers="00000001-0000-0000-c000-000000000000@*,11111111-1111-1111-1111-111111111111@*,https://sts.windows.net/*/,00000003-0000-0ff1-ce00-000000000000@11111111-1111-1111-1111-111111111111",authorization_uri="https://login.windows.net/common/oauth2/authorize",error="insufficient_claims",claims="eyJhIjoxfQ==""#]
        => Rejected, "Bearer{realm, client_id, trusted_issuers, authorization_uri, error, claims}";
    z80_exchange_online_two_schemes_in_one_field: "Exchange Online: two schemes in one field", "log of an EWS client",
        401, [r#"Bearer client_id="00000002-0000-0ff1-ce00-000000000000", trusted_issuers="00000001-0000-0000-c000-000000000000@*", token_types="app_asserted_user_v1 service_asserted_app_v1", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize",Basic Realm="""#]
        => Rejected, "Bearer{client_id, trusted_issuers, token_types, authorization_uri}, Basic{Realm}";
    z81_azure_devops_three_fields: "Azure DevOps: three fields", "tests of an sbt plugin",
        401, ["Bearer authorization_uri=https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111", r#"Basic realm="https://pkgs1.pkgs.visualstudio.com/""#, "TFS-Federated"]
        => Rejected, "Bearer{authorization_uri}, Basic{realm}, TFS-Federated";
    z82_azure_storage_unquoted_no_comma: "Azure Storage: unquoted, no comma", "azure-sdk tests",
        401, ["Bearer authorization_uri=https://login.microsoftonline.com/aaaaa/oauth2/authorize resource_id=https://storage.azure.com"]
        => Rejected, "Bearer{authorization_uri, resource_id}";
    z83_dynamics_unquoted: "Dynamics: unquoted", "public code",
        401, ["Bearer authorization_uri=https://login.windows.net/11111111-1111-1111-1111-111111111111/oauth2/authorize, resource_id=https://org.crm.dynamics.com/"]
        => Rejected, "Bearer{authorization_uri, resource_id}";
    z84_yahoo_expired_token: "Yahoo: expired token", "public code",
        401, [r#"OAuth oauth_problem="token_expired", realm="yahooapis.com""#]
        => Rejected, "OAuth{oauth_problem, realm}";
    z85_yahoo_app_not_approved: "Yahoo: app not approved", "public code",
        401, [r#"OAuth oauth_problem="additional_authorization_required""#]
        => Rejected, "OAuth{oauth_problem}";
    z86_twitch: "Twitch", "public code",
        401, [r#"OAuth realm="TwitchTV""#]
        => Rejected, "OAuth{realm}";
    z87_onedrive: "OneDrive", "public code",
        401, [r#"Bearer realm="OneDriveAPI", error="expired_token", error_description="Auth token expired. Try refreshing.""#]
        => Rejected, "Bearer{realm, error, error_description}";
    z88_doorkeeper_of_gitlab_redbooth_and_gumroad: "Doorkeeper (GitLab, Redbooth, Gumroad)", "doorkeeper-gem/doorkeeper",
        401, [r#"Bearer realm="Doorkeeper", error="invalid_token", error_description="The access token was expired""#]
        => Rejected, "Bearer{realm, error, error_description}";
    z89_spotify: "Spotify", "Spotify docs, Web API",
        401, [r#"Bearer realm="spotify", error="invalid_token", error_description="The access token expired""#]
        => Rejected, "Bearer{realm, error, error_description}";
    z90_fos_oauth_server_bundle_and_box_expired_token_invalid_grant: "FOSOAuthServerBundle, Box: expired token, invalid_grant", "public code",
        401, [r#"Bearer realm="Service", error="invalid_grant", error_description="The access token provided has expired.""#]
        => Rejected, "Bearer{realm, error, error_description}";
    z91_elasticsearch: "Elasticsearch", "elastic/elasticsearch, tests",
        401, [r#"Bearer realm="security", error="invalid_token", error_description="The access token expired""#, "ApiKey", r#"Basic realm="security", charset="UTF-8""#]
        => Rejected, "Bearer{realm, error, error_description}, ApiKey, Basic{realm, charset}";
    z92_databricks: "Databricks", "public code",
        401, [r#"Bearer realm="DatabricksRealm""#]
        => Rejected, "Bearer{realm}";
    z93_databricks_expired_token_403_without_a_challenge: "Databricks: expired token, 403 without a challenge", "public code",
        403, []
        => Accepted, "";
    z94_nextcloud: "Nextcloud", "nextcloud/server",
        401, [r#"DummyBasic realm="Authorisation Required""#]
        => Rejected, "DummyBasic{realm}";
    z95_google_cloud_run: "Google Cloud Run", "Google Cloud docs, Cloud Run",
        401, [r#"Bearer error="invalid_token" error_description="The access token could not be verified""#]
        => Rejected, "Bearer{error, error_description}";
    z96_amazon_ecr: "Amazon ECR", "AWS docs, ECR",
        401, [r#"Basic realm="https://111111111111.dkr.ecr.eu-west-2.amazonaws.com/",service="ecr.amazonaws.com""#]
        => Rejected, "Basic{realm, service}";
    z97_mcp_missing_scope: "MCP: missing scope", "MCP specification, authorization",
        403, [r#"Bearer resource_metadata="https://x.example/.well-known/oauth-protected-resource", error="insufficient_scope", error_description="The access token lacks a scope this tool requires", scope="profile:read topics:read""#]
        => StepUp, "Bearer{resource_metadata, error, error_description, scope}";
    z98_quarkus_step_up_by_rfc_9470: "Quarkus: step-up by RFC 9470", "quarkusio/quarkus, tests; RFC 9470 section 3",
        401, [r#"Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="myACR""#]
        => StepUp, "Bearer{error, error_description, acr_values}";
}
