//! The addresses of the interface, who may use them, and what answers there.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use psann_core::Observer;
use serde_json::{Value, json};

use super::Api;
use super::access::Access;
use super::answer::Answer;
use super::body;
use super::chat::Chat;
use super::completions::Completion;
use super::error::{ApiError, json_response};
use super::fields::{Fields, describe, whole};
use super::texts::Texts;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What every request meets.
#[derive(Clone)]
struct Door {
    api: Arc<Api>,
    observer: Arc<dyn Observer>,
}

/// All addresses.
pub fn router(api: Arc<Api>, observer: Arc<dyn Observer>) -> Router {
    let mut router = Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/models/{name}", get(model))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat_completions));
    if api.options.tokenizer_routes {
        router = router
            .route("/tokenizer_info", get(tokenizer_info))
            .route("/tokenize", post(tokenize))
            .route("/detokenize", post(detokenize));
    }
    let door = Door { api: Arc::clone(&api), observer };
    router
        .fallback(no_address)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(door, enter))
        .with_state(api)
}

/// Writes the request down and asks for the key.
async fn enter(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |peer| peer.0);
    let (method, path) = (request.method().as_str(), request.uri().path());
    let access = Arc::new(Access::new(door.observer, peer, method, path));
    let response = match check_key(&door.api, request.headers(), path) {
        Ok(()) => {
            request.extensions_mut().insert(Arc::clone(&access));
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    access.status(response.status().as_u16());
    response
}

/// Health is open to everybody: those who ask for it have no keys.
fn check_key(api: &Api, headers: &HeaderMap, path: &str) -> Result<(), ApiError> {
    let Some(key) = &api.key else { return Ok(()) };
    if path == "/health" {
        return Ok(());
    }
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let token = given.and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
    });
    match token {
        // Hashes compare in constant time, so that how long it takes says nothing about the key.
        Some(token) if blake3::hash(token) == *key => Ok(()),
        Some(_) => Err(ApiError::key("the API key is wrong")),
        None => Err(ApiError::key("this server wants an API key; send it as `Authorization: Bearer KEY`")),
    }
}

async fn no_address(uri: Uri) -> ApiError {
    let message = format!("there is nothing at `{}`; try `/v1/completions` or `/v1/chat/completions`", uri.path());
    ApiError::missing(StatusCode::NOT_FOUND, message)
}

async fn no_method(method: Method, uri: Uri) -> ApiError {
    ApiError::missing(StatusCode::METHOD_NOT_ALLOWED, format!("`{}` does not take {method}", uri.path()))
}

async fn health(State(api): State<Arc<Api>>) -> Response {
    let gauges = &api.gauges;
    let value = json!({
        "status": "ok",
        "model": api.name,
        "running": gauges.streams(),
        "waiting": gauges.waiting(),
        "reserved_tokens": gauges.reserved_tokens(),
        "connections": gauges.connections(),
    });
    json_response(StatusCode::OK, &value)
}

fn card(api: &Api) -> Value {
    json!({
        "id": api.name,
        "object": "model",
        "created": api.created,
        "owned_by": "psann",
        "max_model_len": api.context,
    })
}

async fn models(State(api): State<Arc<Api>>) -> Response {
    json_response(StatusCode::OK, &json!({ "object": "list", "data": [card(&api)] }))
}

async fn model(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Response {
    if name == api.name {
        return json_response(StatusCode::OK, &card(&api));
    }
    let message = format!("there is no model `{name}` here; this server has `{}`", api.name);
    ApiError::missing(StatusCode::NOT_FOUND, message).code("model_not_found").into_response()
}

async fn completions(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    answer(api, request, |body, api| Completion::read(body, api)?.start(api)).await
}

async fn chat_completions(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    answer(api, request, |body, api| Chat::read(body, api)?.start(api)).await
}

/// Texts on their way, and the answer that will hear of them.
type Started = (Texts, Answer);

/// Reads the body, starts what it asks for and answers.
async fn answer(
    api: Arc<Api>,
    request: Request,
    start: fn(&Value, &Api) -> Result<Started, ApiError>,
) -> Result<Response, ApiError> {
    let access = request.extensions().get::<Arc<Access>>().map(Arc::clone);
    let access = access.ok_or_else(|| internal("a request came in by no door"))?;
    let (texts, answer) = compute(api, request, start).await?;
    answer.response(texts, access).await
}

/// Reads the body and does with it what takes a while: encoding a long text must not hold up other connections.
async fn compute<T: Send + 'static>(
    api: Arc<Api>,
    request: Request,
    work: impl FnOnce(&Value, &Api) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    let body: Body = body;
    let value = body::read(&parts.headers, body, api.options.body()).await?;
    let work = tokio::task::spawn_blocking(move || work(&value, &api));
    work.await.map_err(|_| internal("the request could not be read"))?
}

fn internal(message: &str) -> ApiError {
    ApiError::server(StatusCode::INTERNAL_SERVER_ERROR, message)
}

async fn tokenizer_info(State(api): State<Arc<Api>>) -> Response {
    let special = api.tokenizer.special();
    let spelling = |id: Option<u32>| id.and_then(|id| api.tokenizer.spelling(id));
    let value = json!({
        "eos_token": spelling(special.eos),
        "bos_token": spelling(special.bos),
        "pad_token": spelling(special.pad),
        "chat_template": api.chat.as_ref().and_then(|chat| chat.source()),
    });
    json_response(StatusCode::OK, &value)
}

async fn tokenize(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    let value = compute(api, request, |body, api| {
        let fields = Fields::of(body)?;
        let text = fields.text("prompt")?.ok_or_else(|| ApiError::field("prompt", "`prompt` is missing"))?;
        let around = fields.flag("add_special_tokens")?.unwrap_or(true);
        let ids = api.tokenizer.encode_markup(text, around).map_err(|error| ApiError::from(&error))?;
        Ok(json!({ "tokens": ids, "count": ids.len(), "max_model_len": api.context }))
    });
    Ok(json_response(StatusCode::OK, &value.await?))
}

async fn detokenize(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    let value = compute(api, request, |body, api| {
        let fields = Fields::of(body)?;
        let list = fields.list("tokens")?.ok_or_else(|| ApiError::field("tokens", "`tokens` is missing"))?;
        let id = |(index, value): (usize, &Value)| {
            let id = whole(value).and_then(|id| u32::try_from(id).ok()).filter(|id| u64::from(*id) < api.vocabulary);
            id.ok_or_else(|| {
                let found = describe(value);
                let message = format!("`tokens[{index}]` must be an id below {}, found {found}", api.vocabulary);
                ApiError::field("tokens", message)
            })
        };
        let ids: Vec<u32> = list.iter().enumerate().map(id).collect::<Result<_, _>>()?;
        let text = api.tokenizer.decode(&ids).map_err(|error| ApiError::from(&error))?;
        Ok(json!({ "prompt": text }))
    });
    Ok(json_response(StatusCode::OK, &value.await?))
}
