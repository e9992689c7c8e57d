//! [`Session::tokens`].

use std::sync::Arc;

use futures_util::{
    StreamExt,
    stream::{Stream, unfold},
};

use crate::token::AccessToken;

use super::Session;

// === impl Session ===

impl Session {
    /// The current token, and then each new one, for connections that have to be given the next token before theirs
    /// expires.
    ///
    /// Ends when the session is signed out, when another user signs in, and when its last clone is dropped. A token that
    /// is replaced before the stream is polled is left out. The stream starts no refresh: calls do, or
    /// [`keep_fresh`](Self::keep_fresh).
    ///
    /// # Examples
    ///
    /// Authenticate a connection again whenever there is a new token:
    ///
    /// ```no_run
    /// use std::pin::pin;
    /// use futures::StreamExt;
    ///
    /// # struct Connection;
    /// # impl Connection {
    /// #     async fn authenticate(&mut self, _: &str) -> std::io::Result<()> { Ok(()) }
    /// # }
    /// # async fn example(session: tower_reauth::Session, mut connection: Connection) -> std::io::Result<()> {
    /// tokio::spawn(session.keep_fresh());
    /// let mut tokens = pin!(session.tokens());
    /// while let Some(token) = tokens.next().await {
    ///     connection.authenticate(token.secret()).await?;
    /// }
    /// // Signed out: close the connection.
    /// # Ok(())
    /// # }
    /// ```
    pub fn tokens(&self) -> impl Stream<Item = AccessToken> + Send + use<> {
        let (session, watch) = (Arc::downgrade(&self.shared), self.watch());
        let epoch = self.shared.lock().machine.token_id().epoch;
        let tokens = unfold((watch, None::<AccessToken>), move |(mut watch, last)| {
            let session = session.clone();
            async move {
                loop {
                    let session = Session { shared: session.upgrade()? };
                    session.check(epoch).ok()?;
                    let token = session.try_token();
                    drop(session);
                    let is_new = |token: &AccessToken| {
                        token.id().epoch.is_same_sign_in(epoch)
                            && last.as_ref().is_none_or(|last| token.generation() > last.generation())
                    };
                    if let Some(token) = token.filter(is_new) {
                        return Some((token.clone(), (watch, Some(token))));
                    }
                    watch.changed().await.ok()?;
                }
            }
        });
        tokens.fuse()
    }
}
