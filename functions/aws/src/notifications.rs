//! What S3 tells of a new object, told again for objects that are there already.
//!
//! The message is that of S3 ([its documentation][structure]), without what only
//! S3 knows: who made the request, and the object's version, which every consumer
//! takes for the newest, as an object never changes.
//!
//! [structure]: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::types::Object;
use aws_sdk_sns::types::PublishBatchRequestEntry;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;
use oplake_core::error::{BoxError, chain};
use oplake_core::feed::Feed;
use oplake_core::partition::{Day, Prefix};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::s3::{SUFFIX, advice, client};

/// Messages that one call sends, the most that SQS and SNS take.
pub const BATCH: usize = 10;

/// Attempts to send what a call has left.
const ATTEMPTS: usize = 5;

/// Wait before the second of them; it doubles each time.
const WAIT: Duration = Duration::from_millis(500);

/// Notifications cannot be sent as they should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotificationError {
    /// The operator: a permission or a name is wrong.
    #[error("{subject} cannot be used: {reason}")]
    Unusable {
        /// The queue, topic or bucket.
        subject: String,
        /// What to do.
        reason: String,
        /// What AWS answered.
        #[source]
        source: BoxError,
    },
    /// Nobody: AWS or the network failed.
    #[error("{operation} of {subject} failed: do it again, what was sent is noted")]
    Failed {
        /// What was tried, by its name in the API.
        operation: &'static str,
        /// On what.
        subject: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

fn failed(
    operation: &'static str,
    subject: &str,
    failure: impl Into<Failure>,
) -> NotificationError {
    let Failure { kind, source } = failure.into();
    let subject = subject.to_owned();
    let reason = match kind {
        Kind::Setup(reason) => Some(reason),
        Kind::Answer { status, code, region, .. } => {
            reason(operation, status, &code, region.as_deref())
        }
        Kind::Unknown => None,
    };
    match reason {
        Some(reason) => NotificationError::Unusable { subject, reason, source },
        None => NotificationError::Failed { operation, subject, source },
    }
}

impl NotificationError {
    fn is_of_topic(&self) -> bool {
        let (Self::Unusable { subject, .. } | Self::Failed { subject, .. }) = self;
        subject.starts_with("topic ")
    }
}

/// What the operator can do about an answer; `None` if it passes by itself.
fn reason(operation: &str, status: u16, code: &str, region: Option<&str>) -> Option<String> {
    let of_bucket = operation.starts_with("s3:").then(|| advice(status, code, region)).flatten();
    let has = |parts: &[&str]| parts.iter().any(|part| code.contains(part));
    if of_bucket.is_some() {
        of_bucket
    } else if status == 429 || has(&["Throttl", "OverLimit"]) {
        None
    } else if status == 404 || has(&["NonExistent", "NotFound"]) {
        Some("there is none of this name in the region".to_owned())
    } else if matches!(status, 401 | 403) || has(&["AccessDenied", "Authorization"]) {
        Some(format!("allow {operation}"))
    } else if (400..500).contains(&status) {
        Some(format!("AWS refuses {operation}"))
    } else {
        None
    }
}

/// An object of the lake, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
    etag: String,
}

impl Found {
    /// `None` for what is no object of events.
    fn of(object: Object) -> Option<Self> {
        let key = object.key.filter(|key| key.ends_with(SUFFIX))?;
        let size = object.size.and_then(|size| u64::try_from(size).ok())?;
        let etag = object.e_tag?.trim_matches('"').to_owned();
        let modified = Timestamp::from_second(object.last_modified?.secs()).ok()?;
        Some(Self { key, size, modified, etag })
    }
}

/// The bucket of a lake, to tell of its objects.
#[derive(Debug)]
pub struct Lake {
    s3: aws_sdk_s3::Client,
    bucket: String,
    region: String,
    prefix: Prefix,
    owner: Option<String>,
}

impl Lake {
    /// Looks at the bucket, which must belong to `owner` if that is given.
    ///
    /// # Errors
    ///
    /// The bucket cannot be reached.
    pub async fn open(
        config: &SdkConfig,
        bucket: String,
        prefix: Prefix,
        owner: Option<String>,
    ) -> Result<Self, NotificationError> {
        let s3 = client(config);
        let head = s3.head_bucket().bucket(&bucket).set_expected_bucket_owner(owner.clone());
        let subject = format!("bucket `{bucket}`");
        let head = head.send().await.map_err(|error| failed("s3:ListBucket", &subject, error))?;
        let here = config.region().map(ToString::to_string);
        let region = head.bucket_region.or(here).unwrap_or_default();
        Ok(Self { s3, bucket, region, prefix, owner })
    }

