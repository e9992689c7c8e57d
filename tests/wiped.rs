//! Whether memory that held a secret is wiped before it is freed: an allocator looks.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    convert::Infallible,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::service_fn;
use tower_reauth::{RefreshContext, Refresher, endpoint::RequestBody, json::JsonEndpoint, oauth2::Client};

/// Looks for the needles in what is freed or left behind.
struct Looking;

static LOOKS: AtomicBool = AtomicBool::new(false);
static FOUND: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
/// What all secrets of this test begin with, how they go on in base64, and what all secrets of answers begin with.
const NEEDLES: [&[u8]; 3] = [b"NEEDLE-1", b"d2ViOk5FRURMRS0x", b"NEEDLE-2"];

impl Looking {
    fn look(at: *const u8, layout: Layout) {
        if LOOKS.load(Ordering::Relaxed) {
            // SAFETY: the block is still allocated. What of it was never written is read as whatever it is, which a
            // test that looks for leaks has to do.
            let block = unsafe { std::slice::from_raw_parts(at, layout.size()) };
            for (needle, found) in NEEDLES.iter().zip(&FOUND) {
                if block.windows(needle.len()).any(|window| window == *needle) {
                    found.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

// SAFETY: it is the system's allocator, but for looking.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises. Zeroed, so that nothing of an earlier block is found.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::look(block, layout);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
    // `realloc` is that of the trait: it allocates, copies and frees, so each move is seen.
}

#[global_allocator]
static ALLOCATOR: Looking = Looking;

/// How often each needle was found in what was freed.
fn found(run: impl FnOnce()) -> [usize; 3] {
    FOUND.iter().for_each(|found| found.store(0, Ordering::Relaxed));
    LOOKS.store(true, Ordering::Relaxed);
    run();
    LOOKS.store(false, Ordering::Relaxed);
    std::array::from_fn(|at| FOUND[at].load(Ordering::Relaxed))
}

/// Some escape each slash.
const ANSWER: &str = r#"{"access_token":"NEEDLE-2-access\/==","token_type":"Bearer","expires_in":600,
    "refresh_token":"NEEDLE-2-refresh\/==","id_token":"NEEDLE-2-id\/=="}"#;

fn transport() -> impl tower::Service<
    Request<RequestBody>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send,
> + Clone
+ Send
+ 'static {
    service_fn(|request: Request<RequestBody>| async move {
        drop(request.into_body().into_bytes());
        Ok::<_, Infallible>(Response::new(Full::from(ANSWER)))
    })
}

fn refresh(refresher: &impl Refresher, refresh_token: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let cx = RefreshContext::builder().refresh_token(refresh_token).build();
    drop(runtime.block_on(refresher.refresh(cx)).unwrap());
}

/// One test, as the allocator is everybody's.
#[test]
fn p14_what_held_a_secret_is_wiped() {
    const URL: &str = "https://id.example.com/token";
    assert!(STANDARD.encode("web:NEEDLE-1-client").starts_with("d2ViOk5FRURMRS0x"));
    // A leak would be found.
    assert_eq!(found(|| drop(String::from("NEEDLE-1-plain"))), [1, 0, 0]);
    let mut leaks = Vec::new();
    for length in [0, 3000, 20_000] {
        let refresh_token = format!("NEEDLE-1-refresh{}", "+".repeat(length));
        let web = || Client::try_with_transport(URL, "web", transport()).unwrap();
        let basic =
            || refresh(&web().client_secret_basic("NEEDLE-1-client").refresh_token_grant(), &refresh_token);
        let post =
            || refresh(&web().client_secret_post("NEEDLE-1-client").refresh_token_grant(), &refresh_token);
        let json = || refresh(&JsonEndpoint::try_with_transport(URL, transport()).unwrap(), &refresh_token);
        leaks.extend([
            ("basic", length, found(basic)),
            ("post", length, found(post)),
            ("json", length, found(json)),
        ]);
    }
    leaks.retain(|(_, _, found)| *found != [0; 3]);
    assert!(leaks.is_empty(), "{leaks:?}");
}
