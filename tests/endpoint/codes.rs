//! Error codes of token endpoints.

use std::{error::Error as _, time::Duration};

use tokio::time::advance;
use tower_reauth::{
    RefreshError, Refresher,
    endpoint::{EndpointError, ErrorClassifier, FailureKind},
    token::InvalidToken,
};

use crate::{
    classifier::session,
    token_endpoint::{Reply, Server, TOKEN, error, r1, reply},
};

async fn failure(response: Reply) -> RefreshError {
    let server = Server::in_memory([response]);
    server.client().refresh_token_grant().refresh(r1()).await.unwrap_err()
}

fn code(error: &RefreshError) -> Option<&str> {
    EndpointError::find(error).unwrap().code()
}

#[tokio::test(start_paused = true)]
async fn c46_b81_an_error_with_status_200_is_an_error() {
    let dead = failure(error(200, "bad_refresh_token")).await;
    assert!(dead.is_grant_ended());
    assert_eq!(code(&dead), Some("bad_refresh_token"));
    assert!(failure(error(200, "incorrect_client_credentials")).await.is_misconfigured());
    let both = r#"{"access_token":"A2","token_type":"Bearer","error":"invalid_grant"}"#;
    assert!(failure(reply(200, both)).await.is_grant_ended(), "error wins");
    let form = reply(200, "error=bad_refresh_token&error_description=x&access_token=A2");
    assert!(failure(form.header("content-type", "application/x-www-form-urlencoded")).await.is_grant_ended());
    // An error in another form is an error, too.
    for said in [r#""oops""#, "1", "true", r#"{"reason":"x"}"#, r#"["x"]"#] {
        let response = format!(r#"{{"access_token":"A2","token_type":"Bearer","error":{said}}}"#);
        assert!(failure(reply(200, response)).await.is_transient(), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn d43_a_code_is_read_whatever_the_status() {
    let ended = || {
        let codes = ["40030", "20037", "expired"].into_iter();
        codes.fold(ErrorClassifier::new(), |errors, code| errors.code(code, FailureKind::GrantEnded))
    };
    for (path, body, expected) in [
        (Some("errcode"), r#"{"errcode":40030,"errmsg":"invalid refresh_token"}"#, "40030"),
        (None, r#"{"code":20037}"#, "20037"),
        (None, r#"{"code":20037,"access_token":"A2","token_type":"Bearer"}"#, "20037"),
        (Some("/data/code"), r#"{"data":{"code":"expired"},"access_token":"A2"}"#, "expired"),
        // The configured place takes precedence over `error`.
        (Some("code"), r#"{"error":"invalid_client","code":"expired"}"#, "expired"),
    ] {
        for status in [200, 201, 400, 401, 503] {
            let server = Server::in_memory([reply(status, body)]);
            let (client, json) = match path {
                Some(path) => (server.client().error_code_path(path), server.json().error_code_path(path)),
                None => (server.client(), server.json()),
            };
            let grant = client.error_classifier(ended()).refresh_token_grant();
            for error in [
                grant.refresh(r1()).await.unwrap_err(),
                json.error_classifier(ended()).refresh(r1()).await.unwrap_err(),
            ] {
                assert!(error.is_grant_ended(), "{status} {body}: {error:?}");
                assert_eq!(code(&error), Some(expected));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn d43_a_code_that_means_success_is_none() {
    let token = r#""access_token":"A2","token_type":"Bearer""#;
    for (success, response) in [
        (None, r#""code":0"#),
        (None, r#""code":"200""#),
        (None, r#""code":"OK""#),
        (Some("0000"), r#""code":"0000""#),
        (Some("done"), r#""code":"Done""#),
    ] {
        let server = Server::in_memory([reply(200, format!("{{{response},{token}}}"))]);
        let errors = success.map_or(ErrorClassifier::new(), |code| ErrorClassifier::new().success_code(code));
        let grant = server.client().error_code_path("code").error_classifier(errors).refresh_token_grant();
        assert_eq!(grant.refresh(r1()).await.unwrap().access_token(), "A2", "{response}");
    }
    for response in [r#""code":"0000""#, r#""code":201"#] {
        let server = Server::in_memory([reply(200, format!("{{{response},{token}}}"))]);
        let grant = server.client().error_code_path("code").refresh_token_grant();
        assert!(grant.refresh(r1()).await.unwrap_err().is_unexplained(), "{response}");
    }
}

#[tokio::test(start_paused = true)]
async fn d45_an_envelope_with_a_code_for_success_is_not_an_error() {
    for envelope in [
        r#"{"code":"ok","message":"","log_id":"x"}"#,
        r#"{"code":"","message":""}"#,
        r#"{"code":0,"message":"success"}"#,
        r#"{"code":200,"type":""}"#,
        r#"{"code":" ","error":null}"#,
    ] {
        let response = format!(r#"{{"error":{envelope},"access_token":"A2","token_type":"Bearer"}}"#);
        let server = Server::in_memory([reply(200, response)]);
        let token = server.client().refresh_token_grant().refresh(r1()).await.unwrap();
        assert_eq!(token.access_token(), "A2", "{envelope}");
    }
    for envelope in [r#"{"code":null,"message":"m"}"#, r#"{"message":""}"#, r#"{"code":"","type":"x"}"#] {
        let response = format!(r#"{{"error":{envelope},"access_token":"A2","token_type":"Bearer"}}"#);
        assert!(failure(reply(200, response)).await.is_unexplained(), "{envelope}");
    }
}

#[tokio::test(start_paused = true)]
async fn d43_a_status_is_classified_even_if_it_is_a_success_or_a_redirect() {
    let session_over = [
        reply(200, "<html>sign in</html>"),
        reply(200, "{}"),
        reply(204, ""),
        reply(302, "").header("location", "/login"),
        reply(302, "").header("location", "https://login.example.com/"),
        reply(307, ""),
    ];
    let ended = || {
        let statuses = [200, 204, 302, 307].into_iter();
        statuses.fold(ErrorClassifier::new(), |errors, status| errors.status(status, FailureKind::GrantEnded))
    };
    for response in session_over {
        let server = Server::in_memory([response.clone(), reply(200, TOKEN)]);
        let endpoint = server.json().error_classifier(ended());
        let error = endpoint.refresh(r1()).await.unwrap_err();
        assert!(error.is_grant_ended(), "{error:?}");
        // A token is one all the same.
        assert_eq!(endpoint.refresh(r1()).await.unwrap().access_token(), "A2");
        // There is no grant.
        server.set_script([response]);
        assert!(endpoint.without_refresh_token().refresh(r1()).await.unwrap_err().is_misconfigured());
    }
    // A token was issued and is lost.
    let server = Server::in_memory([reply(200, r#"{"access_token":"A2""#)]);
    assert!(server.json().error_classifier(ended()).refresh(r1()).await.unwrap_err().is_outcome_unknown());
}

#[tokio::test(start_paused = true)]
async fn d51_a_path_can_begin_in_a_list() {
    let replies = [
        reply(401, r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#),
        reply(200, r#"[{"data":{"refresh":{"jwt":"A2","next":"R2"}}}]"#),
    ];
    let server = Server::in_memory(replies);
    let endpoint = server
        .json()
        .error_code_path("/0/errorCode")
        .access_token_path("/0/data/refresh/jwt")
        .new_refresh_token_path("/0/data/refresh/next")
        .error_classifier(ErrorClassifier::new().code("INVALID_SESSION_ID", FailureKind::GrantEnded));
    let error = endpoint.refresh(r1()).await.unwrap_err();
    assert!(error.is_grant_ended());
    assert_eq!(code(&error), Some("INVALID_SESSION_ID"));
    let token = endpoint.refresh(r1()).await.unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), ("A2", Some("R2")));
}

#[tokio::test(start_paused = true)]
async fn d48_an_access_token_with_spaces_is_an_error() {
    let body = r#"{"access_token":"error: token is expired by 23m58s","expires_in":0}"#;
    let refused = failure(reply(200, body)).await;
    assert!(refused.is_misconfigured(), "{refused:?}");
    assert!(!format!("{refused:?} {}", EndpointError::find(&refused).unwrap()).contains("expired"));
    // A token from a file ends with a newline.
    let server = Server::in_memory([reply(200, r#"{"access_token":" A2\n"}"#)]);
    assert_eq!(server.json().refresh(r1()).await.unwrap().access_token(), "A2");
}

#[tokio::test(start_paused = true)]
async fn c46_an_empty_error_is_ignored() {
    for nothing in ["null", r#""""#, r#"" ""#, "false", "0", "[]", "{ }"] {
        let response = format!(r#"{{"error":{nothing},"access_token":"A2","token_type":"Bearer"}}"#);
        let server = Server::in_memory([reply(200, response)]);
        let token = server.client().refresh_token_grant().refresh(r1()).await.unwrap();
        assert_eq!(token.access_token(), "A2", "{nothing}");
    }
}

#[tokio::test(start_paused = true)]
async fn c46_b83_b84_a_success_without_a_token_is_transient_and_keeps_r1() {
    for body in [
        "",
        " \r\n",
        "{}",
        r#"{"token_type":"Bearer"}"#,
        r#"{"access_token":null}"#,
        r#"{"access_token":""}"#,
        r#"{"access_token":" \t"}"#,
        r#"{"access_token":[]}"#,
        r#"{"access_token":{"token":"A2"}}"#,
        r#"{"access_token":true}"#,
    ] {
        let server = Server::in_memory([reply(200, body), reply(200, TOKEN)]);
        let (builder, ends) = session(server.client().refresh_token_grant());
        let session = builder.build();
        let error = session.token().await.unwrap_err();
        assert!(error.is_transient(), "{body}: {error:?}");
        assert!(session.try_token().is_none(), "no empty token is ever sent");
        advance(Duration::from_secs(1)).await;
        assert_eq!(session.token().await.unwrap().secret(), "A2", "{body}");
        assert!(
            server.requests().iter().all(|request| request.param("refresh_token").unwrap() == "R1"),
            "{body}"
        );
        assert_eq!((*ends.lock().unwrap(), server.count()), (0, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn c48_an_outage_does_not_end_the_grant() {
    let server = Server::in_memory([
        // A transient failure is retried twice.
        Reply::refused(),
        Reply::refused(),
        Reply::refused(),
        reply(500, "<html>oops</html>").header("content-type", "text/html"),
        // The outcome of the first is unknown, so it is repeated.
        reply(500, "<html>oops</html>").header("content-type", "text/html"),
        reply(502, ""),
        reply(502, ""),
        reply(502, ""),
        reply(429, ""),
        reply(429, ""),
        reply(429, ""),
        reply(401, r#"{"error":""}"#),
        reply(200, TOKEN),
    ]);
    let (builder, ends) = session(server.client().refresh_token_grant());
    let session = builder.build();
    for failures in 1..=5 {
        let error = session.token().await.unwrap_err();
        assert!(error.is_retryable() && !error.is_grant_ended(), "{failures}: {error:?}");
        assert!(session.token().await.is_err(), "no request is made in the backoff");
        advance(Duration::from_secs(120)).await;
    }
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert_eq!((*ends.lock().unwrap(), server.count()), (0, 10));
    assert!(server.requests().iter().all(|request| request.param("refresh_token").unwrap() == "R1"));
}

#[tokio::test(start_paused = true)]
async fn c50_after_a_success_a_refusal_is_retried_at_the_pace_of_the_backoff_again() {
    let refused = || error(400, "invalid_request");
    let server = Server::in_memory([refused(), refused(), reply(200, TOKEN), refused()]);
    let (builder, _) = session(server.client().refresh_token_grant());
    let session = builder.build();
    let mut responses = Vec::new();
    for _ in 0..5 {
        responses.push(session.token().await.is_ok());
        advance(Duration::from_secs(2)).await;
    }
    assert_eq!(responses, [false, false, true, true, true]);
    advance(Duration::from_secs(3600)).await;
    for second in [1, 2, 3] {
        session.token().await.unwrap_err();
        assert_eq!(server.count(), 3 + second);
        advance(Duration::from_secs(4)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c50_b82_the_error_has_status_and_code_and_codes_can_be_classified() {
    let refused = failure(error(400, "invalid_request")).await;
    let found = EndpointError::find(&refused).unwrap();
    assert_eq!((found.status().unwrap().as_u16(), found.code()), (400, Some("invalid_request")));
    assert!(found.to_string().contains("400") && found.to_string().contains("invalid_request"), "{found}");
    let classifier = ErrorClassifier::new()
        .code("Invalid_Request", FailureKind::GrantEnded)
        .code("invalid_grant", FailureKind::Transient)
        .code("oops", FailureKind::Misconfigured);
    for (name, expected) in [
        ("invalid_request", RefreshError::is_grant_ended as fn(&RefreshError) -> bool),
        ("invalid_grant", RefreshError::is_transient),
        ("oops", RefreshError::is_misconfigured),
        ("invalid_client", RefreshError::is_misconfigured),
    ] {
        let server = Server::in_memory([error(400, name)]);
        let refresher = server.client().error_classifier(classifier.clone()).refresh_token_grant();
        assert!(expected(&refresher.refresh(r1()).await.unwrap_err()), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn c50_a_status_can_be_classified_and_a_known_code_takes_precedence() {
    let gone = ErrorClassifier::new()
        .status(410, FailureKind::GrantEnded)
        .status(http::StatusCode::NOT_FOUND.as_u16(), FailureKind::Misconfigured)
        .status(http::StatusCode::INTERNAL_SERVER_ERROR.as_u16(), FailureKind::Transient);
    let refresh_error = async |response| {
        let server = Server::in_memory([response]);
        server.client().error_classifier(gone.clone()).refresh_token_grant().refresh(r1()).await.unwrap_err()
    };
    assert!(refresh_error(reply(410, "")).await.is_grant_ended());
    assert!(refresh_error(reply(404, "<html>")).await.is_misconfigured());
    assert!(refresh_error(reply(500, "")).await.is_transient());
    assert!(refresh_error(error(410, "invalid_client")).await.is_misconfigured());
    assert!(refresh_error(error(404, "invalid_grant")).await.is_grant_ended());
    // With an unknown code the status decides.
    assert!(refresh_error(error(410, "oops")).await.is_grant_ended());
}

#[tokio::test(start_paused = true)]
async fn c52_the_code_inside_an_error_object_is_found() {
    for (body, expected) in [
        (
            r#"{"error":{"message":"m","type":"invalid_request_error","param":null,"code":"refresh_token_reused"}}"#,
            "refresh_token_reused",
        ),
        (r#"{"error":{"type":"invalid_grant"}}"#, "invalid_grant"),
        (r#"{"error":{"error":"invalid_grant"}}"#, "invalid_grant"),
        (r#"{"error":{"code":null,"error":"","type":"invalid_grant"}}"#, "invalid_grant"),
        (r#"{"error":{"code":401,"message":"m"}}"#, "401"),
    ] {
        let refused = failure(reply(401, body)).await;
        assert_eq!(code(&refused), Some(expected), "{body}");
        assert_eq!(refused.is_grant_ended(), expected != "401", "{body}");
        assert!(!format!("{refused:?}").contains("message"), "{refused:?}");
    }
    for body in
        [r#"{"error":{}}"#, r#"{"error":["invalid_grant"]}"#, r#"{"error":{"code":{"code":"x"}}}"#, "{"]
    {
        let refused = failure(reply(401, body)).await;
        assert!(refused.is_transient() && code(&refused).is_none(), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn p18_an_error_about_a_token_has_its_reason_as_its_source() {
    let body = "{\"access_token\":\"A\\u00012\",\"token_type\":\"Bearer\"}";
    let error = failure(reply(200, body)).await;
    let source = EndpointError::find(&error).unwrap().source().expect("a source");
    assert!(source.is::<InvalidToken>(), "{source:?}");
}
