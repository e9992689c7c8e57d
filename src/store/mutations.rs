//! Disables one rule of the protocol, to show that a test fails without it.

/// Whether the environment variable names this rule.
#[cfg(feature = "__mutations")]
pub(super) fn without(rule: &str) -> bool {
    use std::sync::LazyLock;

    static RULE: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("TOWER_REAUTH_WITHOUT").ok());
    RULE.as_deref() == Some(rule)
}

#[cfg(not(feature = "__mutations"))]
pub(super) const fn without(_rule: &str) -> bool {
    false
}
