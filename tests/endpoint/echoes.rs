//! A token that an endpoint writes into its error code, or into its token type.

use tower_reauth::{Refresher, Token, endpoint::EndpointError};

use crate::fixed::{URL, client, json, r1};

#[tokio::test]
async fn p14_a_token_that_is_echoed_as_a_code_is_not_shown() {
    let secret = "R1-opaque-and-secret";
    for body in [
        r#"{"error":"R1-opaque-and-secret"}"#,
        r#"{"error":"refresh token R1-opaque-and-secret is unknown"}"#,
        r#"{"error":"this is a long way to say that there is no refresh token R1-opaque-and-secret"}"#,
    ] {
        for error in [
            json(400, body).refresh(r1()).await.unwrap_err(),
            client(400, body).refresh_token_grant().refresh(r1()).await.unwrap_err(),
        ] {
            let found = EndpointError::find(&error).unwrap();
            let told = format!("{found} {error:?} {:?}", found.code());
            assert!(!told.contains(&secret[..4]), "{told}");
        }
        let token = Token::builder("A1-opaque").refresh_token(secret).build().unwrap();
        let revocation = client(400, body).revocation(URL).unwrap();
        let told = format!("{:?}", revocation.revoke(&token).await.unwrap_err());
        assert!(!told.contains(&secret[..4]), "{told}");
    }
}

#[tokio::test]
async fn p14_a_token_that_is_echoed_as_a_type_is_not_shown() {
    let body = r#"{"access_token":"A2","token_type":"R1-opaque-and-secret"}"#;
    let error = client(200, body).refresh_token_grant().refresh(r1()).await.unwrap_err();
    let found = EndpointError::find(&error).unwrap();
    assert!(found.token_type().is_some());
    let told = format!("{found} {error:?} {:?}", found.token_type());
    assert!(!told.contains("R1-o"), "{told}");
}
