//! Settings for providers.
//!
//! The table lists settings that work with the requests and responses that each provider documents, or that its
//! users have published; a provider can change them at any time, and if yours isn't listed, start with the
//! defaults and see the module `endpoint` for how responses are read.
//!
//! Add your own values: the client ID and secret, scopes, and any field or header that identifies your
//! application. Two rows as code, with the features `oauth2`, `json` and `https`:
//!
//! ```
//! # #[cfg(all(feature = "https", feature = "json", feature = "oauth2"))]
//! # fn example() -> Result<(), tower_reauth::endpoint::InvalidEndpoint> {
//! use tower_reauth::{
//!     endpoint::{ErrorClassifier, FailureKind::{GrantEnded, Transient}, Lifetime},
//!     json::JsonEndpoint,
//!     oauth2,
//! };
//!
//! // Atlassian
//! let client = oauth2::Client::try_new("https://auth.atlassian.com/oauth/token", "my-client")?
//!     .client_secret_post("my-secret")
//!     .error_classifier(ErrorClassifier::new().code("unauthorized_client", GrantEnded));
//! let refresher = client.refresh_token_grant();
//!
//! // Coze
//! let refresher = JsonEndpoint::try_new("https://api.coze.com/api/permission/oauth2/token")?
//!     .extra_field("client_id", "my-client")
//!     .extra_field("grant_type", "refresh_token")
//!     .lifetime(Lifetime::unix_time("expires_in"));
//! # let _ = (client, refresher, Transient);
//! # Ok(())
//! # }
//! ```
//!
//! `GrantEnded` marks the code or status with which the provider reports that the user has to sign in again. Some
//! providers use a general code such as `invalid_request`; with these, a misconfigured client also looks like an
//! ended grant.
//!
//! | provider | refresher | settings | tests |
//! |---|---|---|---|
//! | Apigee | `oauth2::Client` | `.scheme("Bearer")` | z58 |
//! | ASP.NET Core Identity | `JsonEndpoint` | `.refresh_token_field("refreshToken")`<br>`.access_token_path("accessToken")`<br>`.new_refresh_token_path("refreshToken")`<br>`.lifetime(Lifetime::seconds("expiresIn"))`<br>`.error_classifier(ErrorClassifier::new().status(401, GrantEnded))` | z73, z74 |
//! | Atlassian | `oauth2::Client` | `.error_classifier(ErrorClassifier::new().code("unauthorized_client", GrantEnded))` | z28 |
//! | Auth0, with multi-factor authentication | `oauth2::Client` | `.error_classifier(ErrorClassifier::new().code("mfa_required", GrantEnded))` | z52 |
//! | AWS IAM Identity Center (SSO OIDC) | `JsonEndpoint` | `.refresh_token_field("refreshToken")`<br>`.extra_field("grantType", "refresh_token")`<br>`.access_token_path("accessToken")`<br>`.new_refresh_token_path("refreshToken")`<br>`.lifetime(Lifetime::seconds("expiresIn"))` | z44, z45 |
//! | Azure AD B2C | `oauth2::Client` | defaults | z02, z03 |
//! | CJ Dropshipping | `JsonEndpoint` | `.refresh_token_field("refreshToken")`<br>`.access_token_path("/data/accessToken")`<br>`.new_refresh_token_path("/data/refreshToken")`<br>`.lifetime(Lifetime::unix_time("/data/accessTokenExpiryDate"))` | z75 |
//! | Cloud Foundry UAA, SAP XSUAA | `oauth2::Client` | defaults | z35 |
//! | Coze | `JsonEndpoint` | `.extra_field("grant_type", "refresh_token")`<br>`.lifetime(Lifetime::unix_time("expires_in"))` | z72 |
//! | Databricks | `oauth2::Client` | defaults | z37 |
//! | DeviantArt | `oauth2::Client` | `.error_classifier(ErrorClassifier::new().code("invalid_request", GrantEnded))` | z26 |
//! | DingTalk | `JsonEndpoint` | `.refresh_token_field("refreshToken")`<br>`.extra_field("grantType", "refresh_token")`<br>`.access_token_path("accessToken")`<br>`.new_refresh_token_path("refreshToken")`<br>`.lifetime(Lifetime::seconds("expireIn"))` | z18 |
//! | Discord | `oauth2::Client` | defaults | z53 |
//! | Docker registry | `oauth2::Client` | defaults | z54 |
//! | eBay | `oauth2::Client` | `.scheme("Bearer")` | z05, z06 |
//! | EVE Online | `oauth2::Client` | defaults | z59 |
//! | Feishu (Lark), v1 | `JsonEndpoint` | `.extra_field("grant_type", "refresh_token")`<br>`.access_token_path("/data/access_token")`<br>`.new_refresh_token_path("/data/refresh_token")`<br>`.lifetime(Lifetime::seconds("/data/expires_in"))`<br>`.error_classifier(ErrorClassifier::new().code("20037", GrantEnded))` | z14, z16 |
//! | Feishu (Lark), v2 | `JsonEndpoint` | `.extra_field("grant_type", "refresh_token")` | z17 |
//! | Firebase | `JsonEndpoint` | `.extra_field("grant_type", "refresh_token")` | z29 |
//! | Fitbit | `oauth2::Client` | defaults | z24 |
//! | GitHub | `oauth2::Client` | defaults | t12 |
//! | Google | `oauth2::Client` | defaults | z01 |
//! | HubSpot | `oauth2::Client` | `.error_code_path("status")` | z20 |
//! | Keycloak | `oauth2::Client` | defaults | z39 |
//! | Laravel Passport | `oauth2::Client` | `.error_classifier(ErrorClassifier::new().code("invalid_request", GrantEnded))` | z71 |
//! | Matrix | `JsonEndpoint` | `.lifetime(Lifetime::milliseconds("expires_in_ms"))`<br>`.error_code_path("errcode")`<br>`.error_classifier(ErrorClassifier::new().code("M_UNKNOWN_TOKEN", GrantEnded))` | t07 |
//! | Mercado Libre | `oauth2::Client` | defaults | z34 |
//! | Microsoft Entra ID | `oauth2::Client` | defaults | z64 |
//! | QuickBooks | `oauth2::Client` | defaults | z49 |
//! | Reddit | `oauth2::Client` | `.error_classifier(ErrorClassifier::new().code("400", GrantEnded))` | z33 |
//! | Salesforce | `oauth2::Client` | `.error_classifier(ErrorClassifier::new().code("ip restricted", Transient))` | z46, z47, z76 |
//! | Slack | `oauth2::Client` | `.scheme("Bearer")` | z08, z09, z11 |
//! | Spotify | `oauth2::Client` | defaults | z56 |
//! | Strava | `oauth2::Client` | `.error_code_path("/errors/0/resource")`<br>`.error_classifier(ErrorClassifier::new().code("RefreshToken", GrantEnded))` | z23 |
//! | Supabase | `JsonEndpoint` | `.error_code_path("error_code")`<br>`.error_classifier(ErrorClassifier::new().code("refresh_token_already_used", GrantEnded).code("refresh_token_not_found", GrantEnded))` | z30, z31 |
//! | Twitch | `oauth2::Client` | `.error_code_path("message")`<br>`.error_classifier(ErrorClassifier::new().code("Invalid refresh token", GrantEnded))` | z21, z66 |
//! | WeChat | `JsonEndpoint` | `.get()`<br>`.extra_field("grant_type", "refresh_token")`<br>`.error_code_path("errcode")`<br>`.error_classifier(ErrorClassifier::new().code("40030", GrantEnded))` | z13 |
//! | Withings | `oauth2::Client` | `.extra_param("action", "requesttoken")`<br>`.scheme("Bearer")`<br>`.access_token_path("/body/access_token")`<br>`.new_refresh_token_path("/body/refresh_token")`<br>`.lifetime(Lifetime::seconds("/body/expires_in"))`<br>`.error_classifier(ErrorClassifier::new().code("Invalid Params: invalid refresh_token", GrantEnded))` | z40, z42 |
//! | Xee | `oauth2::Client` | `.error_classifier(ErrorClassifier::new().code("invalid_request", GrantEnded))` | z65 |
//!
//! For Django REST framework's simplejwt, use `JsonEndpoint::for_simplejwt`.
//!
//! The last column has the ids of the row's tests. `tests/endpoint/zoo.rs` has their responses and sources.
