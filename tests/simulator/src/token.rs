//! Bearer tokens: minted, verified, revoked.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::feed::Feed;
use crate::lock;
use crate::rng::Rng;

/// A P-256 key in PKCS #8, the same in every simulator so that tokens outlive a
/// restart. It protects nothing.
const KEY: &[u8] = b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x27\x30\x25\x02\x01\x01\x04\x20\
    the events api simulator's key..";

/// The audience of tokens made before audiences were hosts.
pub const OLD_AUDIENCE: &str = "com.1password.streamingservice";

/// A token to mint. The default has every feed of the first account, never
/// expires and names the simulator as its audience.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSpec {
    /// Index of the account. Beyond the last one the token is well signed, but
    /// of an account the simulator does not have: it is answered 401.
    pub account: usize,
    /// Feeds the token is scoped for.
    pub feeds: Vec<Feed>,
    /// When it expires; `None` is never, and leaves the claim out.
    pub expires_at: Option<Timestamp>,
    /// The `aud` claim; `None` is the simulator's host and port. The simulator
    /// accepts any.
    pub audience: Option<Vec<String>>,
}

impl Default for TokenSpec {
    fn default() -> Self {
        Self { account: 0, feeds: Feed::ALL.to_vec(), expires_at: None, audience: None }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Claims {
    #[serde(rename = "1password.com/auuid")]
    pub(crate) account: String,
    #[serde(rename = "1password.com/fts")]
    pub(crate) features: Vec<String>,
    aud: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    pub(crate) iat: i64,
    iss: String,
    pub(crate) jti: String,
    pub(crate) sub: String,
}

impl Claims {
    pub(crate) fn allows(&self, feed: Feed) -> bool {
        self.features.iter().any(|feature| feature == feed.as_str())
    }
}

pub(crate) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    ids: Mutex<Rng>,
    /// Verifying a signature takes longer than serving a page, so each token
    /// is verified once.
    verified: Mutex<HashMap<String, Arc<Claims>>>,
    revoked: Mutex<HashSet<String>>,
}

impl Tokens {
    pub(crate) fn new(seed: u64) -> jsonwebtoken::errors::Result<Self> {
        let signing = EncodingKey::from_ec_der(KEY);
        let verifying =
            DecodingKey::from_jwk(&Jwk::from_encoding_key(&signing, Algorithm::ES256)?)?;
        let mut validation = Validation::new(Algorithm::ES256);
        // Expiry goes by the simulator's clock, and any audience will do.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Ok(Self {
            signing,
            verifying,
            validation,
            ids: Mutex::new(Rng::new(seed ^ 0x70_6B_65_6E)),
            verified: Mutex::default(),
            revoked: Mutex::default(),
        })
    }

    #[expect(clippy::expect_used, reason = "a constant key signs plain strings and numbers")]
    pub(crate) fn mint(
        &self,
        spec: &TokenSpec,
        account: String,
        integration: String,
        host: &str,
        now: Timestamp,
    ) -> String {
        let claims = Claims {
            account,
            features: spec.feeds.iter().map(Feed::to_string).collect(),
            aud: spec.audience.clone().unwrap_or_else(|| vec![host.to_owned()]),
            exp: spec.expires_at.map(Timestamp::as_second),
            iat: now.as_second(),
            iss: "com.1password.b5".to_owned(),
            jti: lock(&self.ids).lower_id(),
            sub: integration,
        };
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("simulator".to_owned());
        jsonwebtoken::encode(&header, &claims, &self.signing).expect("claims can be signed")
    }

    pub(crate) fn revoke(&self, token: &str) {
        lock(&self.revoked).insert(token.to_owned());
    }

    /// The claims of a token that is valid at `now`.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Option<Arc<Claims>> {
        let known = lock(&self.verified).get(token).cloned();
        let claims = if let Some(claims) = known {
            claims
        } else {
            let claims: Claims =
                jsonwebtoken::decode(token, &self.verifying, &self.validation).ok()?.claims;
            let claims = Arc::new(claims);
            lock(&self.verified).insert(token.to_owned(), Arc::clone(&claims));
            claims
        };
        let expired = claims.exp.is_some_and(|exp| exp <= now.as_second());
        (!expired && !lock(&self.revoked).contains(token)).then_some(claims)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 0).unwrap()
    }

    fn mint(tokens: &Tokens, spec: &TokenSpec) -> String {
        tokens.mint(spec, "ACCOUNT".to_owned(), "INTEGRATION".to_owned(), "127.0.0.1:1", at(50))
    }

    #[test]
    fn a_token_is_valid_until_it_expires() {
        let tokens = Tokens::new(1).unwrap();
        let token = mint(&tokens, &TokenSpec { expires_at: Some(at(100)), ..TokenSpec::default() });

        assert_eq!(tokens.verify(&token, at(99)).unwrap().account, "ACCOUNT");
        assert!(tokens.verify(&token, at(100)).is_none());
    }

    #[test]
    fn a_token_that_was_revoked_or_changed_is_invalid() {
        let tokens = Tokens::new(1).unwrap();
        let token = mint(&tokens, &TokenSpec::default());
        assert!(tokens.verify(&token, at(0)).is_some());
        assert!(tokens.verify(&token[..token.len() - 4], at(0)).is_none());
        assert!(tokens.verify("", at(0)).is_none());

        tokens.revoke(&token);

        assert!(tokens.verify(&token, at(0)).is_none());
    }

    #[test]
    fn the_same_seed_mints_the_same_token() {
        let token = || mint(&Tokens::new(7).unwrap(), &TokenSpec::default());

        assert_eq!(token(), token());
    }
}
