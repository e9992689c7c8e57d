//! A server, a token endpoint, and a generated client over a channel with the layer.

use std::time::Duration;

use futures::{TryStreamExt, stream};
use tokio::time::timeout;
use tonic::{Status, transport::Channel};
use tower_reauth::{Session, SessionBuilder, grpc};

use crate::{
    greeter::{Name, greeter_client::GreeterClient},
    server::{CheckedBy, Server, State},
    support::{Endpoint, endpoint, token},
};

/// Longer than any test waits if it passes.
pub(crate) const LONG: Duration = Duration::from_secs(300);

pub(crate) type Client = GreeterClient<grpc::GrpcAuth<Channel>>;

pub(crate) struct Setup {
    pub(crate) server: Server,
    pub(crate) endpoint: Endpoint,
    pub(crate) session: Session,
    pub(crate) channel: Channel,
    pub(crate) client: Client,
}

/// The four kinds of call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Unary,
    ServerStream,
    ClientStream,
    Both,
}

pub(crate) const KINDS: [Kind; 4] = [Kind::Unary, Kind::ServerStream, Kind::ClientStream, Kind::Both];

// === impl Setup ===

impl Setup {
    /// A session with the given token, written as in `token`. The server accepts none yet.
    pub(crate) async fn new(first: &str) -> Self {
        Self::with(first, CheckedBy::Interceptor, |session| session).await
    }

    pub(crate) async fn with(
        first: &str,
        checked_by: CheckedBy,
        change: impl FnOnce(SessionBuilder) -> SessionBuilder,
    ) -> Self {
        let server = Server::start(checked_by).await;
        let (refresher, endpoint) = endpoint();
        let builder = Session::builder(refresher).token(token(first)).jitter(false);
        let session = change(builder).build();
        let channel = server.channel().await;
        let client = GreeterClient::new(session.layer().grpc(channel.clone()));
        Self { server, endpoint, session, channel, client }
    }

    pub(crate) fn state(&self) -> &State {
        &self.server.state
    }

    /// Responds to the refresher's next call with a token that the server accepts.
    pub(crate) async fn refresh_with(&mut self, spec: &str) {
        let call = timeout(LONG, self.endpoint.next_call()).await.expect("a call of the refresher");
        self.state().accept(spec.split(' ').next().unwrap());
        call.succeed(spec);
    }

    /// Returns once so many callers wait for a token.
    pub(crate) async fn waiting(&self, callers: usize) {
        let all = async {
            while self.session.status().waiters() < callers {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, all).await.expect("that many callers wait");
    }
}

pub(crate) fn name(name: &str) -> Name {
    Name { name: name.to_owned(), times: 3 }
}

pub(crate) fn names() -> Vec<Name> {
    ["Ada", "Bob", "Cyd"].map(name).into()
}

// === impl Kind ===

impl Kind {
    /// Makes a call and asserts that its response is complete.
    pub(crate) async fn call(self, mut client: Client) -> Result<(), Status> {
        let (text, expected) = match self {
            Self::Unary => (client.greet(name("Ada")).await?.into_inner().text, "hello Ada"),
            Self::ServerStream => {
                let greetings = client.greet_often(name("Ada")).await?.into_inner();
                (join(greetings).await?, "hello Ada; hello Ada; hello Ada")
            }
            Self::ClientStream => {
                let names = stream::iter(names());
                (client.greet_all(names).await?.into_inner().text, "hello Ada, Bob, Cyd")
            }
            Self::Both => {
                let greetings = client.greet_each(stream::iter(names())).await?.into_inner();
                (join(greetings).await?, "hello Ada; hello Bob; hello Cyd")
            }
        };
        assert_eq!(text, expected, "{self:?}");
        Ok(())
    }
}

pub(crate) async fn join(greetings: tonic::Streaming<crate::greeter::Greeting>) -> Result<String, Status> {
    let texts: Vec<_> = greetings.map_ok(|greeting| greeting.text).try_collect().await?;
    Ok(texts.join("; "))
}
