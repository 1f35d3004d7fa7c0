//! The names of what is collected: feeds, accounts, streams.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the three event kinds of the Events API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feed {
    /// Sign-in attempts, successful or not.
    SigninAttempts,
    /// Uses of items in shared vaults.
    ItemUsages,
    /// Actions of team members on the account.
    AuditEvents,
}

impl Feed {
    /// Every feed, in the order in which they are reported.
    pub const ALL: [Self; 3] = [Self::SigninAttempts, Self::ItemUsages, Self::AuditEvents];

    /// Name of the feed in keys, tables, logs and settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SigninAttempts => "signin_attempts",
            Self::ItemUsages => "item_usages",
            Self::AuditEvents => "audit_events",
        }
    }

    /// Name of the feed in the paths of the Events API, which is also the
    /// feature that a token needs for it.
    #[must_use]
    pub const fn api_name(self) -> &'static str {
        match self {
            Self::SigninAttempts => "signinattempts",
            Self::ItemUsages => "itemusages",
            Self::AuditEvents => "auditevents",
        }
    }
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {expected}")]
pub struct NameError {
    given: String,
    expected: &'static str,
}

impl NameError {
    pub(crate) fn new(given: &str, expected: &'static str) -> Self {
        Self { given: given.to_owned(), expected }
    }

    /// What it should be, for a text that must not be told.
    pub(crate) const fn expected(&self) -> &'static str {
        self.expected
    }
}

impl FromStr for Feed {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL.into_iter().find(|feed| feed.as_str() == text).ok_or_else(|| {
            NameError::new(text, "a feed: use signin_attempts, item_usages or audit_events")
        })
    }
}

/// Name of a 1Password account, chosen by the operator.
///
/// It is a segment of every key, so it holds 1 to 64 of `[A-Za-z0-9_.-]` and
/// starts with a letter or a digit: query engines skip names that start with
/// `_` or `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AccountName(String);

impl AccountName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for AccountName {
    /// The name of the only account of a secret that holds a bare token.
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for AccountName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if text.len() <= 64
            && text.chars().all(legal)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::new(
                text,
                "an account name: use 1 to 64 letters, digits, `_`, `.` or `-`, the first a letter or digit",
            ))
        }
    }
}

impl<'de> Deserialize<'de> for AccountName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One feed of one account: the unit of collection, with its own checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// The account.
    pub account: AccountName,
    /// The feed.
    pub feed: Feed,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.feed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_found_by_its_own_name_only() {
        for feed in Feed::ALL {
            assert_eq!(feed.to_string().parse(), Ok(feed));
            assert!(feed.api_name().parse::<Feed>().is_err());
        }
    }

    #[test]
    fn account_names_are_safe_in_keys() {
        for good in ["main", "A-1", "acme.eu", "0_x"] {
            assert_eq!(good.parse::<AccountName>().unwrap().as_str(), good);
        }
        for bad in ["", ".hidden", "_x", "a/b", "a b", "ä", "a=b", &"x".repeat(65)] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad}");
        }
    }
}
