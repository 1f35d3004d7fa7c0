//! How the AWS SDK is set up: credentials, region, TLS, proxy, timeouts.
//!
//! Everything that the SDKs of AWS agree on is read from the environment and
//! the shared configuration files, such as `AWS_REGION`, `AWS_PROFILE`,
//! `AWS_ENDPOINT_URL` and `AWS_USE_FIPS_ENDPOINT`; proxies from `HTTPS_PROXY`,
//! `HTTP_PROXY` and `NO_PROXY`; the system's root certificates from where the
//! system keeps them, or from `SSL_CERT_FILE`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Connector, HttpClientError};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time of one attempt: a part of 8 MiB takes it at 2.3 Mbit/s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Attempts of one call, the first included.
const ATTEMPTS: u32 = 3;

/// The file of additional root certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// The file cannot be read.
    #[error("the CA file {} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no PEM.
    #[error("the CA file {} is not PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A certificate of the file cannot be a root.
    #[error("the CA file {} holds a certificate that cannot be a root", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The file holds no certificate.
    #[error("the CA file {} holds no certificate: it needs `BEGIN CERTIFICATE`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The SDK does not accept the certificates.
    #[error("the TLS settings cannot be used")]
    Tls(#[source] HttpClientError),
}

/// Loads the configuration that every client of this crate is made from.
///
/// `extra_ca` is a PEM file of root certificates that are trusted beside those
/// of the system, such as the one of an inspecting proxy.
///
/// Reads the environment and files, and sends nothing: credentials are looked
/// for with the first request. A missing region is told then, too.
///
/// # Errors
///
/// Only for `extra_ca`.
pub async fn load(extra_ca: Option<&Path>) -> Result<SdkConfig, CaError> {
    Ok(loader(extra_ca)?.load().await)
}

/// What [`load`] loads, before it does, to override a setting.
///
/// # Errors
///
/// As [`load`].
pub fn loader(extra_ca: Option<&Path>) -> Result<ConfigLoader, CaError> {
    let http_client = Client { trust: trust(extra_ca)?, connectors: Mutex::default() };
    // The default chain also asks the metadata service of EC2, over the
    // network, whenever no region is set.
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    // A body that stops moving is cut by the SDK's stalled stream protection,
    // which is on by default.
    Ok(aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client)
        .region(region)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts))
}

fn trust(extra_ca: Option<&Path>) -> Result<TlsContext, CaError> {
    let mut store = TrustStore::default();
    if let Some(path) = extra_ca {
        store.add_pem_certificate(read_pem(path)?);
    }
    TlsContext::builder().with_trust_store(store).build().map_err(CaError::Tls)
}

/// Reads a PEM file. The SDK would panic over a bad one.
fn read_pem(path: &Path) -> Result<Vec<u8>, CaError> {
    let path = path.to_owned();
    let pem = match fs::read(&path) {
        Ok(pem) => pem,
        Err(source) => return Err(CaError::Io { path, source }),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(source) => return Err(CaError::Pem { path, source }),
        };
        if let Err(source) = roots.add(certificate) {
            return Err(CaError::Certificate { path, source });
        }
    }
    if roots.is_empty() { Err(CaError::Empty { path }) } else { Ok(pem) }
}

/// The HTTP client of all AWS clients.
///
/// The SDK's own builder of clients has no setting for a proxy, and it reads
/// the root certificates when a client is made. This one makes a connector with
/// the first request: the system's roots are read once in a process (5 ms for
/// the 145 of Debian) and parsed once for each connector (0.2 ms). There is one
/// for all services, and one more for a credentials endpoint if one is asked.
#[derive(Debug)]
struct Client {
    trust: TlsContext,
    /// By connect and read timeout.
    connectors: Mutex<HashMap<[Option<Duration>; 2], SharedHttpConnector>>,
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let key = [settings.connect_timeout(), settings.read_timeout()];
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        let connector = connectors.entry(key).or_insert_with(|| {
            let mut builder = Connector::builder()
                .connector_settings(settings.clone())
                .proxy_config(ProxyConfig::from_env())
                .tls_provider(Provider::rustls(CryptoMode::Ring))
                .tls_context(self.trust.clone());
            builder.set_sleep_impl(components.sleep_impl());
            SharedHttpConnector::new(builder.build())
        });
        connector.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(pem: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, pem).unwrap();
        let error = loader(Some(&path)).unwrap_err();
        error.to_string().replace(&path.display().to_string(), "FILE")
    }

    #[test]
    fn a_bad_ca_file_is_an_error_and_no_panic() {
        assert_eq!(
            refused("text"),
            "the CA file FILE holds no certificate: it needs `BEGIN CERTIFICATE`"
        );
        assert_eq!(refused("-----BEGIN CERTIFICATE-----\nbroken"), "the CA file FILE is not PEM");
        assert_eq!(
            refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "the CA file FILE holds a certificate that cannot be a root"
        );
        let missing = loader(Some(Path::new("/missing.pem"))).unwrap_err();
        assert_eq!(missing.to_string(), "the CA file /missing.pem cannot be read");
    }
}
