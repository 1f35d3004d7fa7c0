//! A server that answers what the local stack never does: refusals, failures.

use std::sync::Arc;

use aws_config::retry::RetryConfig;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use tokio::net::TcpListener;

/// What the stub answers: status, headers, body.
pub(crate) type Reply = (u16, Vec<(&'static str, &'static str)>, &'static str);

/// Starts a server that answers each request, given as `METHOD path?query` and
/// its headers, by `answer`; returns the configuration that reaches it.
pub(crate) async fn stub(
    answer: impl Fn(&str, &HeaderMap) -> Reply + Send + Sync + 'static,
) -> SdkConfig {
    let answer = Arc::new(answer);
    let handler = move |request: Request| {
        let answer = Arc::clone(&answer);
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let (status, headers, body) = answer(&line, request.headers());
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body)).unwrap()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    config(&format!("http://{address}")).await
}

/// The configuration that reaches `endpoint`, with nobody's credentials and
/// without retries.
pub(crate) async fn config(endpoint: &str) -> SdkConfig {
    let loader = crate::sdk::loader(None).unwrap().endpoint_url(endpoint);
    let loader = loader.region(Region::new("eu-west-1")).retry_config(RetryConfig::disabled());
    loader.credentials_provider(Credentials::for_tests()).load().await
}