    /// What all keys of `feed` start with.
    #[must_use]
    pub fn of_feed(&self, feed: Feed) -> String {
        self.prefix.feed(feed)
    }

    /// The objects of a feed from one day to another, of all accounts, in the
    /// order of their keys.
    ///
    /// # Errors
    ///
    /// The bucket cannot be listed.
    pub async fn objects(
        &self,
        feed: Feed,
        from: Day,
        to: Day,
    ) -> Result<Vec<Found>, NotificationError> {
        let prefix = self.of_feed(feed);
        // A key comes after what it starts with.
        let (first, end) = (format!("{prefix}{from}/"), format!("{prefix}{}/", Day::of(to.end())));
        let request = self.s3.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let request = request.start_after(first).set_expected_bucket_owner(self.owner.clone());
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                failed("s3:ListBucket", &format!("bucket `{}`", self.bucket), error)
            })?;
            for object in page.contents.unwrap_or_default() {
                if object.key.as_ref().is_some_and(|key| *key >= end) {
                    return Ok(found);
                }
                found.extend(Found::of(object));
            }
        }
        Ok(found)
    }

    /// What S3 told of `object` when it came.
    #[must_use]
    pub fn notification(&self, object: &Found) -> String {
        // No character of a key needs the encoding that S3 gives it.
        json!({ "Records": [{
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": self.region,
            "eventTime": format!("{:.3}", object.modified),
            "eventName": "ObjectCreated:CompleteMultipartUpload",
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "oplake-replay",
                "bucket": {
                    "name": self.bucket,
                    "arn": format!("arn:{}:s3:::{}", partition(&self.region), self.bucket),
                },
                "object": { "key": object.key, "size": object.size, "eTag": object.etag },
            },
        }]})
        .to_string()
    }
}

/// The partition of AWS that a region is in.
fn partition(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 5] = [
        ("cn-", "aws-cn"),
        ("eusc-", "aws-eusc"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
    ];
    let found = PARTITIONS.iter().find(|(start, _)| region.starts_with(start));
    found.map_or("aws", |(_, partition)| partition)
}

/// How a message stands in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As S3 tells it, which is what raw message delivery gives.
    Raw,
    /// In the envelope of SNS, without a signature.
    Sns,
}

/// Where notifications go: a queue by its URL, or a topic by its ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A queue.
    Queue(String),
    /// A topic.
    Topic(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let of_arn: Vec<_> = text.split(':').collect();
        match of_arn[..] {
            ["arn", _, "sns", _, _, name] if !name.is_empty() => Ok(Self::Topic(text.to_owned())),
            ["arn", _, "sqs", ..] => Err("name a queue by its URL, not by its ARN".to_owned()),
            ["https" | "http", ..]
                if text.rsplit('/').next().is_some_and(|name| !name.is_empty()) =>
            {
                Ok(Self::Queue(text.to_owned()))
            }
            _ => Err("use the URL of an SQS queue or the ARN of an SNS topic".to_owned()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Queue(name) | Self::Topic(name) => f.write_str(name),
        }
    }
}

/// How a queue gets what S3 tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The topic.
    pub topic: String,
    /// How the topic writes its messages.
    pub shape: Shape,
    /// What keys must start with to come through; `None` if all do.
    pub prefixes: Option<Vec<String>>,
}

impl Subscription {
    /// Whether the topic would have let a notification of `key` through.
    #[must_use]
    pub fn takes(&self, key: &str) -> bool {
        let Some(prefixes) = &self.prefixes else { return true };
        prefixes.iter().any(|prefix| key.starts_with(prefix))
    }
}

/// Sends notifications to one place.
#[derive(Debug)]
pub struct Sender {
    address: Address,
    sqs: aws_sdk_sqs::Client,
    sns: aws_sdk_sns::Client,
}

impl Sender {
    /// Sends nothing yet.
    #[must_use]
    pub fn new(config: &SdkConfig, address: Address) -> Self {
        let (sqs, sns) = (aws_sdk_sqs::Client::new(config), aws_sdk_sns::Client::new(config));
        Self { address, sqs, sns }
    }

