//! What a response's caller is told of its course.

use http::Response;

use crate::error::Error;

/// How a response came about, where it took a wait for a token or a second sending, or was refused for good.
///
/// It stands in the response's extensions, for a retry layer that counts, and for whoever wants to know why a 401
/// came through.
///
/// # Examples
///
/// ```
/// # fn example<B>(response: &http::Response<B>) {
/// if let Some(report) = response.extensions().get::<tower_reauth::future::AuthReport>() {
///     println!("sent {} times; refused for good because of {:?}", report.attempts(), report.error());
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct AuthReport {
    pub(crate) attempts: u8,
    pub(crate) waited: bool,
    pub(crate) error: Option<Error>,
}

// === impl AuthReport ===

impl AuthReport {
    /// How often the request was sent.
    pub fn attempts(&self) -> u8 {
        self.attempts
    }

    /// Whether it waited for a token.
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// Why the server's refusal was delivered: no newer token could be had.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    pub(crate) fn leave_in<R>(&self, response: &mut Response<R>) {
        if self.waited || self.attempts > 1 || self.error.is_some() {
            response.extensions_mut().insert(self.clone());
        }
    }
}
