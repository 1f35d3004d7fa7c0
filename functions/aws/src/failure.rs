//! Who can do something about a failed call.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use oplake_core::error::{BoxError, chain};

/// The header by which S3 tells in which region a bucket is.
const BUCKET_REGION: &str = "x-amz-bucket-region";

/// The header that names a request to AWS's support.
const REQUEST_ID: &str = "x-amzn-requestid";
const S3_REQUEST_ID: &str = "x-amz-request-id";

/// A failed call, reduced to what the ports decide by.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Who can do something about it.
    pub(crate) kind: Kind,
    /// What the service answered, or why it did not.
    pub(crate) source: BoxError,
}

/// Who can do something about a failed call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The service answered with this error.
    Answer {
        /// HTTP status.
        status: u16,
        /// The error's code; empty if the answer has no body.
        code: String,
        /// The error's message.
        message: String,
        /// The region that S3 names.
        region: Option<String>,
    },
    /// The operator: the call could not be made, or its signer is not known.
    Setup(String),
    /// Nobody, or the network: the outcome is unknown.
    Unknown,
}

/// An error that a service answered, on one line.
#[derive(Debug)]
struct Answer {
    status: u16,
    code: String,
    message: String,
    request_id: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AWS answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ", {}", self.message)?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

impl Error for Answer {}

impl<E> From<SdkError<E, Response>> for Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, Response>) -> Self {
        let kind = match &error {
            SdkError::ServiceError(service) => return answer(service.err(), service.raw()),
            SdkError::ConstructionFailure(_) => Kind::Setup(
                "the request cannot be made: check AWS_REGION and AWS_ENDPOINT_URL".to_owned(),
            ),
            // Among them is what fails before anything is sent.
            SdkError::DispatchFailure(failure) if failure.is_other() => before_dispatch(&error),
            _ => Kind::Unknown,
        };
        Self { kind, source: Box::new(error) }
    }
}

impl Failure {
    /// A failure of our own making, such as an answer that lacks what it must hold.
    pub(crate) fn unexpected(text: &'static str) -> Self {
        Self { kind: Kind::Unknown, source: text.into() }
    }

    /// The code of the service's error; empty if it is none, or has no code.
    pub(crate) fn code(&self) -> &str {
        match &self.kind {
            Kind::Answer { code, .. } => code,
            _ => "",
        }
    }

    /// The status of the service's answer; 0 if there was none.
    pub(crate) const fn status(&self) -> u16 {
        match &self.kind {
            Kind::Answer { status, .. } => *status,
            _ => 0,
        }
    }

    /// The message of the service's error.
    pub(crate) fn message(&self) -> &str {
        match &self.kind {
            Kind::Answer { message, .. } => message,
            _ => "",
        }
    }
}

fn answer(error: &impl ProvideErrorMetadata, response: &Response) -> Failure {
    let status = response.status().as_u16();
    let code = error.code().unwrap_or_default().to_owned();
    let message = error.message().unwrap_or_default().to_owned();
    let header = |name| response.headers().get(name).map(str::to_owned);
    let request_id = header(REQUEST_ID).or_else(|| header(S3_REQUEST_ID));
    let kind = match signer(&code) {
        Some(reason) => Kind::Setup(reason.to_owned()),
        None => Kind::Answer {
            status,
            code: code.clone(),
            message: message.clone(),
            region: header(BUCKET_REGION),
        },
    };
    Failure { kind, source: Box::new(Answer { status, code, message, request_id }) }
}

/// What is wrong with the one who signed the call, by the error's code.
fn signer(code: &str) -> Option<&'static str> {
    match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            Some("the AWS credentials have expired: sign in again, e.g. by `aws sso login`")
        }
        "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidToken"
        | "UnrecognizedClientException" => Some(
            "AWS does not know the credentials: see which ones are used by `aws sts get-caller-identity`",
        ),
        "SignatureDoesNotMatch" | "InvalidSignatureException" => Some(
            "the AWS credentials do not belong together: set AWS_SECRET_ACCESS_KEY to the key of AWS_ACCESS_KEY_ID",
        ),
        "RequestTimeTooSkewed" => Some("the local clock is wrong: set it"),
        "OptInRequired" | "SubscriptionRequiredException" => {
            Some("the account or the region is not enabled: see the AWS console under Account")
        }
        _ => None,
    }
}

fn before_dispatch(error: &(dyn Error + 'static)) -> Kind {
    match find::<CredentialsError>(error) {
        Some(CredentialsError::CredentialsNotLoaded(_)) => Kind::Setup(
            "no AWS credentials found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                .to_owned(),
        ),
        Some(CredentialsError::ProviderTimedOut(_)) => Kind::Unknown,
        Some(_) => Kind::Setup(
            "the AWS credentials cannot be loaded: sign in again, e.g. by `aws sso login`".to_owned(),
        ),
        None => {
            // The error of the endpoint rules has no type that we can name.
            let text = chain(error);
            if text.contains("A region must be set") || text.contains("Missing Region") {
                Kind::Setup("no AWS region found: set AWS_REGION".to_owned())
            } else {
                Kind::Unknown
            }
        }
    }
}

/// The first cause of `error` that is an `E`.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
