//! The ports of [`oplake_core`] on AWS: [`S3Archive`], [`DynamoDbCheckpoints`]
//! and [`SecretsManagerTokens`].
//!
//! The adapters are thin: they map a request, and they map an answer to what
//! the caller can do about it. They hold no policy and no state, and making one
//! sends nothing.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use oplake_aws::{DynamoDbCheckpoints, S3Archive, SecretsManagerTokens};
//! use oplake_core::partition::Prefix;
//!
//! let config = oplake_aws::sdk::load(None).await?;
//! let archive = S3Archive::new(&config, "my-lake".to_owned(), Prefix::default())
//!     .expected_owner(Some("111122223333".to_owned()));
//! let checkpoints = DynamoDbCheckpoints::new(&config, "my-checkpoints".to_owned());
//! let tokens = SecretsManagerTokens::new(&config, "my-token".to_owned());
//! # Ok(())
//! # }
//! ```

pub mod check;
pub mod dynamodb;
mod failure;
#[cfg(feature = "notifications")]
pub mod notifications;
pub mod s3;
pub mod sdk;
pub mod secrets;
#[cfg(test)]
mod stub;

pub use aws_config::SdkConfig;

pub use crate::dynamodb::DynamoDbCheckpoints;
pub use crate::s3::S3Archive;
pub use crate::secrets::SecretsManagerTokens;
