//! A program whose other libraries use rustls with ring.

#[path = "../orders.rs"]
mod orders;

fn main() {
    orders::run(rustls::crypto::ring::default_provider, cfg!(feature = "https-aws-lc"));
}
