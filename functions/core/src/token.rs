//! The bearer token: where it comes from and what can be read off it.
//!
//! A token is a JWT that only the server can verify. It is read here for the
//! host it belongs to, its features and its expiry, so that a bad paste is
//! named before a request is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;

use jiff::Timestamp;
use jsonwebtoken::Algorithm;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use url::{Host, Url};

use crate::error::BoxError;
use crate::feed::{AccountName, Feed, NameError};

/// Hosts of the Events API, one for each region of 1Password. A token is sent
/// to no other host unless the operator names it.
pub const KNOWN_HOSTS: [&str; 4] = [
    "events.1password.com",
    "events.ent.1password.com",
    "events.1password.ca",
    "events.1password.eu",
];

/// Length of an ES256 signature, 64 bytes, in base64url.
const SIGNATURE_LEN: usize = 86;

/// The token of an account cannot be used. The operator can fix it, unless
/// [`is_retryable`](Self::is_retryable).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// There is no token yet.
    #[error("there is no token: {hint}")]
    Missing {
        /// What to do.
        hint: String,
    },
    /// The secret is neither a token nor an object of tokens.
    #[error(
        "the secret is neither a bearer token nor a JSON object of account names and bearer tokens: {reason}"
    )]
    NotASecret {
        /// What is wrong with it.
        reason: String,
    },
    /// The token is not a whole Events API token.
    #[error(
        "the token is not a whole Events API token: {reason}; copy it again, from the first to the last character"
    )]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// The token has expired.
    #[error(
        "the token expired at {at}: issue a new one in 1Password under Integrations, Events Reporting"
    )]
    Expired {
        /// Its expiry.
        at: Timestamp,
    },
    /// The token belongs to a host that is none of 1Password's.
    #[error(
        "the token belongs to `{host}`, which is not a known Events API host: set EVENTS_API_URL (--api-url) to the base URL of your account's region"
    )]
    UnknownHost {
        /// The first audience of the token; empty if it has none.
        host: String,
    },
    /// The configured URL cannot be used.
    #[error("the Events API URL `{url}` cannot be used: {reason}")]
    BadUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The secret is missing or closed to us. The operator can fix it.
    #[error("the secret {secret} cannot be read: {reason}")]
    Unusable {
        /// The secret.
        secret: String,
        /// What is wrong and what to do.
        reason: String,
        /// What the store answered.
        #[source]
        source: BoxError,
    },
    /// The secret store did not answer.
    #[error("the secret {secret} could not be read")]
    Unavailable {
        /// The secret.
        secret: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl TokenError {
    /// Whether the same call may succeed if it is made again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Stable name for metrics and for Lambda's `errorType`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "Token.Missing",
            Self::NotASecret { .. } | Self::Malformed { .. } => "Token.Malformed",
            Self::Expired { .. } => "Token.Expired",
            Self::UnknownHost { .. } | Self::BadUrl { .. } => "Token.UnknownHost",
            Self::Unusable { .. } => "Token.Unusable",
            Self::Unavailable { .. } => "Token.Unavailable",
        }
    }
}

/// Where the tokens come from.
pub trait TokenSource: Send + Sync {
    /// Reads the secret. A read that follows another one in the same run gives it
    /// as it is now.
    ///
    /// # Errors
    ///
    /// [`TokenError::Missing`], [`TokenError::Unusable`] or
    /// [`TokenError::Unavailable`].
    fn read(&self) -> impl Future<Output = Result<Secret, TokenError>> + Send;
}

/// Each account of a secret with its token, or with what is wrong with it.
pub type Tokens = BTreeMap<AccountName, Result<Token, TokenError>>;

/// The text of a secret. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The accounts of the secret, each with its token or what is wrong with it.
    ///
    /// The text is a bare token, then of the account `default`, or a JSON object
    /// of account names and tokens.
    ///
    /// # Errors
    ///
    /// [`TokenError::NotASecret`], or [`TokenError::Malformed`] for a bare token.
    pub fn accounts(&self, default: &AccountName) -> Result<Tokens, TokenError> {
        let text = self.0.trim();
        if !text.starts_with('{') {
            if text.is_empty() || text.contains(char::is_whitespace) || text.starts_with('"') {
                let reason =
                    if text.is_empty() { "it is empty" } else { "it holds white space or quotes" };
                return Err(TokenError::NotASecret { reason: reason.to_owned() });
            }
            return Ok(BTreeMap::from([(default.clone(), Ok(Token::parse(text)?))]));
        }
        // A JSON error could quote the secret: tell the place only.
        let tokens: BTreeMap<String, String> = serde_json::from_str(text).map_err(|error| {
            let reason = format!(
                "it starts like JSON but is not an object of texts (line {}, column {})",
                error.line(),
                error.column()
            );
            TokenError::NotASecret { reason }
        })?;
        if tokens.is_empty() {
            return Err(TokenError::NotASecret { reason: "the object is empty".to_owned() });
        }
        let accounts = tokens.iter().map(|(name, token)| {
            // Name and token may stand the wrong way round: do not tell the name.
            let name = name.parse().map_err(|error: NameError| TokenError::NotASecret {
                reason: format!("a name in it is not {}", error.expected()),
            })?;
            Ok((name, Token::parse(token.trim())))
        });
        accounts.collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// A bearer token of the Events API. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    claims: Claims,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Claims {
    #[serde(default, deserialize_with = "one_or_many")]
    aud: Vec<String>,
    #[serde(rename = "1password.com/fts")]
    features: Option<BTreeSet<String>>,
    #[serde(default, deserialize_with = "whole_seconds")]
    exp: Option<i64>,
    #[serde(default, deserialize_with = "whole_seconds")]
    iat: Option<i64>,
    jti: Option<String>,
    #[serde(rename = "1password.com/auuid")]
    account: Option<String>,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(OneOrMany::One(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
    })
}

