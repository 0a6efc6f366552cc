//! [`ApiError`]: an error as clients of the interface know it, a status and a JSON object that names the field at fault.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::job::Failure;

/// What a client is told instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
}

impl ApiError {
    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// The request is wrong at the field `param`.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::invalid(message) }
    }

    /// There is no such address, method or model.
    pub fn missing(status: StatusCode, message: impl Into<String>) -> Self {
        Self::of(status, "invalid_request_error", message)
    }

    /// The key is missing or wrong.
    pub fn key(message: impl Into<String>) -> Self {
        Self { code: Some("invalid_api_key"), ..Self::of(StatusCode::UNAUTHORIZED, "authentication_error", message) }
    }

    /// There is too much to do.
    pub fn busy(message: impl Into<String>) -> Self {
        Self { code: Some("queue_full"), ..Self::of(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message) }
    }

    /// The server is at fault.
    pub fn server(status: StatusCode, message: impl Into<String>) -> Self {
        Self::of(status, "server_error", message)
    }

    /// The same with a word for programs.
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The object that stands in answers and in streams.
    pub fn json(&self) -> Value {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.param, "code": self.code } })
    }

    fn of(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None, code: None }
    }
}

impl From<&psann_core::Error> for ApiError {
    /// What user text or a user's conversation made fail.
    fn from(error: &psann_core::Error) -> Self {
        match error.hint_text() {
            Some(hint) => Self::invalid(format!("{error}; {hint}")),
            None => Self::invalid(error.to_string()),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Network(message) => Self::server(StatusCode::INTERNAL_SERVER_ERROR, message),
            Failure::Overdue => {
                Self::server(StatusCode::SERVICE_UNAVAILABLE, "the time for this request is over").code("timeout")
            }
            Failure::Stopping => {
                Self::server(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping").code("stopping")
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.json());
        let headers = response.headers_mut();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))),
            StatusCode::UNAUTHORIZED => {
                drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
            _ => {}
        }
        response
    }
}

/// A JSON answer.
pub fn json_response(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
