//! The four kinds of calls.

use std::fmt;

use tokio_stream::StreamExt;
use tonic::{Status, Streaming, transport::Channel};
use tower_reauth::grpc;

use crate::greeter::{Greeting, Name, greeter_client::GreeterClient};

/// A generated client on a channel with the layer.
pub(crate) type Client = GreeterClient<grpc::GrpcAuth<Channel>>;

/// The number of calls so far.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) calls: u32,
    pub(crate) failed: u32,
}

/// Makes a call of each kind, concurrently.
pub(crate) async fn each_kind(client: &Client, totals: &mut Totals) {
    let (unary, often, all, each) =
        tokio::join!(unary(client.clone()), often(client.clone()), all(client.clone()), each(client.clone()));
    totals.add("unary", unary);
    totals.add("server stream", often);
    totals.add("client stream", all);
    totals.add("bidi stream", each);
}

async fn unary(mut client: Client) -> Result<String, Status> {
    Ok(client.greet(name("Ada")).await?.into_inner().text)
}

async fn often(mut client: Client) -> Result<String, Status> {
    let name = Name { name: "Bob".to_owned(), times: 3 };
    join(client.greet_often(name).await?.into_inner()).await
}

async fn all(mut client: Client) -> Result<String, Status> {
    Ok(client.greet_all(names()).await?.into_inner().text)
}

async fn each(mut client: Client) -> Result<String, Status> {
    join(client.greet_each(names()).await?.into_inner()).await
}

fn names() -> impl tokio_stream::Stream<Item = Name> {
    tokio_stream::iter(["Cyd", "Dot", "Eve"].map(name))
}

fn name(name: &str) -> Name {
    Name { name: name.to_owned(), times: 1 }
}

async fn join(greetings: Streaming<Greeting>) -> Result<String, Status> {
    let texts: Vec<_> = greetings.map(|greeting| greeting.map(|greeting| greeting.text)).collect().await;
    Ok(texts.into_iter().collect::<Result<Vec<_>, _>>()?.join(" "))
}

// === impl Totals ===

impl Totals {
    /// Counts a call, and prints its outcome.
    pub(crate) fn add(&mut self, kind: &str, outcome: Result<impl fmt::Display, Status>) {
        self.calls += 1;
        match outcome {
            Ok(text) => println!("    {kind:13} {text}"),
            Err(status) => {
                self.failed += 1;
                println!("    {kind:13} failed: {status}");
            }
        }
    }
}
