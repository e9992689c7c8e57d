//! The table of `docs::providers`: each of its rows is built here, and run through the responses of its tests.

use tower_reauth::{
    Session, SessionBuilder,
    endpoint::{
        Endpoint, ErrorClassifier,
        FailureKind::{GrantEnded, Transient},
        Lifetime,
    },
    json::JsonEndpoint,
    oauth2::Client,
};

use crate::zoo::row;

struct Provider {
    name: &'static str,
    refresher: &'static str,
    /// One call of a method each.
    settings: &'static [&'static str],
    /// The query and the body of its request.
    request: &'static str,
    tests: &'static [&'static str],
    session: fn(Endpoint) -> SessionBuilder,
}

/// A refresher of the crate.
trait BuiltIn {
    const NAME: &str;

    fn with(endpoint: Endpoint) -> Self;

    fn session(self) -> SessionBuilder;
}

impl BuiltIn for Client {
    const NAME: &str = "oauth2::Client";

    fn with(endpoint: Endpoint) -> Self {
        Self::new(endpoint, "web")
    }

    fn session(self) -> SessionBuilder {
        Session::builder(self.refresh_token_grant())
    }
}

impl BuiltIn for JsonEndpoint {
    const NAME: &str = "JsonEndpoint";

    fn with(endpoint: Endpoint) -> Self {
        Self::new(endpoint)
    }

    fn session(self) -> SessionBuilder {
        Session::builder(self)
    }
}

const OAUTH2: &str = "grant_type=refresh_token&refresh_token=R1&client_id=web";
const JSON: &str = r#"{"refresh_token":"R1"}"#;

macro_rules! providers {
    ($($name:literal: $refresher:ident ($(.$set:ident($($value:tt)*))*), $request:expr, [$($test:ident),+];)*) => {
        const PROVIDERS: &[Provider] = &[$(Provider {
            name: $name,
            refresher: <$refresher as BuiltIn>::NAME,
            settings: &[$(concat!(".", stringify!($set), "(", stringify!($($value)*), ")")),*],
            request: $request,
            tests: &[$(stringify!($test)),+],
            session: |endpoint| <$refresher as BuiltIn>::with(endpoint)$(.$set($($value)*))*.session(),
        }),*];
    };
}

