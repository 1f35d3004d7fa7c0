//! The Lambda function: one collection of every stream per invocation.

mod handler;
mod input;
mod secret;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use oplake_core::config::Config;
use oplake_core::log::{Format, init};
use serde_json::Value;
use tracing::level_filters::LevelFilter;

use crate::handler::Collector;

fn main() -> Result<(), Error> {
    // One thread for I/O, and one for what computes or asks the resolver: a small
    // function has less than one processor, and each thread keeps memory of its own.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(1).build()?.block_on(run())
}

async fn run() -> Result<(), Error> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let lookup = |name: &str| std::env::var(name).ok();
    let config = Config::from_lookup(lookup);
    init(config.as_ref().map_or(LevelFilter::INFO, |config| config.log_level), Format::Json);
    let function = lookup("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| "collector".to_owned());
    let collector = &Collector::new(config, function);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let deadline = event.context.deadline();
        collector.invoke(event.payload, deadline).await
    }))
    .await
}