    /// By which topic the queue gets its messages, as far as its policy names
    /// one that may be looked at. A topic has none.
    ///
    /// # Errors
    ///
    /// The queue cannot be looked at; or a filter is not one of key prefixes
    /// alone.
    pub async fn subscription(&self) -> Result<Option<Subscription>, NotificationError> {
        let Address::Queue(url) = &self.address else { return Ok(None) };
        let subject = format!("queue `{url}`");
        let asked = self.sqs.get_queue_attributes().queue_url(url);
        let asked = asked
            .attribute_names(QueueAttributeName::QueueArn)
            .attribute_names(QueueAttributeName::Policy);
        let told = asked.send().await;
        let told = told.map_err(|error| failed("sqs:GetQueueAttributes", &subject, error))?;
        let mut attributes = told.attributes.unwrap_or_default();
        let Some(arn) = attributes.remove(&QueueAttributeName::QueueArn) else { return Ok(None) };
        let policy = attributes.remove(&QueueAttributeName::Policy).unwrap_or_default();
        for topic in topics(&policy) {
            match self.subscription_of(&topic, &arn).await {
                Ok(None) => {}
                // Of a topic that is gone, or somebody else's, nobody here can say more.
                Err(error @ NotificationError::Unusable { .. }) if error.is_of_topic() => {
                    tracing::warn!("{}", chain(&error));
                }
                found => return found,
            }
        }
        Ok(None)
    }