#[rustfmt::skip]
providers! {
    "Apigee": Client(.scheme("Bearer")), OAUTH2,
        [z58_apigee_token_type_bearertoken_scheme_set];
    "ASP.NET Core Identity": JsonEndpoint(.refresh_token_field("refreshToken").access_token_path("accessToken").new_refresh_token_path("refreshToken").lifetime(Lifetime::seconds("expiresIn")).error_classifier(ErrorClassifier::new().status(401, GrantEnded))), r#"{"refreshToken":"R1"}"#,
        [z73_asp_net_core_identity_token, z74_asp_net_core_identity_dead_grant_status_classified];
    "Atlassian": Client(.error_classifier(ErrorClassifier::new().code("unauthorized_client", GrantEnded))), OAUTH2,
        [z28_atlassian_dead_grant_classified];
    "Auth0, with multi-factor authentication": Client(.error_classifier(ErrorClassifier::new().code("mfa_required", GrantEnded))), OAUTH2,
        [z52_auth0_second_factor_required_classified];
    "AWS IAM Identity Center (SSO OIDC)": JsonEndpoint(.refresh_token_field("refreshToken").extra_field("grantType", "refresh_token").access_token_path("accessToken").new_refresh_token_path("refreshToken").lifetime(Lifetime::seconds("expiresIn"))), r#"{"refreshToken":"R1","grantType":"refresh_token"}"#,
        [z44_aws_sso_oidc_token, z45_aws_sso_oidc_dead_grant];
    "Azure AD B2C": Client(), OAUTH2,
        [z02_azure_ad_b2c_token, z03_azure_ad_b2c_dead_grant];
    "CJ Dropshipping": JsonEndpoint(.refresh_token_field("refreshToken").access_token_path("/data/accessToken").new_refresh_token_path("/data/refreshToken").lifetime(Lifetime::unix_time("/data/accessTokenExpiryDate"))), r#"{"refreshToken":"R1"}"#,
        [z75_cj_dropshipping_expiry_as_a_date];
    "Cloud Foundry UAA, SAP XSUAA": Client(), OAUTH2,
        [z35_cloud_foundry_uaa_sap_xsuaa_dead_grant];
    "Coze": JsonEndpoint(.extra_field("grant_type", "refresh_token").lifetime(Lifetime::unix_time("expires_in"))), r#"{"refresh_token":"R1","grant_type":"refresh_token"}"#,
        [z72_qpay_coze_an_instant_as_expires_in_set];
    "Databricks": Client(), OAUTH2,
        [z37_databricks_dead_grant];
    "DeviantArt": Client(.error_classifier(ErrorClassifier::new().code("invalid_request", GrantEnded))), OAUTH2,
        [z26_deviantart_dead_grant_classified];
    "DingTalk": JsonEndpoint(.refresh_token_field("refreshToken").extra_field("grantType", "refresh_token").access_token_path("accessToken").new_refresh_token_path("refreshToken").lifetime(Lifetime::seconds("expireIn"))), r#"{"refreshToken":"R1","grantType":"refresh_token"}"#,
        [z18_dingtalk_token];
    "Discord": Client(), OAUTH2,
        [z53_discord_throttled];
    "Docker registry": Client(), OAUTH2,
        [z54_docker_registry_token_without_a_type];
    "eBay": Client(.scheme("Bearer")), OAUTH2,
        [z05_ebay_another_token_type_scheme_set, z06_ebay_a_word_for_no_refresh_token];
    "EVE Online": Client(), OAUTH2,
        [z59_eve_online_dead_grant_code_followed_by_words];
    "Feishu (Lark), v1": JsonEndpoint(.extra_field("grant_type", "refresh_token").access_token_path("/data/access_token").new_refresh_token_path("/data/refresh_token").lifetime(Lifetime::seconds("/data/expires_in")).error_classifier(ErrorClassifier::new().code("20037", GrantEnded))), r#"{"refresh_token":"R1","grant_type":"refresh_token"}"#,
        [z14_feishu_v1_token_in_an_envelope, z16_feishu_v1_dead_grant_code_at_its_default_place];
    "Feishu (Lark), v2": JsonEndpoint(.extra_field("grant_type", "refresh_token")), r#"{"refresh_token":"R1","grant_type":"refresh_token"}"#,
        [z17_feishu_v2_dead_grant];
    "Firebase": JsonEndpoint(.extra_field("grant_type", "refresh_token")), r#"{"refresh_token":"R1","grant_type":"refresh_token"}"#,
        [z29_firebase_token];
    "Fitbit": Client(), OAUTH2,
        [z24_fitbit_dead_grant_code_in_a_list];
    "GitHub": Client(), OAUTH2,
        [t12_github_dead_grant_with_200];
    "Google": Client(), OAUTH2,
        [z01_google_reauthentication_required];
    "HubSpot": Client(.error_code_path("status")), OAUTH2,
        [z20_hubspot_dead_grant_its_own_code_classified];
    "Keycloak": Client(), OAUTH2,
        [z39_keycloak_refresh_token_reused];
    "Laravel Passport": Client(.error_classifier(ErrorClassifier::new().code("invalid_request", GrantEnded))), OAUTH2,
        [z71_laravel_passport_dead_grant_classified];
    "Matrix": JsonEndpoint(.lifetime(Lifetime::milliseconds("expires_in_ms")).error_code_path("errcode").error_classifier(ErrorClassifier::new().code("M_UNKNOWN_TOKEN", GrantEnded))), JSON,
        [t07_matrix_token, t07_matrix_dead_grant_classified];
    "Mercado Libre": Client(), OAUTH2,
        [z34_mercado_libre_dead_grant];
    "Microsoft Entra ID": Client(), OAUTH2,
        [z64_entra_throttled_request_loop];
    "QuickBooks": Client(), OAUTH2,
        [z49_quickbooks_token];
    "Reddit": Client(.error_classifier(ErrorClassifier::new().code("400", GrantEnded))), OAUTH2,
        [z33_reddit_dead_grant_numeric_code_classified];
    "Salesforce": Client(.error_classifier(ErrorClassifier::new().code("ip restricted", Transient))), OAUTH2,
        [z46_salesforce_token_without_a_lifetime, z47_salesforce_dead_grant, z76_salesforce_not_allowed_from_this_network_classified];
    "Slack": Client(.scheme("Bearer")), OAUTH2,
        [z08_slack_token_type_bot_scheme_set, z09_slack_dead_grant_with_200, z11_slack_throttled];
    "Spotify": Client(), OAUTH2,
        [z56_spotify_dead_grant];
    "Strava": Client(.error_code_path("/errors/0/resource").error_classifier(ErrorClassifier::new().code("RefreshToken", GrantEnded))), OAUTH2,
        [z23_strava_dead_grant_code_in_a_list];
    "Supabase": JsonEndpoint(.error_code_path("error_code").error_classifier(ErrorClassifier::new().code("refresh_token_already_used", GrantEnded).code("refresh_token_not_found", GrantEnded))), JSON,
        [z30_supabase_refresh_token_already_used_classified, z30_supabase_refresh_token_not_found_classified, z31_supabase_token];
    "Twitch": Client(.error_code_path("message").error_classifier(ErrorClassifier::new().code("Invalid refresh token", GrantEnded))), OAUTH2,
        [z21_twitch_dead_grant_its_message_classified, z66_twitch_scopes_as_a_list];
    "WeChat": JsonEndpoint(.get().extra_field("grant_type", "refresh_token").error_code_path("errcode").error_classifier(ErrorClassifier::new().code("40030", GrantEnded))), "refresh_token=R1&grant_type=refresh_token",
        [z13_wechat_dead_grant_with_200_classified];
    "Withings": Client(.extra_param("action", "requesttoken").scheme("Bearer").access_token_path("/body/access_token").new_refresh_token_path("/body/refresh_token").lifetime(Lifetime::seconds("/body/expires_in")).error_classifier(ErrorClassifier::new().code("Invalid Params: invalid refresh_token", GrantEnded))), "grant_type=refresh_token&refresh_token=R1&action=requesttoken&client_id=web",
        [z40_withings_token_in_an_envelope, z42_withings_dead_grant_with_200_classified];
    "Xee": Client(.error_classifier(ErrorClassifier::new().code("invalid_request", GrantEnded))), OAUTH2,
        [z65_xee_dead_grant_classified];
}

