//! The ways to use the layer with a reqwest client.

use reqwest::{Client, RequestBuilder, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    Auth, AuthLayer,
    reqwest::{AuthClient, BodyReplay, ReqwestService, reqwest_service},
};

use crate::support::BoxError;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Client,
    Middleware,
    Tower,
}

#[derive(Clone)]
pub(crate) enum Sender {
    Client(AuthClient),
    Middleware(ClientWithMiddleware),
    Tower(Auth<ReqwestService, BodyReplay>),
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Client, Self::Middleware, Self::Tower];

    pub(crate) fn sender(self, layer: AuthLayer, client: &Client) -> Sender {
        self.sender_for(layer.for_reqwest(), client)
    }

    pub(crate) fn sender_for<R: 'static>(self, layer: AuthLayer<R, BodyReplay>, client: &Client) -> Sender {
        let client = client.clone();
        match self {
            Self::Client => Sender::Client(layer.reqwest(client)),
            Self::Middleware => Sender::Middleware(ClientBuilder::new(client).with(layer).build()),
            Self::Tower => Sender::Tower(layer.layer(reqwest_service(client))),
        }
    }
}

impl Sender {
    pub(crate) async fn send(&self, builder: RequestBuilder) -> Result<Response, BoxError> {
        match self {
            Self::Client(client) => Ok(client.send(builder).await?),
            Self::Middleware(client) => Ok(client.execute(builder.build()?).await?),
            Self::Tower(service) => {
                let request = http::Request::try_from(builder.build()?)?;
                Ok(service.clone().oneshot(request).await?.into())
            }
        }
    }
}
