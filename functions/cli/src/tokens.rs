//! The token, as a shell gives it.

use std::io::ErrorKind;
use std::path::PathBuf;

use oplake_core::token::{Secret, TokenError, TokenSource};

/// The environment variable that holds the token.
pub const TOKEN_VARIABLE: &str = "OP_EVENTS_API_TOKEN";

/// A bearer token, or a JSON object of account names and bearer tokens, that
/// was given as text or stands in a file. Never printed.
#[derive(Debug, Clone)]
pub struct ShellToken(Source);

#[derive(Debug, Clone)]
enum Source {
    Text(Option<Secret>),
    File(PathBuf),
}

impl ShellToken {
    /// The value of [`TOKEN_VARIABLE`], `None` if it is not set.
    #[must_use]
    pub fn from_variable(value: Option<String>) -> Self {
        Self(Source::Text(value.and_then(secret)))
    }

    /// The contents of the file at `path`, as they are at each read: a rotated
    /// token is found without a restart.
    #[must_use]
    pub const fn from_file(path: PathBuf) -> Self {
        Self(Source::File(path))
    }
}

/// `None` if nothing but white space was given.
fn secret(text: String) -> Option<Secret> {
    (!text.trim().is_empty()).then(|| Secret::new(text))
}

impl TokenSource for ShellToken {
    async fn read(&self) -> Result<Secret, TokenError> {
        let path = match &self.0 {
            Source::Text(secret) => {
                return secret.clone().ok_or_else(|| TokenError::Missing {
                    hint: format!(
                        "set {TOKEN_VARIABLE} to an Events API bearer token, issued in 1Password \
                         under Integrations, Events Reporting"
                    ),
                });
            }
            Source::File(path) => path.clone(),
        };
        let name = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        let text = match read.map_err(|source| TokenError::Unavailable {
            secret: name.clone(),
            source: source.into(),
        })? {
            Err(source) if source.kind() == ErrorKind::NotFound => None,
            Err(source) => {
                let reason = "the file must be text that this user may read".to_owned();
                return Err(TokenError::Unusable { secret: name, reason, source: source.into() });
            }
            Ok(text) => secret(text),
        };
        text.ok_or_else(|| TokenError::Missing {
            hint: format!(
                "the file {name} is missing or empty; write an Events API bearer token to it, or \
                 set {TOKEN_VARIABLE} instead"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use oplake_core::error::chain;
    use oplake_core::testing::contract;

    use super::*;

    fn given(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn both_sources_meet_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "from a file\n").unwrap();
        let file = ShellToken::from_file(path.clone());
        contract::tokens::all(&file, &given("from a file\n")).await;

        std::fs::write(&path, "rotated\n").unwrap();
        contract::tokens::all(&file, &given("rotated\n")).await;

        let variable = ShellToken::from_variable(Some("from a variable".to_owned()));
        contract::tokens::all(&variable, &given("from a variable")).await;
    }

    #[tokio::test]
    async fn what_is_missing_is_named_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        for source in [
            ShellToken::from_variable(None),
            ShellToken::from_variable(Some("  ".to_owned())),
            ShellToken::from_file(folder.path().join("nothing")),
            ShellToken::from_file(empty),
        ] {
            let error = source.read().await.unwrap_err();
            assert!(matches!(error, TokenError::Missing { .. }), "{error:?}");
            assert!(error.to_string().contains(TOKEN_VARIABLE), "{error}");
        }
    }

    #[tokio::test]
    async fn an_unreadable_file_is_unusable_and_its_text_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("binary");
        std::fs::write(&binary, b"s3cret\xff").unwrap();
        for path in [binary, folder.path().to_owned()] {
            let error = ShellToken::from_file(path).read().await.unwrap_err();
            assert_eq!(error.code(), "Token.Unusable");
            assert!(!format!("{error:?} {}", chain(&error)).contains("s3cret"));
        }
        let token = ShellToken::from_variable(Some("s3cret".to_owned()));
        assert!(!format!("{token:?}").contains("s3cret"));
    }
}
