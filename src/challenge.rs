//! stub
use http::HeaderMap;
/// stub
#[derive(Clone, Debug, PartialEq)]
pub struct Challenge;
/// stub
#[derive(Clone, Debug, Default)]
pub struct Challenges;
impl Challenges {
    /// stub
    pub fn of(_: &HeaderMap) -> Self {
        Self
    }
    /// stub
    pub fn is_step_up(&self) -> bool {
        false
    }
    /// stub
    pub fn is_about_nonce(&self) -> bool {
        false
    }
}
