//! The secret across warm invocations.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use oplake_core::token::{Secret, TokenError, TokenSource};

/// Age until which a secret need not be read again. A token that was rotated is
/// noticed when the old one is refused; this is how long another account that
/// is put into the secret may wait.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(15);

/// What the last run that went well has read, and when by the wall clock: the
/// monotonic one may stand still between invocations.
#[derive(Default)]
pub(crate) struct WarmSecret(Mutex<Option<(Timestamp, Secret)>>);

impl WarmSecret {
    /// The tokens for one run, which begins `now`.
    pub(crate) const fn tokens<T>(&self, source: T, now: Timestamp) -> WarmTokens<'_, T> {
        WarmTokens { warm: self, source, now, asked: AtomicBool::new(false) }
    }

    /// Has the next run read the secret: whatever was wrong with this one, a new
    /// secret may be what mends it.
    pub(crate) fn forget(&self) {
        self.set(None);
    }

    fn get(&self) -> Option<(Timestamp, Secret)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, secret: Option<(Timestamp, Secret)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = secret;
    }
}

/// The tokens for one run. The first read may be answered by an earlier run;
/// any further one, which follows a refused token, is not.
pub(crate) struct WarmTokens<'a, T> {
    warm: &'a WarmSecret,
    source: T,
    now: Timestamp,
    asked: AtomicBool,
}

impl<T: TokenSource> TokenSource for WarmTokens<'_, T> {
    async fn read(&self) -> Result<Secret, TokenError> {
        if !self.asked.swap(true, Ordering::Relaxed)
            && let Some((read, secret)) = self.warm.get()
            && (SignedDuration::ZERO..MAX_AGE).contains(&self.now.duration_since(read))
        {
            return Ok(secret);
        }
        let secret = self.source.read().await?;
        self.warm.set(Some((self.now, secret.clone())));
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Gives "1" first, then "2" and so on.
    #[derive(Default)]
    struct Counting(AtomicU32);

    impl TokenSource for &Counting {
        async fn read(&self) -> Result<Secret, TokenError> {
            Ok(Secret::new((self.0.fetch_add(1, Ordering::Relaxed) + 1).to_string()))
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_secret_is_remembered_for_a_while_and_read_again_when_asked_twice() {
        let (warm, source) = (WarmSecret::default(), Counting::default());
        let at = |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        for (minutes, expected) in [
            (100, "1"),
            (114, "1"),
            (115, "2"),
            // A clock that was set back.
            (114, "3"),
        ] {
            let run = warm.tokens(&source, at(minutes));
            assert!(run.read().await.unwrap() == secret(expected), "{minutes}");
        }
        let run = warm.tokens(&source, at(116));
        assert!(run.read().await.unwrap() == secret("3"));
        assert!(run.read().await.unwrap() == secret("4"));
        assert!(warm.tokens(&source, at(117)).read().await.unwrap() == secret("4"));
        warm.forget();
        assert!(warm.tokens(&source, at(117)).read().await.unwrap() == secret("5"));
    }
}