// === impl Provider ===

impl Provider {
    /// The provider's line in the docs.
    fn line(&self) -> String {
        let Self { name, refresher, settings, tests, .. } = self;
        // `stringify` breaks long lines.
        let one_line = |call: &str| call.split_whitespace().collect::<Vec<_>>().join(" ");
        let settings: Vec<_> = settings.iter().map(|call| format!("`{}`", one_line(call))).collect();
        let settings = if settings.is_empty() { "defaults".to_owned() } else { settings.join("<br>") };
        let mut ids: Vec<_> = tests.iter().map(|test| test.split('_').next().unwrap()).collect();
        ids.dedup();
        format!("//! | {name} | `{refresher}` | {settings} | {} |", ids.join(", "))
    }
}

#[test]
fn the_table_of_providers_has_the_settings_that_are_tested() {
    let docs = include_str!("../../src/docs/providers.rs");
    let documented: Vec<_> = docs.lines().filter(|line| line.starts_with("//! | ")).skip(1).collect();
    let tested: Vec<_> = PROVIDERS.iter().map(Provider::line).collect();
    assert!(tested == documented, "the table should be:\n{}", tested.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn the_settings_of_each_provider_give_the_outcomes_of_its_tests() {
    for provider in PROVIDERS {
        for test in provider.tests {
            let row = row(test);
            let (request, outcome) = row.run(provider.session).await;
            assert_eq!(outcome, row.outcome, "{}: {test}", provider.name);
            assert_eq!(request, provider.request, "{}: {test}", provider.name);
        }
    }
}
