//! The three event streams.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the API's event streams. Written as the API spells it, in paths, in
/// token claims and on the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feed {
    /// `signinattempts`
    SignInAttempts,
    /// `itemusages`
    ItemUsages,
    /// `auditevents`
    AuditEvents,
}

impl Feed {
    /// Every feed, in the order of their indices.
    pub const ALL: [Self; 3] = [Self::SignInAttempts, Self::ItemUsages, Self::AuditEvents];

    /// The name in paths and in the token's features claim.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignInAttempts => "signinattempts",
            Self::ItemUsages => "itemusages",
            Self::AuditEvents => "auditevents",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feed| feed.as_str() == name)
    }
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
