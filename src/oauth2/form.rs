//! The form of a request (RFC 6749 appendix B).

use bytes::Bytes;
use form_urlencoded::Serializer;
use zeroize::Zeroizing;

/// A form that is wiped when it was sent.
pub(super) struct Form {
    text: Zeroizing<String>,
}

// === impl Form ===

impl Form {
    pub(super) fn new() -> Self {
        // What it needs in most cases.
        Self { text: Zeroizing::new(String::with_capacity(8 * 1024)) }
    }

    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.make_room(ENCODED * (name.len() + value.len()) + "&=".len());
        let text = std::mem::take(&mut *self.text);
        let mut serializer = Serializer::new(text);
        serializer.append_pair(name, value);
        *self.text = serializer.finish();
    }

    /// A buffer that grows by itself leaves unwiped copies behind.
    fn make_room(&mut self, more: usize) {
        let needed = self.text.len() + more;
        if needed > self.text.capacity() {
            let mut larger = Zeroizing::new(String::with_capacity(2 * needed));
            larger.push_str(&self.text);
            self.text = larger;
        }
    }

    pub(super) fn into_bytes(mut self) -> Bytes {
        Bytes::from_owner(Zeroizing::new(std::mem::take(&mut *self.text).into_bytes()))
    }
}

/// A byte becomes three at most: `%2B`.
pub(super) const ENCODED: usize = 3;
