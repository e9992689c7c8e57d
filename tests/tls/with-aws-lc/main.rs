//! A program whose other libraries use rustls with AWS-LC.

#[path = "../orders.rs"]
mod orders;

fn main() {
    orders::run(rustls::crypto::aws_lc_rs::default_provider, cfg!(feature = "https-ring"));
}
