//! Memory that held a secret is wiped before it is freed.

use std::convert::Infallible;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::service_fn;
use tower_reauth::{RefreshContext, Refresher, endpoint::RequestBody, json::JsonEndpoint, oauth2::Client};

use crate::inspecting::found_in_freed;

/// Some servers escape each slash.
const RESPONSE: &str = r#"{"access_token":"NEEDLE-2-access\/==","token_type":"Bearer","expires_in":600,
    "refresh_token":"NEEDLE-2-refresh\/==","id_token":"NEEDLE-2-id\/=="}"#;

fn transport() -> impl tower::Service<
    Request<RequestBody>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send,
> + Clone
+ Send
+ 'static {
    service_fn(|request: Request<RequestBody>| async move {
        drop(request.into_body().into_bytes());
        Ok::<_, Infallible>(Response::new(Full::from(RESPONSE)))
    })
}

fn refresh(refresher: &impl Refresher, refresh_token: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let cx = RefreshContext::default().with_refresh_token(refresh_token);
    drop(runtime.block_on(refresher.refresh(cx)).unwrap());
}

#[test]
fn p14_memory_that_held_a_secret_is_wiped() {
    const URL: &str = "https://id.example.com/token";
    assert!(STANDARD.encode("web:NEEDLE-1-client").starts_with("d2ViOk5FRURMRS0x"));
    // A leak would be found.
    assert_eq!(found_in_freed(|| drop(String::from("NEEDLE-1-plain"))), [1, 0, 0]);
    let mut leaks = Vec::new();
    for length in [0, 3000, 20_000] {
        let refresh_token = format!("NEEDLE-1-refresh{}", "+".repeat(length));
        let web = || Client::try_with_transport(URL, "web", transport()).unwrap();
        let basic =
            || refresh(&web().client_secret_basic("NEEDLE-1-client").refresh_token_grant(), &refresh_token);
        let post =
            || refresh(&web().client_secret_post("NEEDLE-1-client").refresh_token_grant(), &refresh_token);
        let json = || refresh(&JsonEndpoint::try_with_transport(URL, transport()).unwrap(), &refresh_token);
        leaks.extend([
            ("basic", length, found_in_freed(basic)),
            ("post", length, found_in_freed(post)),
            ("json", length, found_in_freed(json)),
        ]);
    }
    leaks.retain(|(_, _, found)| *found != [0; 3]);
    assert!(leaks.is_empty(), "{leaks:?}");
}
