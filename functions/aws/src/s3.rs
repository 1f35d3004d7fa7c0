//! The lake on S3.
//!
//! A staged object is a multipart upload of one part: durable, and in no
//! listing of the bucket. Completing the upload publishes it. The commit id is
//! in the object's metadata, so that a look at the key tells whose it is.

use std::collections::BTreeSet;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
    ServerSideEncryption,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use oplake_core::archive::{Archive, ArchiveError, Completion, Listed, Look, Object, Staged};
use oplake_core::checkpoint::CommitId;
use oplake_core::feed::{Feed, Stream};
use oplake_core::partition::{Day, Prefix};

use crate::failure::{Failure, Kind, find};

/// Metadata of an object: the commit that staged it.
pub const COMMIT_METADATA: &str = "oplake-commit";

/// Metadata of an object: the number of its events.
pub const EVENTS_METADATA: &str = "oplake-events";

/// Media type of every object. `Content-Encoding` stays unset: clients that
/// honour it would unpack the object behind the reader's back.
const CONTENT_TYPE: &str = "application/x-ndjson";

/// End of the name of an object of the lake.
pub(crate) const SUFFIX: &str = ".json.gz";

/// Largest object that is read into memory.
const MAX_READ: u64 = 256 << 20;

/// The only part of an upload.
const PART: i32 = 1;

/// The lake in a bucket, under a prefix.
#[derive(Debug, Clone)]
pub struct S3Archive {
    client: Client,
    bucket: String,
    prefix: Prefix,
    owner: Option<String>,
    kms_key: Option<String>,
    location: String,
}

impl S3Archive {
    /// Uses the objects of `bucket` under `prefix`. Sends nothing.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String, prefix: Prefix) -> Self {
        let location = format!("s3://{bucket}/{prefix}");
        let client = client(config);
        Self { client, bucket, prefix, owner: None, kms_key: None, location }
    }

    /// Refuses a bucket that does not belong to this AWS account (12 digits),
    /// with every call.
    #[must_use]
    pub fn expected_owner(self, owner: Option<String>) -> Self {
        Self { owner, ..self }
    }

    /// Encrypts objects with this KMS key, given by its ARN; without one, with
    /// what the bucket's default encryption says.
    #[must_use]
    pub fn kms_key(self, kms_key: Option<String>) -> Self {
        Self { kms_key, ..self }
    }

    fn encryption(&self) -> Option<ServerSideEncryption> {
        self.kms_key.is_some().then_some(ServerSideEncryption::AwsKms)
    }

    fn failed(
        &self,
        operation: &'static str,
        key: &str,
        failure: impl Into<Failure>,
    ) -> ArchiveError {
        let Failure { kind, source } = failure.into();
        let unusable = |reason, source| {
            let location = self.location.clone();
            ArchiveError::Unusable { location, reason, source }
        };
        let key = key.to_owned();
        match kind {
            Kind::Setup(reason) => unusable(reason, source),
            Kind::Unknown => ArchiveError::Unknown { operation, key, source },
            Kind::Answer { status, code, region, .. } => {
                match advice(status, &code, region.as_deref()) {
                    Some(reason) => unusable(reason, source),
                    None if status == 403 => ArchiveError::Denied { operation, key, source },
                    None => ArchiveError::Unknown { operation, key, source },
                }
            }
        }
    }

    /// Whether a listing shows `key`.
    async fn is_listed(&self, key: &str) -> Result<bool, ArchiveError> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(key);
        // A key comes before every longer one that starts with it.
        let request = request.max_keys(1).set_expected_bucket_owner(self.owner.clone());
        let page = request.send().await.map_err(|error| self.failed("list", key, error))?;
        Ok(page.contents().iter().any(|object| object.key() == Some(key)))
    }
}

