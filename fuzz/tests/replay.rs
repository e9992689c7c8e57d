//! Replays the corpus on a stable toolchain.

use std::{fs, path::Path};

fn replay(name: &str, target: fn(&[u8])) {
    /// Says which input it was, if the target panics.
    struct Running(String);

    impl Drop for Running {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the input was {}", self.0);
            }
        }
    }

    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let _running = Running(file.display().to_string());
        target(&fs::read(&file).unwrap());
    }
}

macro_rules! replay {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), tower_reauth_fuzz::$target);
            }
        )*
    };
}

replay! { buffered challenges lifetimes origins records responses retry_after }
