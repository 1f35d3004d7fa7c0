//! Bytes that nobody should send: what fuzzers have found and what is thought
//! up here, on a stable compiler. `tests/fuzz` looks for more.

use std::path::Path;

use oplake_core::testing::hostile;
use proptest::prelude::*;

type Claim = (&'static str, fn(&[u8]));

const CLAIMS: [Claim; 5] = [
    ("page", hostile::page),
    ("line", hostile::line),
    ("secret", hostile::secret),
    ("row", hostile::row),
    ("error_body", hostile::error_body),
];

#[test]
fn the_corpus_holds() {
    for (name, claim) in CLAIMS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut seeds = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            claim(&std::fs::read(entry.unwrap().path()).unwrap());
            seeds += 1;
        }
        assert!(seeds >= 3, "{name}");
    }
}

/// Bytes, and text that is nearly JSON.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u2028",
        "\\ud800",
        "null",
        "true",
        "1.5e3",
        " ",
        "\n",
        "\u{2028}",
        "\u{85}",
        "é",
        "uuid",
        "timestamp",
        "cursor",
        "items",
        "\"items\":[",
        "\"cursor\":\"c\"",
        "\"timestamp\":\"2026-01-02T03:04:05Z\"",
        "start_time:",
        "cursor:",
        "Error",
        "message",
    ]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat().into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_hold(bytes in bytes()) {
        for (_, claim) in CLAIMS {
            claim(&bytes);
        }
    }
}
