//! The tokens in Secrets Manager.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use oplake_core::token::{Secret, TokenError, TokenSource};

use crate::failure::{Failure, Kind};

/// The tokens in a secret of Secrets Manager. Every read is a request.
#[derive(Debug, Clone)]
pub struct SecretsManagerTokens {
    client: Client,
    id: String,
}

impl SecretsManagerTokens {
    /// Uses the secret with this name or ARN. Sends nothing.
    #[must_use]
    pub fn new(config: &SdkConfig, id: String) -> Self {
        Self { client: Client::new(config), id }
    }

    /// How to put a token into the secret.
    fn put_value(&self) -> String {
        format!(
            "put it into the secret, e.g. from a file: aws secretsmanager put-secret-value --secret-id {} \
             --secret-string file://token",
            self.id
        )
    }

    fn failed(&self, failure: Failure) -> TokenError {
        // The same error tells of a secret that has no value yet.
        let has_no_value = failure.message().contains("staging label");
        let secret = self.id.clone();
        let Failure { kind, source } = failure;
        let reason = match kind {
            Kind::Setup(reason) => reason,
            Kind::Unknown => return TokenError::Unavailable { secret, source },
            Kind::Answer { code, message, .. } => match code.as_str() {
                "ResourceNotFoundException" if has_no_value => {
                    return TokenError::Missing { hint: self.put_value() };
                }
                "ResourceNotFoundException" => {
                    "there is no such secret in this account and region: create it, or correct its name or AWS_REGION"
                        .to_owned()
                }
                "DecryptionFailure" => "its KMS key cannot be used: allow kms:Decrypt on it".to_owned(),
                "AccessDeniedException" if message.contains("KMS") => {
                    "its KMS key cannot be used: allow kms:Decrypt on it".to_owned()
                }
                "AccessDeniedException" => {
                    "a permission is missing: allow secretsmanager:GetSecretValue on it".to_owned()
                }
                "InvalidRequestException" if message.contains("marked for deletion") => {
                    "it is marked for deletion: restore it by `aws secretsmanager restore-secret`".to_owned()
                }
                "InvalidRequestException" => "it is in no state to be read".to_owned(),
                "InvalidParameterException" | "ValidationException" => {
                    "this is neither the name nor the ARN of a secret: correct it".to_owned()
                }
                _ => return TokenError::Unavailable { secret, source },
            },
        };
        TokenError::Unusable { secret, reason, source }
    }
}

impl TokenSource for SecretsManagerTokens {
    async fn read(&self) -> Result<Secret, TokenError> {
        let request = self.client.get_secret_value().secret_id(&self.id);
        let output = request.send().await.map_err(|error| self.failed(error.into()))?;
        match (output.secret_string, output.secret_binary) {
            (Some(text), _) => Ok(Secret::new(text)),
            (None, Some(_)) => Err(TokenError::Unusable {
                secret: self.id.clone(),
                reason: "its value is binary, not text: put the token into it as text".to_owned(),
                source: "the secret has no SecretString".into(),
            }),
            (None, None) => Err(TokenError::Missing { hint: self.put_value() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::stub;

    #[tokio::test]
    async fn errors_are_told_by_who_can_fix_them() {
        let not_there = "Secrets Manager can't find the specified secret.";
        let no_value =
            "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT";
        let deleted =
            "You can't perform this operation on the secret because it was marked for deletion.";
        for (status, code, message, expected) in [
            (400, "ResourceNotFoundException", no_value, "Token.Missing: put it into the secret"),
            (
                400,
                "ResourceNotFoundException",
                not_there,
                "Token.Unusable: there is no such secret",
            ),
            (
                400,
                "AccessDeniedException",
                "Access to KMS is not allowed",
                "Token.Unusable: allow kms:Decrypt",
            ),
            (
                400,
                "AccessDeniedException",
                "not authorized",
                "Token.Unusable: allow secretsmanager:GetSecretValue",
            ),
            (400, "DecryptionFailure", "", "Token.Unusable: allow kms:Decrypt"),
            (400, "InvalidRequestException", deleted, "Token.Unusable: restore it"),
            (400, "ValidationException", "", "Token.Unusable: neither the name nor the ARN"),
            (400, "ExpiredTokenException", "", "Token.Unusable: sign in again"),
            (400, "ThrottlingException", "", "Token.Unavailable: could not be read"),
            (500, "InternalServiceError", "", "Token.Unavailable: could not be read"),
        ] {
            let body: &str = format!(r#"{{"__type":"{code}","message":"{message}"}}"#).leak();
            let config = stub(move |_, _| (status, vec![], body)).await;
            let error =
                SecretsManagerTokens::new(&config, "s".to_owned()).read().await.unwrap_err();
            let (kind, words) = expected.split_once(": ").unwrap();
            assert_eq!(error.code(), kind, "{code} {message}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[tokio::test]
    async fn a_binary_secret_is_unusable() {
        let config = stub(|_, _| (200, vec![], r#"{"Name":"s","SecretBinary":"AAAA"}"#)).await;
        let error = SecretsManagerTokens::new(&config, "s".to_owned()).read().await.unwrap_err();
        assert_eq!(error.code(), "Token.Unusable");
    }
}
