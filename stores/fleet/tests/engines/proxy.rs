//! A TCP proxy that can be cut, or go silent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    /// The server's port. None: connections are closed at once.
    target: Mutex<Option<u16>>,
    /// Changes with each cut.
    cuts: watch::Sender<u64>,
    /// Changes whenever the open connections go silent.
    silences: watch::Sender<u64>,
    accepted: watch::Sender<usize>,
    open: watch::Sender<usize>,
}

// === impl Proxy ===

impl Proxy {
    pub(crate) async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target: Mutex::new(Some(target)),
            cuts: watch::channel(0).0,
            silences: watch::channel(0).0,
            accepted: watch::channel(0).0,
            open: watch::channel(0).0,
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
        Self { address, state, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts all connections. Further ones lead to this port, or nowhere.
    pub(crate) fn cut(&self, target: Option<u16>) {
        *self.state.target.lock().unwrap() = target;
        self.state.cuts.send_modify(|count| *count += 1);
    }

    /// Forwards nothing more on the connections that are open, and doesn't close them.
    pub(crate) fn silence(&self) {
        self.state.silences.send_modify(|count| *count += 1);
    }

    pub(crate) fn accepted(&self) -> usize {
        *self.state.accepted.borrow()
    }

    /// Waits until no connection is open.
    pub(crate) async fn closed(&self) {
        self.state.open.subscribe().wait_for(|&open| open == 0).await.unwrap();
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
        let Some(target) = *self.target.lock().unwrap() else { return };
        self.open.send_modify(|open| *open += 1);
        if let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await {
            let is_silent = tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => false,
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
}