/// A client that reaches buckets wherever `config` says.
pub(crate) fn client(config: &SdkConfig) -> Client {
    // A custom endpoint seldom has a host name for each bucket.
    let path_style = config.endpoint_url().is_some();
    Client::from_conf(Builder::from(config).force_path_style(path_style).build())
}

/// What the operator can do about an answer, apart from granting a permission.
pub(crate) fn advice(status: u16, code: &str, region: Option<&str>) -> Option<String> {
    let wrong_region = matches!(
        code,
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"
    ) || matches!(status, 301 | 307)
        // The answer to a HEAD has no body, so no code.
        || (status == 400 && code.is_empty() && region.is_some());
    if wrong_region {
        Some(region.map_or_else(
            || "the bucket is in another region: set AWS_REGION to it".to_owned(),
            |region| format!("the bucket is in the region {region}: set AWS_REGION to it"),
        ))
    } else if code == "NoSuchBucket" {
        Some("there is no such bucket: create it, or correct its name".to_owned())
    } else if code == "InvalidBucketName" {
        Some("this is no name of a bucket: correct it".to_owned())
    } else if code.starts_with("KMS.") {
        Some(
            "its KMS key cannot be used: see that the key exists, is enabled and is in the bucket's region"
                .to_owned(),
        )
    } else {
        None
    }
}

/// CRC-32 as S3 writes it.
fn base64_crc32(crc32: u32) -> String {
    BASE64.encode(crc32.to_be_bytes())
}

fn is_ours(head: &HeadObjectOutput, staged: &Staged, commit: &CommitId) -> bool {
    let id = head.metadata().and_then(|metadata| metadata.get(COMMIT_METADATA));
    let size = head.content_length().and_then(|size| u64::try_from(size).ok());
    id.is_some_and(|id| id == commit.as_str()) && size == Some(staged.size)
}

impl Archive for S3Archive {
    fn location(&self) -> &str {
        &self.location
    }

    async fn stage(&self, object: &Object, commit: &CommitId) -> Result<Staged, ArchiveError> {
        let Object { key, body, crc32, events } = object;
        // With FULL_OBJECT, a reader can check the object against the very
        // CRC-32 that is given here; a COMPOSITE one is the CRC of a CRC.
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let request = request
            .content_type(CONTENT_TYPE)
            .metadata(COMMIT_METADATA, commit.as_str())
            .metadata(EVENTS_METADATA, events.to_string())
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .checksum_type(ChecksumType::FullObject)
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key.clone())
            .set_expected_bucket_owner(self.owner.clone());
        let operation = "start the upload of";
        let failed = |failure: Failure| self.failed(operation, key, failure);
        let created = request.send().await.map_err(|error| failed(error.into()))?;
        let upload_id =
            created.upload_id.ok_or_else(|| failed(Failure::unexpected("no upload id")))?;

