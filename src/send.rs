//! Calls by clients that aren't tower services.

use std::future::Future;

use crate::{
    error::Error,
    request::rejection::Verdict,
    session::{Session, TokenOptions},
    token::AccessToken,
};

// === impl Session ===

impl Session {
    /// Makes a call through a client that isn't a tower service. If the server rejects the token, retries once with
    /// a newer one.
    ///
    /// `call` attaches the token that it gets. `judge` decides from the call's result whether the server
    /// rejected the token; for responses over HTTP, [`Verdict::of_status`] decides as the layer does.
    ///
    /// Returns the result of the last call; if no newer token can be obtained, that of the rejected call, and
    /// [`status`](Self::status) has the reason. Unlike the layer, it doesn't check where the token is sent: see
    /// [`AuthLayer::allows`](crate::AuthLayer::allows).
    ///
    /// # Examples
    ///
    /// ```
    /// use http::{HeaderMap, StatusCode};
    /// use tower_reauth::{AccessToken, RefreshContext, Session, Token, refresh_fn, rejection::Verdict};
    ///
    /// /// Some client's response.
    /// struct Response {
    ///     status: StatusCode,
    ///     headers: HeaderMap,
    /// }
    ///
    /// async fn fetch(token: &str) -> std::io::Result<Response> {
    ///     let status = if token == "A2" { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    ///     Ok(Response { status, headers: HeaderMap::new() })
    /// }
    ///
    /// # tokio_test::block_on(async {
    /// let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
    /// let session = Session::builder(refresher).token(Token::try_new("A1")?).build();
    ///
    /// let call = async |token: AccessToken| fetch(token.secret()).await;
    /// let judge = |result: &std::io::Result<Response>| match result {
    ///     Ok(response) => Verdict::of_status(response.status, &response.headers),
    ///     Err(_) => Verdict::Accept,
    /// };
    /// let response = session.send(call, judge).await??;
    /// assert_eq!(response.status, StatusCode::OK);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token): there is no token, and nothing was called.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call and the wait; a refresh continues, and a rejected token stays marked.
    pub async fn send<T, F>(
        &self,
        call: impl FnMut(AccessToken) -> F,
        judge: impl Fn(&T) -> Verdict,
    ) -> Result<T, Error>
    where
        F: Future<Output = T>,
    {
        self.send_with(TokenOptions::new(), call, judge).await
    }

    /// Makes a call with a token, like [`send`](Self::send), with options for both of its waits.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn send_with<T, F>(
        &self,
        options: TokenOptions,
        mut call: impl FnMut(AccessToken) -> F,
        judge: impl Fn(&T) -> Verdict,
    ) -> Result<T, Error>
    where
        F: Future<Output = T>,
    {
        let token = self.token_with(options).await?;
        let first = call(token.clone()).await;
        let Verdict::Reject(challenges) = judge(&first) else { return Ok(first) };
        let newer = self.token_after_rejection_with(&token, challenges, options).await;
        // The server's response says more than the error of a refresh.
        let Ok(newer) = newer else { return Ok(first) };
        drop(first);
        self.record_retry("rule");
        let second = call(newer.clone()).await;
        if let Verdict::Reject(challenges) = judge(&second) {
            self.note_rejection(newer.id(), challenges);
        }
        Ok(second)
    }
}
