//! Parameters taken from a request, whichever way they came.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::header;

use tokio::time::timeout;

use super::error::{ApiError, ErrorKind, Limit};
use super::params::Params;

/// The longest form: a query of 1 MiB, each byte of it escaped.
const FORM_BYTES_MAX: usize = 4 << 20;
/// How long a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let media_type =
            parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Ok(Self::parse(parts.uri.query(), b""));
        }
        let too_long = |_| {
            let message = format!("cannot read the form: at most {FORM_BYTES_MAX} bytes are taken");
            ApiError::bad_data(message).limit(Limit::FormBytes)
        };
        let too_slow = |_| {
            ApiError::new(
                ErrorKind::Timeout,
                format!("the form did not arrive within {} s", FORM_TIMEOUT.as_secs()),
            )
            .limit(Limit::FormTime)
        };
        let form =
            timeout(FORM_TIMEOUT, axum::body::to_bytes(body, FORM_BYTES_MAX)).await.map_err(too_slow)?;
        let form = form.map_err(too_long)?;
        Ok(Self::parse(parts.uri.query(), &form))
    }
}