/// JWT dates are JSON numbers, with or without a fraction.
#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates")]
fn whole_seconds<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(|seconds| seconds.floor() as i64))
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    ///
    /// [`TokenError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let malformed = |reason: String| TokenError::Malformed { reason };
        let segments: Vec<&str> = text.split('.').collect();
        let [_, _, signature] = segments[..] else {
            return Err(malformed(format!("it has {} of 3 parts", segments.len())));
        };
        let token = jsonwebtoken::dangerous::insecure_decode::<Claims>(text).map_err(|_| {
            malformed("its first or second part is not base64url of JSON".to_owned())
        })?;
        if token.header.alg != Algorithm::ES256 {
            return Err(malformed(format!("it is signed with {:?}, not ES256", token.header.alg)));
        }
        if signature.len() != SIGNATURE_LEN {
            return Err(malformed(format!(
                "its last part has {} of {SIGNATURE_LEN} characters",
                signature.len()
            )));
        }
        Ok(Self { text: text.to_owned(), claims: token.claims })
    }

    /// The text to send as bearer token.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Tells this token from others without giving it away.
    #[must_use]
    pub fn id(&self) -> String {
        match (&self.claims.jti, self.claims.iat) {
            (Some(jti), _) => format!("jti:{jti}"),
            (None, Some(iat)) => format!("iat:{iat}"),
            (None, None) => {
                let digest = digest(&SHA256, self.text.as_bytes());
                digest.as_ref()[..8]
                    .iter()
                    .fold("sha256:".to_owned(), |id, byte| format!("{id}{byte:02x}"))
            }
        }
    }

    /// The 1Password account that issued the token, if the token tells.
    #[must_use]
    pub fn account_uuid(&self) -> Option<&str> {
        self.claims.account.as_deref()
    }

    /// Whether the token was issued for `feed`. A token that names no features
    /// is left to the server to judge.
    #[must_use]
    pub fn covers(&self, feed: Feed) -> bool {
        self.claims.features.as_ref().is_none_or(|features| features.contains(feed.api_name()))
    }

    /// When the token expires; `None` if it never does.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.claims.exp.and_then(|seconds| Timestamp::from_second(seconds).ok())
    }

    /// Refuses a token that has expired by `now`.
    ///
    /// # Errors
    ///
    /// [`TokenError::Expired`].
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), TokenError> {
        match self.expires_at() {
            Some(at) if at <= now => Err(TokenError::Expired { at }),
            _ => Ok(()),
        }
    }

    /// The base URL to send this token to: `configured`, or else the host that
    /// the token names.
    ///
    /// # Errors
    ///
    /// [`TokenError::UnknownHost`] if the token names none of [`KNOWN_HOSTS`],
    /// [`TokenError::BadUrl`] if `configured` is not safe to send a token to.
    pub fn api_url(&self, configured: Option<&Url>) -> Result<Url, TokenError> {
        let Some(url) = configured else {
            let host = self.claims.aud.first().map_or("", String::as_str);
            let known = KNOWN_HOSTS.contains(&host).then(|| Url::parse(&format!("https://{host}")));
            return match known {
                Some(Ok(url)) => Ok(url),
                _ => Err(TokenError::UnknownHost { host: host.to_owned() }),
            };
        };
        check_url(url).map_err(|reason| TokenError::BadUrl { url: url.to_string(), reason })?;
        Ok(url.clone())
    }
}

/// Whether a token may be sent to `url`.
///
/// # Errors
///
/// Why not.
pub fn check_url(url: &Url) -> Result<(), &'static str> {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("it names no host"),
    };
    if !(url.scheme() == "https" || (url.scheme() == "http" && loopback)) {
        Err("the token must travel over https; plain http is accepted for loopback addresses alone")
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("it must not carry a user name or password")
    } else if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        Err(
            "it must be a base URL without path, query or fragment, such as https://events.1password.eu",
        )
    } else {
        Ok(())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}