    async fn subscription_of(
        &self,
        topic: &str,
        queue: &str,
    ) -> Result<Option<Subscription>, NotificationError> {
        let subject = format!("topic `{topic}`");
        let request = self.sns.list_subscriptions_by_topic().topic_arn(topic);
        let mut pages = request.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page =
                page.map_err(|error| failed("sns:ListSubscriptionsByTopic", &subject, error))?;
            let ours = page.subscriptions().iter().find(|found| found.endpoint() == Some(queue));
            let arn = ours.and_then(|found| found.subscription_arn());
            // One that is still to be confirmed has no ARN yet.
            let Some(arn) = arn.filter(|arn| arn.starts_with("arn:")) else { continue };
            let asked = self.sns.get_subscription_attributes().subscription_arn(arn).send().await;
            let asked =
                asked.map_err(|error| failed("sns:GetSubscriptionAttributes", &subject, error))?;
            let attributes = asked.attributes.unwrap_or_default();
            let is_raw = attributes.get("RawMessageDelivery").is_some_and(|value| value == "true");
            let shape = if is_raw { Shape::Raw } else { Shape::Sns };
            let policy = attributes.get("FilterPolicy").filter(|policy| policy.as_str() != "{}");
            let prefixes = policy.map(|policy| {
                prefixes(policy).ok_or_else(|| NotificationError::Unusable {
                    subject: format!("queue `{}`", self.address),
                    reason: "its filter is not one of key prefixes alone: nobody here can tell what it lets through"
                        .to_owned(),
                    source: "FilterPolicy".into(),
                })
            });
            let prefixes = prefixes.transpose()?;
            return Ok(Some(Subscription { topic: topic.to_owned(), shape, prefixes }));
        }
        Ok(None)
    }

    /// Sends one to [`BATCH`] messages, and tells by their index which were taken.
    /// Those that were not are tried again, five times at most.
    ///
    /// # Errors
    ///
    /// None was taken, or not all were after the last attempt; `taken` has those
    /// that were.
    pub async fn send(
        &self,
        messages: &[String],
        taken: &mut BTreeSet<usize>,
    ) -> Result<(), NotificationError> {
        let (operation, subject) = match &self.address {
            Address::Queue(url) => ("sqs:SendMessage", format!("queue `{url}`")),
            Address::Topic(arn) => ("sns:Publish", format!("topic `{arn}`")),
        };
        let mut left: Vec<_> = (0..messages.len()).collect();
        let policy =
            ExponentialBuilder::default().with_min_delay(WAIT).with_max_times(ATTEMPTS - 1);
        let mut waits = policy.build();
        loop {
            let refused = match &self.address {
                Address::Queue(url) => self.to_queue(url, messages, &left, taken).await,
                Address::Topic(arn) => self.to_topic(arn, messages, &left, taken).await,
            };
            let refused = refused.map_err(|failure| failed(operation, &subject, failure))?;
            left.retain(|index| !taken.contains(index));
            if left.is_empty() {
                return Ok(());
            }
            let Refused { code, is_ours } =
                refused.unwrap_or_else(|| Refused::new("the answer has no word of it", false));
            if is_ours {
                let reason = format!("AWS refuses {operation}");
                return Err(NotificationError::Unusable { subject, reason, source: code.into() });
            }
            let Some(wait) = waits.next() else {
                return Err(NotificationError::Failed { operation, subject, source: code.into() });
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn to_queue(
        &self,
        url: &str,
        messages: &[String],
        left: &[usize],
        taken: &mut BTreeSet<usize>,
    ) -> Result<Option<Refused>, Failure> {
        let entries = left.iter().map(|index| {
            SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(&messages[*index])
                .build()
                .map_err(|_| Failure::unexpected("an entry without a body"))
        });
        let entries = entries.collect::<Result<_, _>>()?;
        let told =
            self.sqs.send_message_batch().queue_url(url).set_entries(Some(entries)).send().await?;
        taken.extend(told.successful().iter().filter_map(|sent| sent.id().parse::<usize>().ok()));
        let refused = told.failed().first();
        Ok(refused.map(|entry| Refused::new(entry.code(), entry.sender_fault())))
    }

    async fn to_topic(
        &self,
        arn: &str,
        messages: &[String],
        left: &[usize],
        taken: &mut BTreeSet<usize>,
    ) -> Result<Option<Refused>, Failure> {
        let entries = left.iter().map(|index| {
            PublishBatchRequestEntry::builder()
                .id(index.to_string())
                .subject(SUBJECT)
                .message(&messages[*index])
                .build()
                .map_err(|_| Failure::unexpected("an entry without a message"))
        });
        let entries = entries.collect::<Result<_, _>>()?;
        let call = self.sns.publish_batch().topic_arn(arn);
        let told = call.set_publish_batch_request_entries(Some(entries)).send().await?;
        let sent = told.successful().iter().filter_map(|sent| sent.id()?.parse::<usize>().ok());
        taken.extend(sent);
        let refused = told.failed().first();
        Ok(refused.map(|entry| Refused::new(entry.code(), entry.sender_fault())))
    }
}

/// A message of a batch that was not taken.
struct Refused {
    code: String,
    /// To send it again would not help.
    is_ours: bool,
}

impl Refused {
    fn new(code: &str, is_ours: bool) -> Self {
        Self { code: code.to_owned(), is_ours }
    }
}

/// The subject that S3 gives its messages.
const SUBJECT: &str = "Amazon S3 Notification";

/// `message` in the envelope of SNS. It has no signature: only SNS has the key.
#[must_use]
pub fn in_envelope(message: &str, topic: &str, now: Timestamp, id: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Envelope<'a> {
        r#type: &'a str,
        message_id: &'a str,
        topic_arn: &'a str,
        subject: &'a str,
        message: &'a str,
        timestamp: String,
    }
    let timestamp = format!("{now:.3}");
    let envelope = Envelope {
        r#type: "Notification",
        message_id: id,
        topic_arn: topic,
        subject: SUBJECT,
        message,
        timestamp,
    };
    serde_json::to_string(&envelope).unwrap_or_default()
}

/// The topics that a queue's policy lets send.
fn topics(policy: &str) -> BTreeSet<String> {
    fn visit(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            // A pattern names no topic.
            Value::String(text) if text.contains(":sns:") && !text.contains(['*', '?']) => {
                found.insert(text.clone());
            }
            Value::Array(values) => values.iter().for_each(|value| visit(value, found)),
            Value::Object(fields) => fields.values().for_each(|value| visit(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    if let Ok(policy) = serde_json::from_str(policy) {
        visit(&policy, &mut found);
    }
    found
}

/// The key prefixes that a filter of message bodies lets through; `None` if it
/// asks for anything else.
fn prefixes(policy: &str) -> Option<Vec<String>> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let mut value = &policy;
    for name in ["Records", "s3", "object", "key"] {
        let fields = value.as_object().filter(|fields| fields.len() == 1)?;
        value = fields.get(name)?;
    }
    let one = |rule: &Value| {
        let rule = rule.as_object().filter(|rule| rule.len() == 1)?;
        Some(rule.get("prefix")?.as_str()?.to_owned())
    };
    value.as_array()?.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::stub;

    #[test]
    fn an_address_is_a_queue_or_a_topic() {
        let queue = "https://sqs.eu-west-1.amazonaws.com/111122223333/splunk-audit";
        assert_eq!(queue.parse(), Ok(Address::Queue(queue.to_owned())));
        let topic = "arn:aws:sns:eu-west-1:111122223333:objects";
        assert_eq!(topic.parse(), Ok(Address::Topic(topic.to_owned())));
        for (text, expected) in [
            (
                "arn:aws:sqs:eu-west-1:111122223333:splunk",
                "name a queue by its URL, not by its ARN",
            ),
            ("splunk", "use the URL of an SQS queue or the ARN of an SNS topic"),
            (
                "https://sqs.eu-west-1.amazonaws.com/",
                "use the URL of an SQS queue or the ARN of an SNS topic",
            ),
            ("", "use the URL of an SQS queue or the ARN of an SNS topic"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn a_filter_is_understood_or_not_at_all() {
        let filter = |policy: &str| prefixes(policy);
        assert_eq!(
            filter(r#"{"Records":{"s3":{"object":{"key":[{"prefix":"a/"},{"prefix":"b/"}]}}}}"#),
            Some(vec!["a/".to_owned(), "b/".to_owned()])
        );
        for odd in [
            "",
            "{}",
            r#"{"Records":{"s3":{"object":{"key":[{"suffix":".gz"}]}}}}"#,
            r#"{"Records":{"s3":{"object":{"key":["exact"]}}}}"#,
            r#"{"Records":{"s3":{"object":{"key":[{"prefix":"a/"}],"size":[{"numeric":[">",0]}]}}}}"#,
        ] {
            assert_eq!(filter(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_topics_of_a_policy_are_found_wherever_they_stand() {
        let policy = r#"{"Statement":[
            {"Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage",
             "Condition":{"ArnEquals":{"aws:SourceArn":["arn:aws:sns:r:1:a","arn:aws:sns:r:1:b","arn:aws:sns:*:1:*"]}}},
            {"Effect":"Deny","Principal":"*"}]}"#;
        let expected = ["arn:aws:sns:r:1:a", "arn:aws:sns:r:1:b"].map(str::to_owned);
        assert_eq!(topics(policy), BTreeSet::from(expected));
        assert_eq!(topics(""), BTreeSet::new());
    }

    #[test]
    fn an_answer_is_told_by_who_can_do_something() {
        for (operation, status, code, expected) in [
            ("sqs:SendMessage", 400, "AWS.SimpleQueueService.NonExistentQueue", "there is none"),
            ("sns:Publish", 404, "NotFound", "there is none"),
            ("sqs:SendMessage", 400, "AccessDeniedException", "allow sqs:SendMessage"),
            ("sns:Publish", 403, "AuthorizationError", "allow sns:Publish"),
            ("sns:Publish", 400, "InvalidParameter", "AWS refuses sns:Publish"),
            ("s3:ListBucket", 301, "", "the bucket is in another region"),
            ("sns:Publish", 429, "Throttled", "nothing"),
            ("sqs:SendMessage", 400, "OverLimit", "nothing"),
            ("sqs:SendMessage", 400, "ThrottlingException", "nothing"),
            ("sqs:SendMessage", 503, "", "nothing"),
        ] {
            let told = reason(operation, status, code, None);
            let told = told.as_deref().unwrap_or("nothing");
            assert!(told.starts_with(expected), "{status} {code}: {told}");
        }
    }

    #[tokio::test]
    async fn what_a_batch_leaves_is_sent_again_until_it_is_taken() {
        let calls = std::sync::atomic::AtomicU32::new(0);
        let config = stub(move |_, _| {
            let answer = match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => {
                    r#"{"Successful":[{"Id":"0","MessageId":"m","MD5OfMessageBody":""}],
                        "Failed":[{"Id":"1","SenderFault":false,"Code":"InternalError"}]}"#
                }
                // Not a word of it.
                1 => r#"{"Successful":[],"Failed":[]}"#,
                2 => {
                    r#"{"Successful":[{"Id":"1","MessageId":"m","MD5OfMessageBody":""}],"Failed":[]}"#
                }
                _ => {
                    r#"{"Successful":[],"Failed":[{"Id":"0","SenderFault":true,"Code":"TooLong"}]}"#
                }
            };
            (200, vec![("content-type", "application/x-amz-json-1.0")], answer)
        });
        let address = Address::Queue("https://sqs.eu-west-1.amazonaws.com/1/q".to_owned());
        let sender = Sender::new(&config.await, address);
        let messages = ["a".to_owned(), "b".to_owned()];
        let mut taken = BTreeSet::new();
        sender.send(&messages, &mut taken).await.unwrap();
        assert_eq!(taken, BTreeSet::from([0, 1]));

        let mut taken = BTreeSet::new();
        let refused = sender.send(&messages[..1], &mut taken).await.unwrap_err();
        assert!(matches!(refused, NotificationError::Unusable { .. }), "{refused:?}");
        assert_eq!(taken, BTreeSet::new());
    }
}
