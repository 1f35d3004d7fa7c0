//! What a lake must look like.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use events_api_simulator::Feed as ApiFeed;
use flate2::bufread::GzDecoder;
use oplake_core::event::Event;
use oplake_core::feed::{AccountName, Feed};
use oplake_core::partition::Day;

/// The feed's name on the other side.
#[must_use]
pub const fn api(feed: Feed) -> ApiFeed {
    match feed {
        Feed::SigninAttempts => ApiFeed::SignInAttempts,
        Feed::ItemUsages => ApiFeed::ItemUsages,
        Feed::AuditEvents => ApiFeed::AuditEvents,
    }
}

/// All files below `root`, by their path relative to it.
#[must_use]
pub fn files(root: &Path) -> BTreeMap<String, Bytes> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(key, std::fs::read(&path).unwrap().into());
            }
        }
    }
    found
}

/// The lines of every object under `onepassword/v1/`, by account and feed,
/// sorted. Panics if an object breaks its contract.
#[must_use]
pub fn lines(objects: &BTreeMap<String, Bytes>) -> BTreeMap<(AccountName, Feed), Vec<Bytes>> {
    let mut lines: BTreeMap<_, Vec<Bytes>> = BTreeMap::new();
    for (key, body) in objects {
        let Some(path) = key.strip_prefix("onepassword/v1/") else { continue };
        let segments: Vec<&str> = path.split('/').collect();
        let [feed, day, account, name] = segments[..] else { panic!("odd key: {key}") };
        let legal = |c: char| c.is_ascii_alphanumeric() || "/_.-".contains(c);
        assert!(key.chars().all(legal), "{key}");
        assert!(name.ends_with(".json.gz"), "{key}");
        let (feed, day): (Feed, Day) = (feed.parse().unwrap(), day.parse().unwrap());
        let found = lines.entry((account.parse().unwrap(), feed)).or_default();
        for line in object_lines(key, body) {
            let event = Event::parse(&line).unwrap_or_else(|defect| panic!("{key}: {defect:?}"));
            assert_eq!(event.line.as_ptr(), line.as_ptr(), "{key}: a line is not compact");
            assert_eq!(event.day(), day, "{key}: an event of another day");
            found.push(line);
        }
    }
    for lines in lines.values_mut() {
        lines.sort();
    }
    lines
}

/// The lines of one object: one gzip member, no time, `\n` after each line.
#[must_use]
pub fn object_lines(key: &str, body: &Bytes) -> Vec<Bytes> {
    assert_eq!(body[4..8], [0; 4], "{key}: a modification time");
    let mut decoder = GzDecoder::new(&body[..]);
    let mut text = Vec::new();
    decoder.read_to_end(&mut text).unwrap();
    assert!(decoder.into_inner().is_empty(), "{key}: more than one member");
    assert_eq!(text.pop(), Some(b'\n'), "{key}: no newline at the end");
    let text = Bytes::from(text);
    text.split(|byte| *byte == b'\n').map(|line| text.slice_ref(line)).collect()
}

/// Asserts that `objects` hold exactly `expected` of `feed`, each once and byte
/// for byte.
pub fn assert_holds<'a>(
    objects: &BTreeMap<String, Bytes>,
    account: &str,
    feed: Feed,
    expected: impl IntoIterator<Item = &'a Bytes>,
) {
    let mut expected: Vec<_> = expected.into_iter().cloned().collect();
    expected.sort();
    let found = lines(objects).remove(&(account.parse().unwrap(), feed)).unwrap_or_default();
    // A plain comparison would print every event.
    let missing = expected.iter().filter(|line| found.binary_search(line).is_err()).count();
    let twice = found.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!(
        (missing, twice, found.len()),
        (0, 0, expected.len()),
        "{account}/{feed}: (missing, twice, in all)"
    );
    assert!(found == expected, "{account}/{feed}: a line is not as it was served");
}
