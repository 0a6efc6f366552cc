//! A request's body: read within a size and a time, then parsed as JSON.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use serde_json::Value;

use super::error::ApiError;

/// How many times the limit is read and thrown away of a body that is too large. A client that is answered while it still
/// sends may lose the answer, so one that is nearly done is let finish.
const LENIENCE: usize = 8;

/// What bodies may be.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Most bytes.
    pub bytes: usize,
    /// Most time.
    pub time: Duration,
}

/// Reads a JSON body.
///
/// # Errors
/// When it says that it is something else, is too large, too slow, or not JSON.
pub async fn read(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Value, ApiError> {
    check_type(headers)?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let far_too_large = length.is_some_and(|length| length > limits.bytes.saturating_mul(LENIENCE));
    // A client that asks first whether it may send is told now that it may not.
    let asks_first = headers.contains_key(header::EXPECT) && length.is_some_and(|length| length > limits.bytes);
    if far_too_large || asks_first {
        return Err(too_large(limits));
    }
    let bytes = tokio::time::timeout(limits.time, collect(body, limits)).await.map_err(|_| {
        let message = format!("the body did not arrive within {:?}", limits.time);
        ApiError::missing(StatusCode::REQUEST_TIMEOUT, message)
    })??;
    serde_json::from_slice(&bytes).map_err(|error| ApiError::invalid(format!("the body is not JSON: {error}")))
}

/// A page of some website can make a browser send anything but JSON to this machine without asking.
fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the header `Content-Type` must be `application/json`";
    Err(ApiError::missing(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

async fn collect(body: Body, limits: BodyLimits) -> Result<Vec<u8>, ApiError> {
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut size = 0_usize;
    while let Some(piece) = pieces.next().await {
        let piece: Bytes = piece.map_err(|error| ApiError::invalid(format!("the body broke off: {error}")))?;
        size += piece.len();
        if size > limits.bytes.saturating_mul(LENIENCE) {
            break;
        }
        if size <= limits.bytes {
            bytes.extend_from_slice(&piece);
        } else {
            bytes = Vec::new();
        }
    }
    if size > limits.bytes { Err(too_large(limits)) } else { Ok(bytes) }
}

fn too_large(limits: BodyLimits) -> ApiError {
    let message = format!("the body is larger than the {} bytes that this server reads", limits.bytes);
    ApiError::missing(StatusCode::PAYLOAD_TOO_LARGE, message)
}
