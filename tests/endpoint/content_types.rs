//! Content types are ignored.

use tower_reauth::{RefreshError, Refresher, Token, endpoint::EndpointError};

use crate::token_endpoint::{Reply, Server, TOKEN, r1, reply};

async fn refresh(response: Reply) -> Result<Token, RefreshError> {
    Server::on_loopback([response]).await.client().refresh_token_grant().refresh(r1()).await
}

async fn gives_a2(response: Reply) {
    let token = refresh(response).await.unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), ("A2", Some("R2")));
}

#[tokio::test]
async fn c56_the_content_type_is_ignored() {
    for name in [
        "",
        "text/plain; charset=utf-8",
        "application/json;charset=UTF8",
        "text/html",
        "application/x-www-form-urlencoded",
        "x",
    ] {
        gives_a2(reply(200, TOKEN).header("content-type", name)).await;
        let refused = reply(400, r#"{"error":"invalid_grant"}"#).header("content-type", name);
        let error = refresh(refused).await.unwrap_err();
        assert!(error.is_grant_ended(), "{name}");
        assert_eq!(EndpointError::find(&error).unwrap().code(), Some("invalid_grant"), "{name}");
    }
}

#[tokio::test]
async fn c57_json_is_requested_and_a_form_is_accepted() {
    let form = "access_token=A2&expires_in=5&refresh_token=R2";
    let server = Server::on_loopback([reply(200, form)]).await;
    let token = server.client().refresh_token_grant().refresh(r1()).await.unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), ("A2", Some("R2")));
    assert_eq!(server.requests()[0].header("accept"), "application/json");
    server.json().refresh(r1()).await.unwrap();
    assert_eq!(server.requests()[1].header("accept"), "application/json");

    gives_a2(reply(200, "token_type=bearer&refresh_token=R2&access_token=A2\r\n")).await;
    let token = refresh(reply(200, "access_token=a%2Fb%3D&refresh_token=R+2&x=%FF")).await.unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), ("a/b=", Some("R 2")));
    let error = refresh(reply(400, "error=invalid_grant&error_description=dead")).await.unwrap_err();
    assert!(error.is_grant_ended());
}

#[tokio::test]
async fn t17_a_byte_order_mark_and_whitespace_are_skipped() {
    for around in ["\u{feff}", "\u{feff}\u{feff}", "\r\n\t ", "\u{feff} "] {
        gives_a2(reply(200, format!("{around}{TOKEN}\r\n"))).await;
    }
}

#[tokio::test]
async fn c56_text_after_the_object_is_ignored() {
    for after in ["\n", "}", "garbage", "<!-- page -->", r#"{"error":"x"}"#, "\0\0"] {
        gives_a2(reply(200, format!("{TOKEN}{after}"))).await;
    }
}

#[tokio::test]
async fn c56_invalid_utf8_in_a_message_does_not_hide_the_rest() {
    // Latin-1, invalid UTF-8, and truncated UTF-8.
    for message in [&b"d\xe9j\xe0 vu"[..], b"\xff\xfe", b"cut \xe2\x82"] {
        let around = |before: &str, after: &str| [before.as_bytes(), message, after.as_bytes()].concat();
        gives_a2(reply(200, around(r#"{"hint":""#, r#"","access_token":"A2","refresh_token":"R2"}"#))).await;
        let refused = around(r#"{"error":"invalid_grant","error_description":""#, r#""}"#);
        assert!(refresh(reply(400, refused)).await.unwrap_err().is_grant_ended());
    }
}

#[tokio::test]
async fn c95_a_token_with_invalid_bytes_is_an_error_and_never_another_token() {
    for body in [
        &b"{\"access_token\":\"A\xe92\",\"token_type\":\"Bearer\"}"[..],
        b"{\"access_token\":\"A\xc3\xa92\",\"token_type\":\"Bearer\"}",
        b"access_token=A%E92&token_type=Bearer",
        b"access_token=A\xe92&token_type=Bearer",
        br#"{"access_token":"A\u00e92","token_type":"Bearer"}"#,
        br#"{"access_token":"A\n2","token_type":"Bearer"}"#,
        br#"{"access_token":"A\u00002","token_type":"Bearer"}"#,
    ] {
        let error = refresh(reply(200, body)).await.unwrap_err();
        assert!(error.is_misconfigured(), "{}: {error:?}", String::from_utf8_lossy(body));
    }
}

#[tokio::test]
async fn c56_json_escapes_are_decoded() {
    let token = refresh(reply(200, r#"{"\u0061ccess_token":"A\u0032\/","token_type":"b\u0065arer"}"#)).await;
    assert_eq!(token.unwrap().access_token(), "A2/");
}

#[tokio::test]
async fn c57_an_error_about_another_body_names_only_its_type_and_length() {
    let page = "<html>SENTINEL</html>";
    for (response, words) in [
        (
            reply(200, page).header("content-type", "text/html; charset=utf-8"),
            "21 bytes of text/html; charset=utf-8",
        ),
        (reply(200, page).header("content-type", ""), "21 bytes of unknown type"),
        (reply(200, "").header("content-type", ""), "empty body"),
        (reply(200, r#""SENTINEL""#), "10 bytes of application/json"),
        (reply(200, r#"["SENTINEL"]"#), "200 without `access_token`"),
        (reply(200, "SENTINEL"), "8 bytes of application/json"),
        (reply(200, "<a href=SENTINEL>"), "17 bytes"),
        (reply(200, r#"{"access_token" "SENTINEL"}"#), "27 bytes"),
    ] {
        let error = refresh(response).await.unwrap_err();
        assert!(error.is_transient(), "{words}: {error:?}");
        let found = EndpointError::find(&error).unwrap();
        assert_eq!(found.status().unwrap(), 200);
        assert!(found.to_string().contains(words), "{found}");
        assert!(!format!("{error:?} {found}").contains("SENTINEL"), "{error:?}");
    }
}

#[tokio::test]
async fn c19_truncated_json_is_a_lost_response() {
    for cut in [
        "{",
        r#"{"access_token":"A2"#,
        r#"{"access_token":"A2","#,
        r#"{"access_token":"A2","x":{"y":[1,"#,
        "{\"a\":tr",
    ] {
        let error = refresh(reply(200, cut)).await.unwrap_err();
        assert!(error.is_outcome_unknown(), "{cut}: {error:?}");
        assert!(EndpointError::find(&error).unwrap().to_string().contains("truncated"), "{error:?}");
    }
    for cut in [r#"{"expires_in":-"#, r#"{"expires_in":1."#, r#"{"expires_in":1e"#, r#"{"expires_in":1e+"#] {
        assert!(refresh(reply(200, cut)).await.unwrap_err().is_outcome_unknown(), "{cut}");
    }
    // Invalid JSON is not truncated JSON.
    for wrong in ["{hello.", r#"{"a":-x}"#, r#"{"a":1.}"#, "{\n\"a\":\n1e}"] {
        assert!(refresh(reply(200, wrong)).await.unwrap_err().is_transient(), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn c56_an_unpaired_surrogate_in_a_name_does_not_hide_the_rest() {
    let response = r#"{"\ud800":1,"access_token":"A2","token_type":"Bearer"}"#;
    let server = Server::in_memory([reply(200, response)]);
    let token = server.client().refresh_token_grant().refresh(r1()).await.unwrap();
    assert_eq!(token.access_token(), "A2");
}
