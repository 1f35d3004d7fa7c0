//! The contract of [`TokenSource`].

use crate::token::{Secret, TokenSource};

/// Makes every claim of a source that was given `expected`.
pub async fn all(source: &impl TokenSource, expected: &Secret) {
    reads_what_it_was_given(source, expected).await;
}

/// Every read gives the secret.
pub async fn reads_what_it_was_given(source: &impl TokenSource, expected: &Secret) {
    assert_eq!(&source.read().await.unwrap(), expected);
    assert_eq!(&source.read().await.unwrap(), expected);
}
