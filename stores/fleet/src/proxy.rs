//! [`Proxy`].

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// A TCP proxy on loopback whose connections can be cut, or go silent. It accepts none after it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    /// The server's port. `None`: connections are closed immediately.
    target: Mutex<Option<u16>>,
    /// Changes with each cut.
    cuts: watch::Sender<u64>,
    /// Changes whenever the open connections go silent.
    silences: watch::Sender<u64>,
    accepted: watch::Sender<usize>,
    open: watch::Sender<usize>,
    loses_response: AtomicBool,
}

// === impl Proxy ===

impl Proxy {
    /// Starts one in front of a port of loopback.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            target: Mutex::new(Some(target)),
            cuts: watch::channel(0).0,
            silences: watch::channel(0).0,
            accepted: watch::channel(0).0,
            open: watch::channel(0).0,
            loses_response: AtomicBool::new(false),
        });
        let accepting = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    state.accepted.send_modify(|count| *count += 1);
                    tokio::spawn(Arc::clone(&state).forward(stream));
                }
            }
        });
        Ok(Self { address, state, accepting })
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts all connections. Further ones are forwarded to this port, or closed if there is none.
    pub fn cut(&self, target: Option<u16>) {
        self.set_target(target);
        self.state.cuts.send_modify(|count| *count += 1);
    }

    /// Forwards further connections to this port. Those that are open stay.
    pub fn forward_to(&self, target: u16) {
        self.set_target(Some(target));
    }

    fn set_target(&self, target: Option<u16>) {
        *self.state.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Forwards nothing more on the connections that are open, and doesn't close them.
    pub fn silence(&self) {
        self.state.silences.send_modify(|count| *count += 1);
    }

    /// Cuts the connection on which the server responds next, instead of returning the response.
    pub fn lose_next_response(&self) {
        self.state.loses_response.store(true, Ordering::Relaxed);
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        *self.state.accepted.borrow()
    }

    /// Waits until no connection is open.
    pub async fn connections_closed(&self) {
        // The sender is in `state`.
        let _ = self.state.open.subscribe().wait_for(|&open| open == 0).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// === impl State ===

impl State {
    async fn forward(self: Arc<Self>, mut client: TcpStream) {
        let (mut cuts, mut silences) = (self.cuts.subscribe(), self.silences.subscribe());
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(target) = target else { return };
        self.open.send_modify(|open| *open += 1);
        if let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await {
            let (mut from_client, to_client) = client.split();
            let (from_server, mut to_server) = server.split();
            let is_silent = tokio::select! {
                _ = copy(&mut from_client, &mut to_server) => false,
                _ = self.return_responses(from_server, to_client) => false,
                _ = cuts.changed() => false,
                _ = silences.changed() => true,
            };
            if is_silent {
                let _ = cuts.changed().await;
            }
        }
        drop(client);
        self.open.send_modify(|open| *open -= 1);
    }

    async fn return_responses(&self, mut server: ReadHalf<'_>, mut client: WriteHalf<'_>) -> io::Result<()> {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let length = server.read(&mut bytes).await?;
            if length == 0 || self.loses_response.swap(false, Ordering::Relaxed) {
                return Ok(());
            }
            client.write_all(&bytes[..length]).await?;
        }
    }
}
