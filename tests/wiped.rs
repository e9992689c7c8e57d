//! Whether the memory of tokens and secrets that the crate holds is wiped before it is freed, as an allocator sees it.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    convert::Infallible,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    RefreshContext, RefreshError, Session, Token, endpoint::RequestBody, json::JsonEndpoint, oauth2,
};

/// Searches freed memory for [`NEEDLE`].
struct Inspecting;

static IS_INSPECTING: AtomicBool = AtomicBool::new(false);
static FOUND: AtomicUsize = AtomicUsize::new(0);

/// Part of every secret in this test.
const NEEDLE: &[u8] = b"NEEDLE-";

impl Inspecting {
    fn inspect(block: *const u8, layout: Layout) {
        if IS_INSPECTING.load(Ordering::Relaxed) {
            // SAFETY: the block is still allocated, and zeroed when it was.
            let block = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            if block.windows(NEEDLE.len()).any(|window| window == NEEDLE) {
                FOUND.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

// SAFETY: the system allocator, which is also called for every block.
unsafe impl GlobalAlloc for Inspecting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises. Zeroed, so that nothing of an earlier block is found.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::inspect(block, layout);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
    // The default `realloc` allocates, copies and frees, so moves are seen, too.
}

#[global_allocator]
static ALLOCATOR: Inspecting = Inspecting;

/// The number of freed blocks that contained a needle.
fn leaks(run: impl FnOnce()) -> usize {
    FOUND.store(0, Ordering::Relaxed);
    IS_INSPECTING.store(true, Ordering::Relaxed);
    run();
    IS_INSPECTING.store(false, Ordering::Relaxed);
    FOUND.load(Ordering::Relaxed)
}

/// Makes a secret without leaving a copy behind.
fn secret(name: &str) -> String {
    let mut secret = String::with_capacity(100);
    secret.push_str("NEEDLE-");
    secret.push_str(name);
    secret
}

fn token() -> Token {
    Token::builder(secret("access"))
        .refresh_token(secret("refresh"))
        .extra("id_token", secret("id"))
        .build()
        .unwrap()
}

async fn refuse(_: RefreshContext) -> Result<Token, RefreshError> {
    Err(RefreshError::transient("unavailable"))
}

fn requests() {
    let session = Session::builder(tower_reauth::refresh_fn(refuse)).token(token()).build();
    let service = service_fn(|request: Request<Empty<Bytes>>| async move {
        assert!(request.headers().contains_key("authorization"));
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let service = tower_reauth::AuthLayer::from_session(session.clone()).layer(service);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for _ in 0..2 {
        let request = Request::get("https://api.example.com/").body(Empty::new()).unwrap();
        runtime.block_on(service.clone().oneshot(request)).unwrap();
    }
    drop(session.sign_out());
}

fn clients() {
    const URL: &str = "https://id.example.com/token";
    let transport = service_fn(|_: Request<RequestBody>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let client = || oauth2::Client::try_with_transport(URL, "web", transport).unwrap();
    drop(client().client_secret_basic(secret("client")).refresh_token_grant());
    drop(client().client_secret_post(secret("client")).extra_param("key", secret("param")));
    drop(JsonEndpoint::try_with_transport(URL, transport).unwrap().extra_field("key", secret("field")));
}

/// One test, as all threads share the allocator.
#[test]
fn p14_tokens_and_secrets_that_are_held_are_wiped() {
    assert_eq!(leaks(|| drop(secret("plain"))), 1, "a leak is found");
    for (name, run) in [("token", (|| drop(token())) as fn()), ("requests", requests), ("clients", clients)] {
        assert_eq!(leaks(run), 0, "{name}");
    }
}
