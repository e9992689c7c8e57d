//! Fuzz targets. Each is a function that takes any input and panics if a property doesn't hold.
//!
//! `tests/replay.rs` runs the corpus through them on a stable toolchain. To look for more inputs:
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --features libfuzzer --target-dir target/fuzz responses
//! ```
//!
//! They use the public API only, so an input means what it means to a program.

mod buffered;
mod canned;
mod challenges;
mod lifetimes;
mod origins;
mod records;
mod responses;
mod retry_after;
mod secret;
mod time;

pub use buffered::buffered;
pub use challenges::challenges;
pub use lifetimes::lifetimes;
pub use origins::origins;
pub use records::records;
pub use responses::responses;
pub use retry_after::retry_after;
