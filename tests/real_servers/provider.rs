//! Other grants, authentication and scopes.

use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower_reauth::{Session, endpoint::EndpointError, oauth2};

use crate::{
    servers::{Kind, Server},
    setup::{Provider, Setup},
};

pub(crate) fn client(server: &Server, id: &str) -> oauth2::Client {
    let transport = Client::builder(TokioExecutor::new()).build_http();
    oauth2::Client::try_with_transport(server.token_url(), id, transport).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn client_credentials_are_granted_with_both_authentication_methods() {
    for kind in [Kind::Oidc, Kind::Dot] {
        let Some(server) = Server::start(kind, &[]) else { return };
        let service = client(&server, "service").scopes(["api"]);
        for service in [
            service.clone().client_secret_basic("service-secret"),
            service.client_secret_post("service-secret"),
        ] {
            let session = Session::builder(service.client_credentials_grant()).build();
            let token = session.token().await.unwrap();
            assert_eq!((token.generation(), token.expires_at().is_some()), (1, true), "{kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c53_a_wrong_secret_signs_nobody_out_and_can_be_fixed() {
    for kind in [Kind::Oidc, Kind::Dot] {
        let Some(server) = Server::start(kind, &[]) else { return };
        let grant = server.sign_in().await;
        let wrong = client(&server, "web").client_secret_basic("wrong").refresh_token_grant();
        let setup = Setup::of(&server, wrong, &grant, |session| session);
        let error = setup.session.refresh().await.unwrap_err();
        assert!(error.is_misconfigured() && !setup.session.status().is_grant_ended(), "{error:?}");
        assert_eq!(EndpointError::find(&error).unwrap().code(), Some("invalid_client"));
        // The refresh token is still valid.
        let right = Provider::of(&server).refresher();
        let setup = Setup::of(&server, right, &grant, |session| session);
        setup.session.refresh().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c86_each_refresh_requests_the_scope() {
    for kind in [Kind::Oidc, Kind::Dot] {
        let Some(server) = Server::start(kind, &[]) else { return };
        let web = client(&server, "web").client_secret_basic("web-secret");
        let grant = server.sign_in().await;
        let narrow =
            Setup::of(&server, web.clone().scopes(["api"]).refresh_token_grant(), &grant, |session| session);
        narrow.session.refresh().await.unwrap();
        // A scope that was never granted is a misconfiguration.
        let grant = server.sign_in().await;
        let wide =
            Setup::of(&server, web.scopes(["api", "admin"]).refresh_token_grant(), &grant, |session| session);
        let error = wide.session.refresh().await.unwrap_err();
        assert!(error.is_misconfigured(), "{error:?}");
        assert_eq!(EndpointError::find(&error).unwrap().code(), Some("invalid_scope"), "{kind:?}");
    }
}
