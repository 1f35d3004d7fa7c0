//! What the function does before it can do anything: settings.

use std::path::Path;
use std::time::Duration;

use oplake_tests::runtime_api::Function;
use serde_json::{Value, json};

/// A complete environment; nothing answers at its addresses.
const SETTINGS: [(&str, &str); 3] = [
    ("TOKEN_SECRET_ARN", "events-api-token"),
    ("ARCHIVE_BUCKET", "lake"),
    ("CHECKPOINT_TABLE", "checkpoints"),
];

/// The function with `changes` to its settings: an empty value counts as unset.
async fn start(changes: &[(&str, &str)]) -> Function {
    let program = Path::new(env!("CARGO_BIN_EXE_collector"));
    Function::start(program, SETTINGS.iter().chain(changes).copied()).await
}

#[tokio::test]
async fn a_setting_that_is_missing_or_malformed_fails_each_invocation_by_its_name() {
    for (name, value, expected) in [
        ("ARCHIVE_BUCKET", "", "ARCHIVE_BUCKET is not set"),
        ("TOKEN_SECRET_ARN", "", "TOKEN_SECRET_ARN is not set"),
        ("CHECKPOINT_TABLE", "", "CHECKPOINT_TABLE is not set"),
        ("KEY_PREFIX", "k=v/", "KEY_PREFIX is `k=v/`"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL is `loud`: use TRACE, DEBUG, INFO, WARN or ERROR"),
        ("EXTRA_CA_FILE", "/missing.pem", "the CA file /missing.pem cannot be read"),
    ] {
        let mut function = start(&[(name, value)]).await;
        // A second answer shows that the process has survived the first.
        for _ in 0..2 {
            let failed = function.invoke(json!({}), Duration::from_secs(30)).await.unwrap_err();
            assert_eq!(failed.error_type, "Config.Invalid", "{failed:?}");
            assert!(failed.message.contains(expected), "{failed:?}");
        }

        let written = function.stop().await;
        assert_eq!(written.stderr, Vec::<String>::new(), "{name}");
        let lines = written.stdout.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        // The runtime tells of a failure once more.
        let ours: Vec<_> = lines.filter(|line| line["target"] == "collector::handler").collect();
        assert_eq!(ours.len(), 2, "{name}: {ours:?}");
        for line in ours {
            assert_eq!(
                (&line["level"], &line["error.code"]),
                (&json!("ERROR"), &json!("Config.Invalid"))
            );
            assert!(line["message"].as_str().unwrap().contains(expected), "{line}");
        }
    }
}
