//! Builds the client and another library's TLS configuration in either order, with and without an installed
//! provider. Each case runs in its own process, as the installed provider belongs to the process.

use std::{env, path::Path, process::Command};

use rustls::{ClientConfig, crypto::CryptoProvider};
use tower_reauth::oauth2;

/// Whether the client has a provider of its own.
const HAS_PROVIDER: bool = cfg!(any(feature = "https-ring", feature = "https-aws-lc"));

pub fn run(provider: fn() -> CryptoProvider, has_two_providers: bool) {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [order, installed] = &arguments[..] else { return run_each() };
    let is_installed = installed == "installed";
    if is_installed {
        provider().install_default().unwrap();
    }
    // With two providers and none installed, `builder` panics: in such a program rustls is always told which.
    let other_library = || {
        if is_installed || !has_two_providers {
            let _ = ClientConfig::builder();
        } else {
            let builder = ClientConfig::builder_with_provider(provider().into());
            let _ = builder.with_safe_default_protocol_versions().unwrap();
        }
    };
    if order == "client-first" {
        client(HAS_PROVIDER || is_installed);
        assert_eq!(CryptoProvider::get_default().is_some(), is_installed, "the client must install none");
        other_library();
    } else {
        other_library();
        // `builder` installs its choice.
        client(HAS_PROVIDER || is_installed || !has_two_providers);
    }
}

fn client(has_provider: bool) {
    match oauth2::Client::try_new("https://id.example.com/token", "web") {
        Ok(_) => assert!(has_provider),
        Err(error) => {
            assert!(!has_provider && error.tls_error().unwrap().is_missing_crypto_provider(), "{error}");
            let message = error.to_string();
            for remedy in ["install_default", "`https-ring`", "`https-aws-lc`"] {
                assert!(message.contains(remedy), "{message}");
            }
        }
    }
}

fn run_each() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../root.pem");
    for order in ["client-first", "client-second"] {
        for installed in ["installed", "not-installed"] {
            let mut command = Command::new(env::current_exe().unwrap());
            let status = command.args([order, installed]).env("SSL_CERT_FILE", &root).status().unwrap();
            assert!(status.success(), "{order}, {installed}");
            println!("ok: {} {order} {installed}", env!("CARGO_PKG_NAME"));
        }
    }
}
