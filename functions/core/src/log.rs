//! Log lines: ours at the level that was asked for, those of dependencies only
//! from `WARN` on. A dependency at `TRACE` would print requests.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The crates of this project.
const OURS: [&str; 5] = ["oplake_core", "oplake_aws", "oplake_cli", "oplake", "collector"];

/// Target of the lines that tell how a stream ended. The shell tells it in its
/// own words.
pub(crate) const OUTCOME: &str = "oplake_core::outcome";

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON objects on standard output, as CloudWatch Logs reads them.
    Json,
    /// Plain lines on standard error.
    Plain,
}

/// Starts logging. Does nothing if it was started before.
pub fn init(level: LevelFilter, format: Format) {
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.map(|target| (target, level)));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Json => registry.with(fmt::layer().json().flatten_event(true)).try_init(),
        Format::Plain => {
            let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
            let layer = layer.with_target(false).without_time();
            let told = Targets::new().with_default(LevelFilter::TRACE);
            let told = told.with_target(OUTCOME, LevelFilter::OFF);
            registry.with(layer.with_filter(told)).try_init()
        }
    };
    drop(started);
}
