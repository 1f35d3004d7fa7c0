//! Checkpoints in DynamoDB.
//!
//! A stream is one item of the table, with the key `account` (partition) and
//! `feed` (sort), both text. It is written whole, on the condition that its
//! `commit_id` is still the one that was loaded; that write is the commit.

use std::collections::HashMap;
use std::str::FromStr;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use oplake_core::archive::Staged;
use oplake_core::checkpoint::{
    CheckpointError, CheckpointStore, CommitId, Cursor, Position, ROW_VERSION, Row,
};
use oplake_core::feed::{AccountName, Feed, Stream};
use oplake_core::newness::Marks;
use oplake_core::window::Window;

use crate::failure::{Failure, Kind};

/// Largest item that is sent, in bytes. DynamoDB's limit is 400 KB.
const MAX_ITEM: usize = 350_000;

/// The condition under which a row may be replaced or removed.
const IS_EXPECTED: &str = "commit_id = :expected";
const IS_NEW: &str = "attribute_not_exists(commit_id)";

type Item = HashMap<String, AttributeValue>;

/// Rows in a DynamoDB table, one item for each stream.
#[derive(Debug, Clone)]
pub struct DynamoDbCheckpoints {
    client: Client,
    name: String,
    table: String,
}

impl DynamoDbCheckpoints {
    /// Uses the table `name`, whose key is `account` and `feed`. Sends nothing.
    #[must_use]
    pub fn new(config: &SdkConfig, name: String) -> Self {
        let table = format!("dynamodb://{name}");
        Self { client: Client::new(config), name, table }
    }

    fn failed(&self, stream: Option<&Stream>, failure: impl Into<Failure>) -> CheckpointError {
        let Failure { kind, source } = failure.into();
        let table = self.table.clone();
        let reason = match kind {
            Kind::Setup(reason) => reason,
            Kind::Unknown => return CheckpointError::Unknown { table, source },
            Kind::Answer { code, .. } => match (code.as_str(), stream) {
                ("ConditionalCheckFailedException", Some(stream)) => {
                    return CheckpointError::Conflict { stream: stream.clone() };
                }
                ("ResourceNotFoundException", _) => {
                    "there is no such table in this account and region: create it with the partition key \
                     `account` and the sort key `feed`, both of type S, or correct its name or AWS_REGION"
                        .to_owned()
                }
                ("AccessDeniedException", _) => {
                    "a permission is missing: allow dynamodb:GetItem and PutItem on the table (DeleteItem and \
                     Scan for `oplake`), and its KMS key if it has one"
                        .to_owned()
                }
                ("ValidationException", _) => {
                    "the table does not fit: its partition key must be `account`, its sort key `feed`, both of type S"
                        .to_owned()
                }
                _ => return CheckpointError::Unknown { table, source },
            },
        };
        CheckpointError::Unusable { table, reason, source }
    }
}

impl CheckpointStore for DynamoDbCheckpoints {
    fn table(&self) -> &str {
        &self.table
    }

    async fn load(&self, stream: &Stream) -> Result<Option<Row>, CheckpointError> {
        let request = self.client.get_item().table_name(&self.name);
        let request = request.set_key(Some(key(stream))).consistent_read(true);
        let output = request.send().await.map_err(|error| self.failed(None, error))?;
        output.item.map(|item| decode(stream, &item)).transpose()
    }

    async fn commit(
        &self,
        stream: &Stream,
        expected: Option<&CommitId>,
        row: &Row,
    ) -> Result<(), CheckpointError> {
        let item = encode(stream, row);
        let bytes = size(&item);
        if bytes > MAX_ITEM {
            return Err(CheckpointError::Unusable {
                table: self.table.clone(),
                reason: format!(
                    "the row of {stream} would take {bytes} bytes, over the limit of {MAX_ITEM}; this is a bug"
                ),
                source: "the row is too large".into(),
            });
        }
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        let request = match expected {
            None => request.condition_expression(IS_NEW),
            Some(id) => request
                .condition_expression(IS_EXPECTED)
                .expression_attribute_values(":expected", text(id.as_str())),
        };
        request.send().await.map_err(|error| self.failed(Some(stream), error))?;
        Ok(())
    }