        let request = self.client.upload_part().bucket(&self.bucket).key(key);
        let request = request
            .upload_id(&upload_id)
            .part_number(PART)
            .checksum_crc32(base64_crc32(*crc32))
            .body(ByteStream::from(body.clone()))
            .set_expected_bucket_owner(self.owner.clone());
        let failed = |failure: Failure| self.failed("upload the part of", key, failure);
        // TLS and the signed CRC-32 protect the body, as with AWS's own tools: a
        // SHA-256 of it would take a twentieth of a run.
        let request = request.customize().disable_payload_signing();
        let uploaded = request.send().await.map_err(|error| failed(error.into()))?;
        let etag = uploaded.e_tag.ok_or_else(|| failed(Failure::unexpected("no ETag")))?;
        Ok(Staged {
            key: key.clone(),
            upload_id,
            etag,
            crc32: *crc32,
            size: body.len() as u64,
            events: *events,
        })
    }

    async fn complete(&self, staged: &Staged) -> Result<Completion, ArchiveError> {
        let part = CompletedPart::builder()
            .part_number(PART)
            .e_tag(&staged.etag)
            .checksum_crc32(base64_crc32(staged.crc32))
            .build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket);
        let request = request
            .key(&staged.key)
            .upload_id(&staged.upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().parts(part).build())
            .checksum_type(ChecksumType::FullObject)
            .if_none_match("*")
            .set_expected_bucket_owner(self.owner.clone());
        let Err(error) = request.send().await else { return Ok(Completion::Done) };
        let failure = Failure::from(error);
        match failure.code() {
            "NoSuchUpload" => Ok(Completion::NoUpload),
            "PreconditionFailed" => Ok(Completion::Taken),
            _ => Err(self.failed("complete the upload of", &staged.key, failure)),
        }
    }

    async fn look(&self, staged: &Staged, commit: &CommitId) -> Result<Look, ArchiveError> {
        let key = &staged.key;
        let request = self.client.head_object().bucket(&self.bucket).key(key);
        let request = request.set_expected_bucket_owner(self.owner.clone());
        let failure = match request.send().await {
            Ok(head) if is_ours(&head, staged, commit) => return Ok(Look::Published),
            Ok(_) => return Ok(Look::Foreign),
            Err(error) => Failure::from(error),
        };
        // A HEAD is answered without a body: 403 for 404 if we may not list,
        // 404 if the bucket is missing, 400 if the credentials have expired.
        // The listing tells; if it fails, so does the look.
        let status = failure.status();
        if matches!(status, 400 | 403 | 404) {
            let listed = self.is_listed(key).await?;
            if !listed && status != 400 {
                return Ok(Look::Absent);
            }
        }
        Err(self.failed("look at", key, failure))
    }

    async fn abort(&self, staged: &Staged) -> Result<(), ArchiveError> {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket);
        let request = request
            .key(&staged.key)
            .upload_id(&staged.upload_id)
            .set_expected_bucket_owner(self.owner.clone());
        let Err(error) = request.send().await else { return Ok(()) };
        let failure = Failure::from(error);
        if failure.code() == "NoSuchUpload" {
            return Ok(());
        }
        Err(self.failed("abort the upload of", &staged.key, failure))
    }

    async fn quarantine(&self, key: &str, body: Bytes) -> Result<(), ArchiveError> {
        let request = self.client.put_object().bucket(&self.bucket).key(key);
        let request = request
            .content_type(CONTENT_TYPE)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .if_none_match("*")
            .body(ByteStream::from(body))
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key.clone())
            .set_expected_bucket_owner(self.owner.clone());
        let Err(error) = request.send().await else { return Ok(()) };
        let failure = Failure::from(error);
        if failure.code() == "PreconditionFailed" {
            return Ok(());
        }
        Err(self.failed("write", key, failure))
    }

    async fn set_aside(&self, key: &str) -> Result<(), ArchiveError> {
        let copy = self.client.copy_object().bucket(&self.bucket).key(format!("quarantine/{key}"));
        let copy = copy
            // The key alphabet needs no escapes.
            .copy_source(format!("{}/{key}", self.bucket))
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key.clone())
            .set_expected_bucket_owner(self.owner.clone())
            .set_expected_source_bucket_owner(self.owner.clone());
        copy.send().await.map_err(|error| self.failed("copy", key, error))?;
        let delete = self.client.delete_object().bucket(&self.bucket).key(key);
        let delete = delete.set_expected_bucket_owner(self.owner.clone());
        delete.send().await.map_err(|error| self.failed("delete", key, error))?;
        Ok(())
    }

    async fn days(&self, feed: Feed) -> Result<Vec<Day>, ArchiveError> {
        let prefix = self.prefix.feed(feed);
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&prefix);
        let request = request.delimiter("/").set_expected_bucket_owner(self.owner.clone());
        let mut pages = request.into_paginator().send();
        let mut days = BTreeSet::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed("list", &prefix, error))?;
            let folders = page.common_prefixes().iter().filter_map(|folder| folder.prefix());
            days.extend(folders.filter_map(|folder| {
                let name = folder.strip_prefix(&prefix)?.strip_suffix('/')?;
                name.parse::<Day>().ok()
            }));
        }
        Ok(days.into_iter().collect())
    }

    async fn list(&self, stream: &Stream, day: Day) -> Result<Vec<Listed>, ArchiveError> {
        let prefix = self.prefix.day(stream, day);
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&prefix);
        let request = request.set_expected_bucket_owner(self.owner.clone());
        let mut pages = request.into_paginator().send();
        let mut listed = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed("list", &prefix, error))?;
            listed.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| {
                let size = object.size.and_then(|size| u64::try_from(size).ok())?;
                let key = object.key.filter(|key| key.ends_with(SUFFIX))?;
                Some(Listed { key, size })
            }));
        }
        Ok(listed)
    }

    async fn read(&self, key: &str) -> Result<Bytes, ArchiveError> {
        let unreadable = |source| ArchiveError::Unreadable { key: key.to_owned(), source };
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let request = request
            .checksum_mode(ChecksumMode::Enabled)
            .set_expected_bucket_owner(self.owner.clone());
        let object = match request.send().await {
            Ok(object) => object,
            Err(error) => {
                let failure = Failure::from(error);
                let status = failure.status();
                return Err(match self.failed("read", key, failure) {
                    // Not allowed, gone, or of an archived class. A missing
                    // bucket or a wrong key pair is `Unusable`.
                    ArchiveError::Denied { source, .. } | ArchiveError::Unknown { source, .. }
                        if matches!(status, 403 | 404) =>
                    {
                        unreadable(source)
                    }
                    other => other,
                });
            }
        };
        let size = object.content_length().and_then(|size| u64::try_from(size).ok());
        if size.is_none_or(|size| size > MAX_READ) {
            let reason = format!("it is larger than {} MiB, so none of ours", MAX_READ >> 20);
            return Err(unreadable(reason.into()));
        }
        match object.body.collect().await {
            Ok(body) => Ok(body.into_bytes()),
            Err(error) if find::<aws_smithy_checksums::body::validate::Error>(&error).is_some() => {
                Err(unreadable(error.into()))
            }
            Err(error) => {
                let (operation, key) = ("read", key.to_owned());
                Err(ArchiveError::Unknown { operation, key, source: error.into() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future::ProvideCredentials as Provided;
    use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};

    use super::*;
    use crate::stub::{self, Reply, stub};

    const LISTED: &str = "<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>";
    const NOTHING: &str = "<ListBucketResult></ListBucketResult>";
    const LONGER: &str = "<ListBucketResult><Contents><Key>k2</Key></Contents></ListBucketResult>";

    fn xml(status: u16, code: &'static str) -> Reply {
        let body = format!("<Error><Code>{code}</Code><Message>so it is</Message></Error>");
        (status, vec![("x-amz-bucket-region", "us-west-2")], body.leak())
    }

    fn staged() -> Staged {
        Staged {
            key: "k".to_owned(),
            upload_id: "u".to_owned(),
            etag: "e".to_owned(),
            crc32: 1,
            size: 2,
            events: 3,
        }
    }

    fn archive(config: &SdkConfig) -> S3Archive {
        S3Archive::new(config, "lake".to_owned(), Prefix::default())
    }

    /// What a call came to, as one word.
    fn word<T: std::fmt::Debug>(result: Result<T, ArchiveError>) -> String {
        match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => error.code().to_owned(),
        }
    }

    #[tokio::test]
    async fn a_completion_is_told_by_its_answer() {
        for (reply, expected) in [
            (xml(404, "NoSuchUpload"), "NoUpload"),
            (xml(412, "PreconditionFailed"), "Taken"),
            (xml(409, "ConditionalRequestConflict"), "Archive.Unavailable"),
            (xml(200, "InternalError"), "Archive.Unavailable"),
            (xml(503, "SlowDown"), "Archive.Unavailable"),
            (xml(400, "InvalidPart"), "Archive.Unavailable"),
            (xml(403, "AccessDenied"), "Archive.Denied"),
            (xml(301, "PermanentRedirect"), "Archive.Unusable"),
            (xml(400, "AuthorizationHeaderMalformed"), "Archive.Unusable"),
            (xml(400, "KMS.DisabledException"), "Archive.Unusable"),
            (xml(400, "ExpiredToken"), "Archive.Unusable"),
            (xml(404, "NoSuchBucket"), "Archive.Unusable"),
            ((502, vec![], "<html>"), "Archive.Unavailable"),
        ] {
            let told = format!("{reply:?}");
            let config = stub(move |_, _| reply.clone()).await;
            let answer = archive(&config).complete(&staged()).await;
            assert_eq!(word(answer), expected, "{told}");
        }
    }

    #[tokio::test]
    async fn only_a_listing_tells_that_nothing_is_there() {
        for (head, list, expected) in [
            (404, (200, vec![], NOTHING), "Absent"),
            (403, (200, vec![], NOTHING), "Absent"),
            (404, (200, vec![], LONGER), "Absent"),
            (403, (200, vec![], LISTED), "Archive.Denied"),
            (403, xml(403, "AccessDenied"), "Archive.Denied"),
            (404, xml(403, "AccessDenied"), "Archive.Denied"),
            (404, xml(500, "InternalError"), "Archive.Unavailable"),
            (404, (200, vec![], LISTED), "Archive.Unavailable"),
            (404, xml(404, "NoSuchBucket"), "Archive.Unusable"),
            (400, xml(400, "ExpiredToken"), "Archive.Unusable"),
            (400, (200, vec![], NOTHING), "Archive.Unavailable"),
            (503, (200, vec![], NOTHING), "Archive.Unavailable"),
        ] {
            let told = format!("{head} {list:?}");
            let config =
                stub(
                    move |line, _| {
                        if line.starts_with("HEAD") { (head, vec![], "") } else { list.clone() }
                    },
                );
            let answer = archive(&config.await).look(&staged(), &CommitId::random()).await;
            assert_eq!(word(answer), expected, "{told}");
        }
    }

    #[tokio::test]
    async fn a_look_names_the_region_of_the_bucket() {
        for status in [301, 400] {
            let reply = (status, vec![("x-amz-bucket-region", "us-west-2")], "");
            let config =
                stub(
                    move |line, _| {
                        if line.starts_with("HEAD") {
                            reply.clone()
                        } else {
                            (200, vec![], NOTHING)
                        }
                    },
                );
            let looked = archive(&config.await).look(&staged(), &CommitId::random()).await;
            assert_eq!(
                looked.unwrap_err().to_string(),
                "the archive s3://lake/onepassword/v1/ cannot be used: \
                 the bucket is in the region us-west-2: set AWS_REGION to it"
            );
        }
    }

    #[tokio::test]
    async fn an_object_of_another_commit_or_size_is_foreign() {
        let ours = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        for (commit, body, expected) in [
            (ours, "12", "Published"),
            (ours, "123", "Foreign"),
            ("00000000000000000000000000000000", "12", "Foreign"),
        ] {
            let reply = (200, vec![("x-amz-meta-oplake-commit", commit)], body);
            let config = stub(move |_, _| reply.clone()).await;
            let looked = archive(&config).look(&staged(), &ours.parse().unwrap()).await;
            assert_eq!(word(looked), expected, "{commit} {body}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_never_absent() {
        for (reply, expected) in [
            (xml(403, "InvalidObjectState"), "Archive.Unreadable"),
            (xml(403, "AccessDenied"), "Archive.Unreadable"),
            (xml(404, "NoSuchKey"), "Archive.Unreadable"),
            ((200, vec![("x-amz-checksum-crc32", "AAAAAA==")], "altered"), "Archive.Unreadable"),
            (xml(404, "NoSuchBucket"), "Archive.Unusable"),
            (xml(403, "InvalidAccessKeyId"), "Archive.Unusable"),
            (xml(503, "SlowDown"), "Archive.Unavailable"),
        ] {
            let told = format!("{reply:?}");
            let config = stub(move |_, _| reply.clone()).await;
            assert_eq!(word(archive(&config).read("k").await), expected, "{told}");
        }
    }

    #[tokio::test]
    async fn an_upload_that_is_gone_is_aborted_and_a_record_that_is_there_is_written() {
        let config = stub(|_, _| xml(404, "NoSuchUpload")).await;
        assert_eq!(word(archive(&config).abort(&staged()).await), "()");
        let config = stub(|_, _| xml(412, "PreconditionFailed")).await;
        assert_eq!(word(archive(&config).quarantine("q", Bytes::new()).await), "()");
        let config = stub(|_, _| xml(409, "ConditionalRequestConflict")).await;
        let written = archive(&config).quarantine("q", Bytes::new()).await;
        assert_eq!(word(written), "Archive.Unavailable");
    }

    #[tokio::test]
    async fn every_call_names_the_owner_and_every_write_the_key() {
        let config = stub(|line, headers| {
            let written = line.starts_with("PUT /lake/q") || line.contains("?uploads");
            let key = headers.get("x-amz-server-side-encryption-aws-kms-key-id");
            let owner = headers.get("x-amz-expected-bucket-owner");
            if owner.is_none_or(|owner| owner != "111122223333") || key.is_some() != written {
                return xml(400, "Test");
            }
            match line.split(' ').next() {
                Some("POST") if line.contains("?uploads") => {
                    let body = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
                    (200, vec![], body)
                }
                Some("POST") => (200, vec![], "<CompleteMultipartUploadResult/>"),
                Some("GET") if line.contains("list-type") => (200, vec![], NOTHING),
                Some("HEAD") => (404, vec![], ""),
                _ => (200, vec![("etag", "e")], ""),
            }
        });
        let archive = archive(&config.await)
            .expected_owner(Some("111122223333".to_owned()))
            .kms_key(Some("arn:aws:kms:eu-west-1:111122223333:key/1".to_owned()));
        let (commit, stream) = (
            CommitId::random(),
            Stream { account: "main".parse().unwrap(), feed: Feed::AuditEvents },
        );
        let body = Bytes::from_static(b"12");
        let object = Object { key: "k".to_owned(), body: body.clone(), crc32: 1, events: 3 };
        archive.stage(&object, &commit).await.unwrap();
        archive.complete(&staged()).await.unwrap();
        archive.look(&staged(), &commit).await.unwrap();
        archive.abort(&staged()).await.unwrap();
        archive.quarantine("q", body).await.unwrap();
        archive.days(stream.feed).await.unwrap();
        archive.list(&stream, "2026-03-01".parse().unwrap()).await.unwrap();
        archive.read("k").await.unwrap();
    }

    /// Its CRC-32 is signed in its place.
    #[tokio::test]
    async fn only_the_body_of_a_part_is_not_signed() {
        let config = stub(|line, headers| {
            let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap();
            let is_part = line.contains("partNumber=1");
            let unsigned = header("x-amz-content-sha256") == "UNSIGNED-PAYLOAD";
            let crc32 = header("authorization").contains("x-amz-checksum-crc32");
            if unsigned != is_part || (is_part && !crc32) {
                return xml(400, "Test");
            }
            if line.starts_with("POST") {
                let body = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
                return (200, vec![], body);
            }
            (200, vec![("etag", "e")], "")
        });
        let archive = archive(&config.await);
        let body = Bytes::from_static(b"12");
        let object = Object { key: "k".to_owned(), body: body.clone(), crc32: 1, events: 3 };
        archive.stage(&object, &CommitId::random()).await.unwrap();
        archive.quarantine("q", body).await.unwrap();
    }

    #[tokio::test]
    async fn listings_are_read_to_their_last_page() {
        let config = stub(|line, _| {
            let body = match (line.contains("delimiter"), line.contains("continuation-token=2")) {
                (true, false) => {
                    "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>2</NextContinuationToken>\
                     <CommonPrefixes><Prefix>onepassword/v1/audit_events/2026-03-02/</Prefix></CommonPrefixes>\
                     <CommonPrefixes><Prefix>onepassword/v1/audit_events/tmp/</Prefix></CommonPrefixes></ListBucketResult>"
                }
                (true, true) => {
                    "<ListBucketResult><CommonPrefixes><Prefix>onepassword/v1/audit_events/2026-03-01/</Prefix></CommonPrefixes></ListBucketResult>"
                }
                (false, false) => {
                    "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>2</NextContinuationToken>\
                     <Contents><Key>a.json.gz</Key><Size>1</Size></Contents>\
                     <Contents><Key>a.json</Key><Size>1</Size></Contents></ListBucketResult>"
                }
                (false, true) => {
                    "<ListBucketResult><Contents><Key>b.json.gz</Key><Size>2</Size></Contents></ListBucketResult>"
                }
            };
            (200, vec![], body)
        });
        let archive = archive(&config.await);
        let stream = Stream { account: "main".parse().unwrap(), feed: Feed::AuditEvents };
        let days = archive.days(stream.feed).await.unwrap();
        assert_eq!(days, ["2026-03-01", "2026-03-02"].map(|day| day.parse().unwrap()));
        let listed = archive.list(&stream, days[0]).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|one| (one.key.as_str(), one.size)).collect();
        assert_eq!(listed, [("a.json.gz", 1), ("b.json.gz", 2)]);
    }

    #[derive(Debug)]
    struct Nobody;

    impl ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> Provided<'a>
        where
            Self: 'a,
        {
            Provided::ready(Err(CredentialsError::not_loaded_no_source()))
        }
    }

    #[tokio::test]
    async fn the_operator_is_told_what_to_set() {
        let config = stub::config("http://127.0.0.1:9").await;
        let nobody = Some(SharedCredentialsProvider::new(Nobody));
        let error = |config: SdkConfig| async move {
            archive(&config).abort(&staged()).await.unwrap_err().to_string()
        };

        let mut nameless = config.clone().into_builder();
        nameless.set_credentials_provider(nobody);
        assert_eq!(
            error(nameless.build()).await,
            "the archive s3://lake/onepassword/v1/ cannot be used: no AWS credentials found: \
             set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        );

        let mut placeless = config.clone().into_builder();
        placeless.set_region(None);
        placeless.set_endpoint_url(None);
        assert_eq!(
            error(placeless.build()).await,
            "the archive s3://lake/onepassword/v1/ cannot be used: \
             no AWS region found: set AWS_REGION"
        );
    }

    #[tokio::test]
    async fn an_endpoint_that_does_not_answer_leaves_the_outcome_unknown() {
        let config = stub::config("http://127.0.0.1:9").await;
        let error = archive(&config).complete(&staged()).await.unwrap_err();
        assert_eq!(error.to_string(), "the archive did not complete the upload of `k`");
        assert!(error.is_retryable());
        assert!(error.source().is_some());
    }

    #[tokio::test]
    async fn the_cause_is_one_line_with_code_message_and_request() {
        let reply = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        let config = stub(move |_, _| (403, vec![("x-amz-request-id", "R1")], reply)).await;
        let error = archive(&config).abort(&staged()).await.unwrap_err();
        assert_eq!(
            oplake_core::error::chain(&error),
            "not allowed to abort the upload of `k` in the archive: \
             AWS answered 403 AccessDenied, no (request R1)"
        );
    }
}
