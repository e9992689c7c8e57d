//! Clients: how to attach a token with each kind.
//!
//! | client | how |
//! |---|---|
//! | hyper-util, or any other tower service | [`session.layer()`](crate::Session::layer) in a `ServiceBuilder`; see [layer order](super::layer_order) |
//! | reqwest | `session.layer().reqwest(client)`; among tower's layers, `for_reqwest()` and `reqwest_service(client)`; see the module `reqwest` |
//! | reqwest-middleware | `.with(session.layer().for_reqwest())`; see the module `reqwest` |
//! | tonic | `session.layer().grpc(channel)`; see [below](#grpc) |
//! | a WebSocket | [`Session::send`](crate::Session::send) around the handshake; see [below](#websockets) |
//! | object_store, kube, an axum gateway | the layer among the client's own; see [complete programs](#complete-programs) |
//! | anything else | [`Session::send`](crate::Session::send); see [below](#other-clients) |
//!
//! All clients of one user should share a session: they then share its refresh.
//!
//! The layer needs a service that is `Clone`; `tower::buffer::Buffer` makes one of any other. If the compiler
//! doesn't find `ready`, `oneshot` or `call` on a layered client, see [rejections](super::rejections#bodies).
//!
//! # gRPC
//!
//! With the feature `grpc`, for tonic 0.14:
//!
//! ```toml
//! [dependencies]
//! tower-reauth = { version = "0.1", features = ["grpc", "https-ring", "oauth2"] }
//! tonic = { version = "0.14", features = ["tls-ring", "tls-native-roots"] }
//! ```
//!
//! The layer's service takes the channel's place in a generated client. Its methods are called as usual,
//! whether the request, the response or both are streams:
//!
//! ```
//! # #[cfg(feature = "grpc")]
//! # mod example {
//! # struct GreeterClient<T>(std::marker::PhantomData<T>);
//! # struct Name(&'static str);
//! # type Stream = tonic::Streaming<()>;
//! # impl<T> GreeterClient<T> {
//! #     fn new(_: T) -> Self { Self(std::marker::PhantomData) }
//! #     async fn greet(&mut self, _: Name) -> Result<tonic::Response<()>, Status> { Err(Status::unimplemented("")) }
//! #     async fn greet_each<S: tokio_stream::Stream<Item = Name>>(&mut self, _: S) -> Result<tonic::Response<Stream>, Status> {
//! #         Err(Status::unimplemented("")) }
//! # }
//! use tonic::{Status, transport::Channel};
//! use tower_reauth::{Session, grpc::GrpcAuth};
//!
//! fn client(session: &Session, channel: Channel) -> GreeterClient<GrpcAuth<Channel>> {
//!     GreeterClient::new(session.layer().grpc(channel))
//! }
//!
//! async fn greet(client: &mut GreeterClient<GrpcAuth<Channel>>) -> Result<(), Status> {
//!     client.greet(Name("Ada")).await?;
//!
//!     let names = tokio_stream::iter(["Bob", "Cyd"].map(Name));
//!     let mut greetings = client.greet_each(names).await?.into_inner();
//!     while let Some(greeting) = greetings.message().await? {
//!         println!("{greeting:?}");
//!     }
//!     Ok(())
//! }
//! # }
//! ```
//!
//! - Each call gets a valid token when it begins. A server usually checks it only then, so a stream outlives
//!   its token. If the server ends the stream at the expiry, call again: the new call gets a new token. To
//!   start a stream with a token that is valid for a given time, add a [`MinLifetime`](crate::MinLifetime) to its
//!   request's extensions.
//! - A call that is rejected in the response's headers is retried with a newer token. Its messages so far are
//!   replayed, up to a limit. For later rejections, and for the limit, see
//!   [limitations](super::limitations#grpc-rejections-in-trailers).
//! - The layer trusts its channel, even over cleartext: see [security](super::security#network-attackers).
//!
//! The module `grpc` has the settings, deadlines, interceptors and errors. `cargo run --features grpc
//! --example grpc` makes all four kinds of call across an expiry and a revocation.
//!
//! # WebSockets
//!
//! The token is sent in the handshake. [`Session::send`](crate::Session::send) attaches it, and repeats the
//! handshake with a newer token if the server rejects the first. It doesn't check where the token
//! is sent: [`AuthLayer::allows`](crate::AuthLayer::allows) does. With tokio-tungstenite:
//!
//! ```toml
//! [dependencies]
//! tower-reauth = { version = "0.1", features = ["https-ring", "oauth2"] }
//! tokio-tungstenite = { version = "0.30", features = ["rustls-tls-native-roots"] }
//! ```
//!
//! ```
//! # // What the example uses of tokio-tungstenite. The program `websocket` in `examples/bridges` uses the crate itself.
//! # mod tokio_tungstenite {
//! #     pub struct MaybeTlsStream<S>(S);
//! #     pub struct WebSocketStream<S>(pub Option<S>);
//! #     pub async fn connect_async(_: http::Request<()>) -> Result<(Socket, http::Response<()>), tungstenite::Error> {
//! #         Ok((WebSocketStream(None), http::Response::new(()))) }
//! #     pub type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;
//! #     pub mod tungstenite {
//! #         #[derive(Debug)]
//! #         pub enum Error { Http(Box<http::Response<()>>) }
//! #         impl std::fmt::Display for Error {
//! #             fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
//! #         impl std::error::Error for Error {}
//! #         pub mod client {
//! #             pub trait IntoClientRequest { fn into_client_request(self) -> Result<http::Request<()>, super::Error>; }
//! #             impl IntoClientRequest for &http::Uri {
//! #                 fn into_client_request(self) -> Result<http::Request<()>, super::Error> { Ok(http::Request::new(())) } }
//! #         }
//! #     }
//! # }
//! use http::{Uri, header};
//! use tokio::net::TcpStream;
//! use tokio_tungstenite::{
//!     MaybeTlsStream, WebSocketStream, connect_async,
//!     tungstenite::{self, client::IntoClientRequest},
//! };
//! use tower_reauth::{AccessToken, AuthLayer, Session, rejection::Verdict};
//!
//! type Error = Box<dyn std::error::Error + Send + Sync>;
//! type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
//!
//! /// `layer` is `session.layer().restrict_to_origin(..)`, `uri` is `wss://..`.
//! async fn connect(session: &Session, layer: &AuthLayer, uri: &Uri) -> Result<Socket, Error> {
//!     if !layer.allows(uri)? {
//!         return Err("the token must not be sent there".into());
//!     }
//!     let handshake = async |token: AccessToken| {
//!         let mut request = uri.into_client_request()?;
//!         request.headers_mut().insert(header::AUTHORIZATION, token.header_value().clone());
//!         connect_async(request).await
//!     };
//!     let judge = |result: &Result<_, tungstenite::Error>| match result {
//!         Err(tungstenite::Error::Http(response)) => Verdict::of_status(response.status(), response.headers()),
//!         _ => Verdict::Accept,
//!     };
//!     let (socket, _) = session.send(handshake, judge).await??;
//!     Ok(socket)
//! }
//! ```
//!
//! With [`Session::keep_fresh`](crate::Session::keep_fresh), the handshake after a long connection needn't
//! wait. If the server closes the connection when the token expires, connect again; if it rejects the new token,
//! too, wait until [`Status::retry_at`](crate::Status::retry_at) (see [rejections](super::rejections#the-backoff)).
//! If it accepts the next token over the open connection, take that from the stream [`Session::tokens`](crate::Session::tokens).
//!
//! # Other clients
//!
//! [`Session::send`](crate::Session::send) fits any client: its closure gets the token and makes the call.
//! Its docs have an example. [`Session::token`](crate::Session::token) and
//! [`token_after_rejection`](crate::Session::token_after_rejection) are its individual steps. If there is no
//! newer token, or the second one is rejected, too, `send` returns the rejection;
//! [`Session::status`](crate::Session::status) has the last error, or says that the token is rejected and
//! when the next refresh is allowed.
//!
//! To send the token in another header, without a scheme, or in several headers, use
//! [`SessionBuilder::header`](crate::SessionBuilder::header).
//!
//! # Complete programs
//!
//! `examples/bridges` has complete programs for object_store, kube, tokio-tungstenite with reconnects, and an
//! axum gateway with a session for each tenant. `cargo run --manifest-path examples/bridges/Cargo.toml --bin
//! kube` runs one against a loopback server that rejects the first token.