    async fn remove(&self, stream: &Stream, expected: &CommitId) -> Result<(), CheckpointError> {
        let request = self.client.delete_item().table_name(&self.name);
        let request = request
            .set_key(Some(key(stream)))
            .condition_expression(IS_EXPECTED)
            .expression_attribute_values(":expected", text(expected.as_str()));
        request.send().await.map_err(|error| self.failed(Some(stream), error))?;
        Ok(())
    }

    async fn streams(&self) -> Result<Vec<Stream>, CheckpointError> {
        let request = self.client.scan().table_name(&self.name).consistent_read(true);
        let request = request
            .projection_expression("#account, #feed")
            .expression_attribute_names("#account", "account")
            .expression_attribute_names("#feed", "feed");
        let mut items = request.into_paginator().items().send();
        let mut streams = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| self.failed(None, error))?;
            let stream = stream_of(&item);
            if stream.is_none() {
                let table = &self.table;
                tracing::warn!(table, "skipped an item of {table} that is no stream's");
            }
            streams.extend(stream);
        }
        Ok(streams)
    }
}

fn key(stream: &Stream) -> Item {
    Item::from([
        ("account".to_owned(), text(stream.account.as_str())),
        ("feed".to_owned(), text(stream.feed.as_str())),
    ])
}

fn stream_of(item: &Item) -> Option<Stream> {
    let account = item.get("account")?.as_s().ok()?.parse::<AccountName>().ok()?;
    let feed = item.get("feed")?.as_s().ok()?.parse::<Feed>().ok()?;
    Some(Stream { account, feed })
}

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(number: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

/// An optional attribute is left out if there is none; a list that recovery
/// needs is written even if it is empty, so that its loss is noticed.
fn encode(stream: &Stream, row: &Row) -> Item {
    let mut item = key(stream);
    let mut set = |name: &str, value| item.insert(name.to_owned(), value);
    set("version", number(ROW_VERSION));
    set("commit_id", text(row.commit_id.as_str()));
    set("table", text(&row.table));
    set("archive", text(&row.archive));
    if let Some(uuid) = &row.account_uuid {
        set("account_uuid", text(uuid));
    }
    if let Some(id) = &row.token_id {
        set("token_id", text(id));
    }
    if let Some(cursor) = &row.cursor {
        set("cursor", text(cursor.expose()));
    }
    set("from", text(row.from.encode()));
    set("staged", AttributeValue::L(row.staged.iter().map(encode_staged).collect()));
    set("high_water", text(row.marks.high_water.to_string()));
    set("recent", AttributeValue::B(Blob::new(row.marks.encode_recent())));
    set("recent_from", number(row.marks.recent_from()));
    if let Some(time) = row.complete_until {
        set("complete_until", text(time.to_string()));
    }
    for (name, windows) in [("gaps", &row.gaps), ("resync", &row.resync)] {
        if !windows.is_empty() {
            set(name, AttributeValue::L(windows.iter().map(encode_window).collect()));
        }
    }
    set("updated_at", text(row.updated_at.to_string()));
    item
}

fn encode_staged(staged: &Staged) -> AttributeValue {
    AttributeValue::M(Item::from([
        ("key".to_owned(), text(&staged.key)),
        ("upload_id".to_owned(), text(&staged.upload_id)),
        ("etag".to_owned(), text(&staged.etag)),
        ("crc32".to_owned(), number(staged.crc32)),
        ("size".to_owned(), number(staged.size)),
        ("events".to_owned(), number(staged.events)),
    ]))
}

fn encode_window(window: &Window) -> AttributeValue {
    AttributeValue::M(Item::from([
        ("from".to_owned(), text(window.from.to_string())),
        ("to".to_owned(), text(window.to.to_string())),
    ]))
}

/// The name of an attribute that is missing or malformed.
type Malformed = &'static str;

fn decode(stream: &Stream, item: &Item) -> Result<Row, CheckpointError> {
    let corrupt = |attribute| CheckpointError::Corrupt { stream: stream.clone(), attribute };
    // A newer row may lack or reshape anything but its version.
    let found: u32 = number_of(item, "version").map_err(corrupt)?;
    if found > ROW_VERSION {
        return Err(CheckpointError::Newer { stream: stream.clone(), found });
    }
    decode_row(item).map_err(corrupt)
}

fn decode_row(item: &Item) -> Result<Row, Malformed> {
    Ok(Row {
        commit_id: parsed(item, "commit_id")?,
        table: text_of(item, "table")?.to_owned(),
        archive: text_of(item, "archive")?.to_owned(),
        account_uuid: optional(item, "account_uuid", text_of)?.map(str::to_owned),
        token_id: optional(item, "token_id", text_of)?.map(str::to_owned),
        cursor: optional(item, "cursor", text_of)?.map(|text| Cursor::new(text.to_owned())),
        from: Position::decode(text_of(item, "from")?).ok_or("from")?,
        staged: list_of(item, "staged", decode_staged)?,
        marks: decode_marks(item)?,
        complete_until: optional(item, "complete_until", parsed)?,
        gaps: windows_of(item, "gaps")?,
        resync: windows_of(item, "resync")?,
        updated_at: parsed(item, "updated_at")?,
    })
}

fn decode_marks(item: &Item) -> Result<Marks, Malformed> {
    let recent = item.get("recent").and_then(|value| value.as_b().ok()).ok_or("recent")?;
    let high_water: Timestamp = parsed(item, "high_water")?;
    let recent_from = number_of(item, "recent_from")?;
    Marks::decode(high_water, recent_from, recent.as_ref()).ok_or("recent")
}

fn decode_staged(item: &Item) -> Result<Staged, Malformed> {
    Ok(Staged {
        key: text_of(item, "key")?.to_owned(),
        upload_id: text_of(item, "upload_id")?.to_owned(),
        etag: text_of(item, "etag")?.to_owned(),
        crc32: number_of(item, "crc32")?,
        size: number_of(item, "size")?,
        events: number_of(item, "events")?,
    })
}

fn windows_of(item: &Item, name: &'static str) -> Result<Vec<Window>, Malformed> {
    let windows = optional(item, name, |item, name| list_of(item, name, decode_window))?;
    Ok(windows.unwrap_or_default())
}

fn decode_window(item: &Item) -> Result<Window, Malformed> {
    Ok(Window { from: parsed(item, "from")?, to: parsed(item, "to")? })
}

fn text_of(item: &Item, name: Malformed) -> Result<&str, Malformed> {
    let text = item.get(name).and_then(|value| value.as_s().ok());
    text.map(String::as_str).ok_or(name)
}

fn parsed<T: FromStr>(item: &Item, name: Malformed) -> Result<T, Malformed> {
    text_of(item, name)?.parse().map_err(|_| name)
}

fn number_of<T: FromStr>(item: &Item, name: Malformed) -> Result<T, Malformed> {
    let number = item.get(name).and_then(|value| value.as_n().ok()).ok_or(name)?;
    number.parse().map_err(|_| name)
}

fn optional<'a, T>(
    item: &'a Item,
    name: Malformed,
    read: impl FnOnce(&'a Item, Malformed) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    item.contains_key(name).then(|| read(item, name)).transpose()
}

fn list_of<T>(
    item: &Item,
    name: Malformed,
    decode: impl Fn(&Item) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let list = item.get(name).and_then(|value| value.as_l().ok()).ok_or(name)?;
    list.iter().map(|entry| decode(entry.as_m().map_err(|_| name)?).map_err(|_| name)).collect()
}

/// The size of an item as DynamoDB counts it, or a little more.
fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len() + 1,
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::L(list) => {
            3 + list.iter().map(|value| 1 + value_size(value)).sum::<usize>()
        }
        AttributeValue::M(map) => 3 + map.len() + size(map),
        // No other type is written.
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::stub;

    fn stream() -> Stream {
        Stream { account: "main".parse().unwrap(), feed: Feed::AuditEvents }
    }

    fn row() -> Row {
        let time: Timestamp = "2026-03-01T07:59:59.000000001Z".parse().unwrap();
        let staged = Staged {
            key: "k".to_owned(),
            upload_id: "u".to_owned(),
            etag: "e".to_owned(),
            crc32: u32::MAX,
            size: u64::MAX,
            events: 3,
        };
        Row {
            commit_id: CommitId::random(),
            table: "dynamodb://t".to_owned(),
            archive: "s3://lake/".to_owned(),
            account_uuid: Some("A".to_owned()),
            token_id: Some("jti:1".to_owned()),
            cursor: Some(Cursor::new("c".to_owned())),
            from: Position::Start(time),
            staged: vec![staged.clone(), staged],
            marks: Marks::unknown_until(time),
            complete_until: Some(time),
            gaps: vec![Window { from: time, to: time }],
            resync: vec![Window { from: time, to: time }],
            updated_at: time,
        }
    }

    #[test]
    fn rows_survive_storage() {
        let full = row();
        assert_eq!(decode(&stream(), &encode(&stream(), &full)).unwrap(), full);
        let bare = Row {
            account_uuid: None,
            token_id: None,
            cursor: None,
            staged: Vec::new(),
            marks: Marks::nothing(),
            complete_until: None,
            gaps: Vec::new(),
            resync: Vec::new(),
            ..full
        };
        let item = encode(&stream(), &bare);
        assert_eq!(decode(&stream(), &item).unwrap(), bare);
        let mut names: Vec<_> = item.into_keys().collect();
        names.sort_unstable();
        assert_eq!(
            names.join(" "),
            "account archive commit_id feed from high_water recent recent_from staged table updated_at version"
        );
    }

    #[test]
    fn a_damaged_row_is_refused_by_the_name_of_the_attribute() {
        for name in [
            "version",
            "commit_id",
            "table",
            "archive",
            "from",
            "staged",
            "high_water",
            "recent",
            "recent_from",
            "updated_at",
        ] {
            for damage in [None, Some(AttributeValue::Bool(true))] {
                let mut item = encode(&stream(), &row());
                item.remove(name);
                item.extend(damage.map(|value| (name.to_owned(), value)));
                let error = decode(&stream(), &item).unwrap_err();
                let CheckpointError::Corrupt { attribute, .. } = error else { panic!("{error}") };
                assert_eq!(attribute, name);
            }
        }
        for name in ["account_uuid", "token_id", "cursor", "complete_until", "gaps", "resync"] {
            let mut item = encode(&stream(), &row());
            item.insert(name.to_owned(), AttributeValue::Null(true));
            let error = decode(&stream(), &item).unwrap_err();
            assert!(
                matches!(error, CheckpointError::Corrupt { attribute, .. } if attribute == name)
            );
        }
    }

    #[test]
    fn a_newer_row_is_known_by_its_version_alone() {
        let item = Item::from([("version".to_owned(), number(ROW_VERSION + 1))]);
        let error = decode(&stream(), &item).unwrap_err();
        assert!(matches!(error, CheckpointError::Newer { found: 2, .. }), "{error}");
    }

    #[tokio::test]
    async fn errors_are_told_by_who_can_fix_them() {
        for (status, code, expected) in [
            (400, "ConditionalCheckFailedException", "Checkpoint.Conflict"),
            (400, "ResourceNotFoundException", "Checkpoint.Unusable"),
            (400, "AccessDeniedException", "Checkpoint.Unusable"),
            (400, "UnrecognizedClientException", "Checkpoint.Unusable"),
            (400, "ValidationException", "Checkpoint.Unusable"),
            (400, "ThrottlingException", "Checkpoint.Unavailable"),
            (400, "ProvisionedThroughputExceededException", "Checkpoint.Unavailable"),
            (500, "InternalServerError", "Checkpoint.Unavailable"),
        ] {
            let body: &str =
                format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}"}}"#).leak();
            let config = stub(move |_, _| (status, vec![], body)).await;
            let checkpoints = DynamoDbCheckpoints::new(&config, "t".to_owned());
            let error = checkpoints.commit(&stream(), None, &row()).await.unwrap_err();
            assert_eq!(error.code(), expected, "{code}");
        }
    }

    #[tokio::test]
    async fn a_row_that_is_too_large_is_never_sent() {
        let config = stub(|_, _| (200, vec![], "{}")).await;
        let checkpoints = DynamoDbCheckpoints::new(&config, "t".to_owned());
        let cursor = |length| Some(Cursor::new("c".repeat(length)));
        let (stream, fits, huge) = (
            stream(),
            Row { cursor: cursor(300_000), ..row() },
            Row { cursor: cursor(350_000), ..row() },
        );
        checkpoints.commit(&stream, None, &fits).await.unwrap();
        let error = checkpoints.commit(&stream, None, &huge).await.unwrap_err();
        assert!(error.to_string().contains("the row of main/audit_events would take"), "{error}");
    }
}
