//! The ports that a command line names.

use std::path::Path;

use jiff::Timestamp;
use oplake_aws::{DynamoDbCheckpoints, S3Archive, SdkConfig, SecretsManagerTokens, sdk};
use oplake_cli::folder::FolderArchive;
use oplake_cli::sqlite::SqliteCheckpoints;
use oplake_cli::tokens::{ShellToken, TOKEN_VARIABLE};
use oplake_core::archive::Archive;
use oplake_core::checkpoint::CheckpointStore;
use oplake_core::config::check_secret_name;
use oplake_core::error::BoxError;
use oplake_core::partition::Prefix;
use oplake_core::token::{Secret, TokenError, TokenSource};

use crate::args::{Place, PortArgs, SourceArgs, Table};
use crate::command::Ended;

/// What is done with checkpoints.
pub(crate) trait WithCheckpoints {
    async fn run(self, checkpoints: &impl CheckpointStore) -> Ended;
}

/// What is done with checkpoints and an archive.
pub(crate) trait WithLake {
    async fn run(self, checkpoints: &impl CheckpointStore, archive: &impl Archive) -> Ended;
}

/// Opens the checkpoints and does `work`.
pub(crate) async fn with_checkpoints(
    table: &Table,
    extra_ca: Option<&Path>,
    work: impl WithCheckpoints,
) -> Ended {
    match table {
        Table::File(path) => work.run(&SqliteCheckpoints::open(path).await?).await,
        Table::DynamoDb(name) => {
            let aws = sdk::load(extra_ca).await?;
            work.run(&DynamoDbCheckpoints::new(&aws, name.clone())).await
        }
    }
}

/// Opens checkpoints that must be there already, and does `work`.
pub(crate) async fn with_existing_checkpoints(
    table: &Table,
    extra_ca: Option<&Path>,
    work: impl WithCheckpoints,
) -> Ended {
    if let Table::File(path) = table
        && !path.exists()
    {
        return Err(format!("the checkpoint file {} does not exist", path.display()).into());
    }
    with_checkpoints(table, extra_ca, work).await
}

/// Opens the checkpoints and the archive, and does `work`.
pub(crate) async fn with_lake(
    PortArgs { archive, checkpoints, .. }: &PortArgs,
    now: Timestamp,
    work: impl WithLake,
) -> Ended {
    struct Opened<'a, A, W> {
        archive: &'a A,
        work: W,
    }

    impl<A: Archive, W: WithLake> WithCheckpoints for Opened<'_, A, W> {
        async fn run(self, checkpoints: &impl CheckpointStore) -> Ended {
            self.work.run(checkpoints, self.archive).await
        }
    }

    let (table, extra_ca) = (&checkpoints.checkpoints, archive.ca_file.as_deref());
    match &archive.archive {
        Place::Folder(root) => {
            let archive = FolderArchive::open(root, archive.prefix.clone(), now).await?;
            with_checkpoints(table, extra_ca, Opened { archive: &archive, work }).await
        }
        Place::Bucket(bucket) => {
            let aws = sdk::load(extra_ca).await?;
            let archive = S3Archive::new(&aws, bucket.clone(), archive.prefix.clone())
                .expected_owner(archive.bucket_owner.clone())
                .kms_key(archive.kms_key.clone());
            with_checkpoints(table, extra_ca, Opened { archive: &archive, work }).await
        }
    }
}

/// Identity of the archive at `place`, to which objects were moved.
pub(crate) async fn location(
    place: &Place,
    prefix: &Prefix,
    extra_ca: Option<&Path>,
    now: Timestamp,
) -> Result<String, BoxError> {
    Ok(match place {
        Place::Folder(root) if !root.is_dir() => {
            let root = root.display();
            return Err(format!("the archive {root} does not exist: move the objects there").into());
        }
        Place::Folder(root) => {
            FolderArchive::open(root, prefix.clone(), now).await?.location().to_owned()
        }
        Place::Bucket(bucket) => {
            let aws = sdk::load(extra_ca).await?;
            S3Archive::new(&aws, bucket.clone(), prefix.clone()).location().to_owned()
        }
    })
}

/// Where a command line says that the token is.
pub(crate) enum Tokens {
    Shell(ShellToken),
    SecretsManager(Box<SecretsManagerTokens>),
}

impl Tokens {
    pub(crate) async fn open(args: &SourceArgs, extra_ca: Option<&Path>) -> Result<Self, BoxError> {
        if let Some(secret) = &args.token_secret {
            check_secret_name(secret).map_err(|reason| format!("--token-secret: {reason}"))?;
            let aws: SdkConfig = sdk::load(extra_ca).await?;
            return Ok(Self::SecretsManager(Box::new(SecretsManagerTokens::new(
                &aws,
                secret.clone(),
            ))));
        }
        if let Some(path) = &args.token_file {
            return Ok(Self::Shell(ShellToken::from_file(path.clone())));
        }
        #[expect(clippy::disallowed_methods, reason = "the edge of the program")]
        let value = std::env::var(TOKEN_VARIABLE).ok();
        Ok(Self::Shell(ShellToken::from_variable(value)))
    }
}

impl TokenSource for Tokens {
    async fn read(&self) -> Result<Secret, TokenError> {
        match self {
            Self::Shell(tokens) => tokens.read().await,
            Self::SecretsManager(tokens) => tokens.read().await,
        }
    }
}
