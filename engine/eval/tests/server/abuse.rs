//! Clients that are wrong, slow, gone or hostile: each gets its status, and the next request is answered as if nothing
//! had been.

use std::io::{BufRead, Read, Write};
use std::time::Duration;

use psann_eval::server::ServerOptions;
use serde_json::{Value, json};

use crate::client::{answer, ask, connect, get, head, open, post};
use crate::served::{Served, damaged, endless, options, toy, wait_until};

/// Whether a normal request is answered, and nothing is left of what came before.
fn works(server: &Served) {
    wait_until("nothing in progress", || server.gauges.streams() == 0 && server.gauges.waiting() == 0);
    let answer = post(server.address, "/v1/completions", &json!({ "prompt": "sea", "max_tokens": 2 }));
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn for_ever(stream: bool) -> Value {
    json!({ "prompt": "x", "max_tokens": 1_u64 << 39, "stream": stream })
}

#[test]
fn wrong_bodies_are_named() {
    let server = toy(64, options());
    let say = |body: &str| {
        let answer = ask(server.address, "POST", "/v1/completions", &[], body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        answer.message()
    };
    insta::assert_snapshot!(say("{\"prompt\": \"sea\""), @"the body is not JSON: EOF while parsing an object at line 1 column 16");
    insta::assert_snapshot!(say(""), @"the body is not JSON: EOF while parsing a value at line 1 column 0");
    insta::assert_snapshot!(say("[]"), @"the body must be a JSON object, found a list");
    insta::assert_snapshot!(say("{}"), @"`prompt` is missing");
    insta::assert_snapshot!(say(&"[".repeat(100_000)), @"the body is not JSON: recursion limit exceeded at line 1 column 128");
    let with = |field: &str, value: Value| say(&json!({ "prompt": "sea", field: value }).to_string());
    insta::assert_snapshot!(with("prompt", json!(3)), @"`prompt` must be a string, a list of strings, or token ids in a list or several lists, found 3");
    insta::assert_snapshot!(with("prompt", json!([])), @"`prompt` must be a string, a list of strings, or token ids in a list or several lists, found an empty list");
    insta::assert_snapshot!(with("prompt", json!(["a", 3])), @"`prompt` must be a string, a list of strings, or token ids in a list or several lists, found 3 among strings");
    insta::assert_snapshot!(with("prompt", json!([[1, 2], []])), @"`prompt[1]` has no tokens; it needs at least one");
    insta::assert_snapshot!(with("prompt", json!([1, 257])), @"`prompt[1]` is 257, outside of the vocabulary of 257 tokens");
    insta::assert_snapshot!(with("prompt", json!([[1], [5, -1]])), @"`prompt[1][1]` must be a token id, found -1");
    insta::assert_snapshot!(with("prompt", json!([[1, "a"]])), @"`prompt[0][1]` must be a token id, found a string");
    insta::assert_snapshot!(with("prompt", json!([1e30])), @"`prompt[0]` must be a token id, found 1e+30");
    insta::assert_snapshot!(with("max_tokens", json!("many")), @"`max_tokens` must be a whole number of at least 0, found a string");
    insta::assert_snapshot!(with("temperature", json!("hot")), @"`temperature` must be a number from 0 to 100, found a string");
    insta::assert_snapshot!(with("top_p", json!(1.5)), @"`top_p` must be a number from 0 to 1, found 1.5");
    insta::assert_snapshot!(with("n", json!(0)), @"`n` must be a whole number from 1 to 128, found 0");
    insta::assert_snapshot!(with("logprobs", json!(true)), @"`logprobs` must be a whole number from 0 to 20, found true");
    insta::assert_snapshot!(with("stream", json!("yes")), @"`stream` must be true or false, found a string");
    insta::assert_snapshot!(with("stop", json!({})), @"`stop` must be a string or a list of at most 16 strings, found an object");
    insta::assert_snapshot!(with("stop", json!([1])), @"`stop` must be a string or a list of at most 16 strings, found 1 in a list");
    insta::assert_snapshot!(with("seed", json!(0.5)), @"`seed` must be a whole number of at least 0, found 0.5");
    insta::assert_snapshot!(with("stream_options", json!([])), @"`stream_options` must be an object, found a list");
    insta::assert_snapshot!(with("best_of", json!(4)), @"`best_of` is 4 and `n` is 1: choosing the best of several texts is not supported");
    insta::assert_snapshot!(with("suffix", json!("end")), @"`suffix` is not supported");
    insta::assert_snapshot!(with("response_format", json!({ "type": "json_object" })), @"`response_format` of type `json_object` is not supported; answers are plain text");
    let answer = post(server.address, "/v1/completions", &json!({ "prompt": "x", "temperature": "hot" }));
    let error = json!({
        "message": "`temperature` must be a number from 0 to 100, found a string",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": null,
    });
    assert_eq!(answer.json(), json!({ "error": error }));
    let invalid = ask(server.address, "POST", "/v1/completions", &[], "{\"prompt\": \"\u{0}");
    assert_eq!(invalid.status, 400);
    works(&server);
}

#[test]
fn wrong_addresses_methods_types_and_models_have_their_status() {
    let server = toy(64, options());
    let refused = get(server.address, "/v1/completion");
    assert_eq!(refused.status, 404);
    insta::assert_snapshot!(refused.message(), @"there is nothing at `/v1/completion`; try `/v1/completions` or `/v1/chat/completions`");
    let refused = get(server.address, "/v1/completions");
    assert_eq!((refused.status, refused.message()), (405, "`/v1/completions` does not take GET".into()));
    let form = [("content-type", "text/plain")];
    let refused = ask(server.address, "POST", "/v1/completions", &form, "{\"prompt\": \"x\"}");
    assert_eq!(refused.status, 415);
    insta::assert_snapshot!(refused.message(), @"the header `Content-Type` must be `application/json`");
    let refused = post(server.address, "/v1/completions", &json!({ "model": "gpt-5", "prompt": "x" }));
    assert_eq!(refused.status, 404);
    insta::assert_snapshot!(refused.message(), @"there is no model `gpt-5` here; this server has `toy`");
    works(&server);
}

#[test]
fn bodies_that_are_too_large_are_refused_before_and_while_they_come() {
    let server = toy(64, ServerOptions { body_bytes: 10_000, ..options() });
    let body = json!({ "prompt": "x".repeat(20_000) }).to_string();
    let refused = ask(server.address, "POST", "/v1/completions", &[], &body);
    assert_eq!(refused.status, 413);
    insta::assert_snapshot!(refused.message(), @"the body is larger than the 10000 bytes that this server reads");
    // One that only says how large it will be.
    let mut stream = connect(server.address);
    stream.write_all(head("POST", "/v1/completions", 1 << 40, &[]).as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).status, 413);
    // One that asks first.
    let mut stream = connect(server.address);
    stream.write_all(head("POST", "/v1/completions", 20_000, &[("expect", "100-continue")]).as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).status, 413);
    // One that does not say, and does not end.
    let mut stream = connect(server.address);
    let head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    for _ in 0..12 {
        // It stops reading at some point.
        let _ = stream.write_all(chunk.as_bytes());
    }
    assert_eq!(answer(&mut stream).status, 413);
    works(&server);
}

#[test]
fn who_has_no_key_learns_nothing() {
    let server = toy(64, ServerOptions { key: Some("secret".into()), ..options() });
    let body = json!({ "prompt": "x", "max_tokens": 1 }).to_string();
    let with = |key: &str| ask(server.address, "POST", "/v1/completions", &[("authorization", key)], &body);
    assert_eq!(with("Bearer secret").status, 200);
    assert_eq!(with("bearer  secret").status, 200);
    for wrong in ["Bearer secre", "Bearer secret1", "Bearer", "Bearer ", "Basic secret", "secret"] {
        assert_eq!(with(wrong).status, 401, "{wrong}");
    }
    let refused = with("Bearer wrong");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert_eq!(refused.message(), "the API key is wrong");
    assert_eq!(refused.json()["error"]["code"], "invalid_api_key");
    let refused = get(server.address, "/v1/models");
    assert_eq!(refused.status, 401);
    insta::assert_snapshot!(refused.message(), @"this server wants an API key; send it as `Authorization: Bearer KEY`");
    assert_eq!(get(server.address, "/nowhere").status, 401);
    assert_eq!(get(server.address, "/health").status, 200, "those who ask for health have no keys");
}

#[test]
fn what_is_not_http_is_answered_or_dropped() {
    let server = toy(64, options());
    for garbage in [
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
        "hello\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
    ] {
        let mut stream = connect(server.address);
        stream.write_all(garbage.as_bytes()).unwrap();
        assert_eq!(answer(&mut stream).status, 400, "{garbage:?}");
    }
    let mut stream = connect(server.address);
    let large = format!("GET /health HTTP/1.1\r\nlarge: {}\r\n\r\n", "x".repeat(200_000));
    // It stops reading at some point.
    let _ = stream.write_all(large.as_bytes());
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    works(&server);
}

#[test]
fn headers_and_bodies_that_do_not_arrive_end() {
    let server = toy(64, ServerOptions { header_timeout: Duration::from_millis(500), ..options() });
    let mut slow = connect(server.address);
    slow.write_all(b"GET /health HTTP/1.1\r\nhost: ").unwrap();
    assert_eq!(answer(&mut slow).status, 408);
    let mut silent = connect(server.address);
    let mut said = Vec::new();
    silent.read_to_end(&mut said).unwrap();
    assert!(said.is_empty(), "who asks nothing is told nothing");
    let mut slow = connect(server.address);
    slow.write_all((head("POST", "/v1/completions", 100, &[]) + "{\"prompt\"").as_bytes()).unwrap();
    let refused = answer(&mut slow);
    assert_eq!(refused.status, 408);
    assert_eq!(refused.message(), "the body did not arrive within 500ms");
    wait_until("no connections", || server.gauges.connections() == 0);
    works(&server);
}

#[test]
fn a_client_that_leaves_ends_its_text() {
    let server = endless(options());
    for stream in [true, false] {
        let body = for_ever(stream).to_string();
        let mut connection = connect(server.address);
        connection.write_all((head("POST", "/v1/completions", body.len(), &[]) + &body).as_bytes()).unwrap();
        wait_until("it runs", || server.gauges.streams() == 1);
        drop(connection);
        wait_until("it has ended", || server.gauges.streams() == 0);
    }
    let mut reader = open(server.address, "/v1/completions", &for_ever(true));
    let mut line = String::new();
    for _ in 0..20 {
        reader.read_line(&mut line).unwrap();
    }
    assert!(line.contains("data: {"));
    drop(reader);
    wait_until("it has ended", || server.gauges.streams() == 0);
    works(&server);
}

#[test]
fn a_client_that_does_not_read_is_left_behind_and_holds_nobody_up() {
    let server = endless(ServerOptions { patience: Duration::from_millis(300), ..options() });
    let unread = open(server.address, "/v1/completions", &for_ever(true));
    wait_until("it runs", || server.gauges.streams() == 1);
    let beside = post(server.address, "/v1/completions", &json!({ "prompt": "x", "max_tokens": 200 }));
    assert_eq!(beside.json()["usage"]["completion_tokens"], 200);
    wait_until("it was given up", || server.gauges.streams() == 0);
    wait_until("its connection is closed", || server.gauges.connections() == 0);
    drop(unread);
    works(&server);
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let server = endless(ServerOptions { streams: 1, queue: 2, ..options() });
    let running = open(server.address, "/v1/completions", &for_ever(true));
    wait_until("it runs", || server.gauges.streams() == 1 && server.gauges.waiting() == 0);
    let waiting = open(server.address, "/v1/completions", &for_ever(true));
    wait_until("one waits", || server.gauges.waiting() == 1);
    let two = json!({ "prompt": ["x", "y"], "max_tokens": 1 });
    let refused = post(server.address, "/v1/completions", &two);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        (refused.message(), server.gauges.waiting()),
        ("2 texts are waiting already; try again later".into(), 1)
    );
    let too_many = post(server.address, "/v1/completions", &json!({ "prompt": "x", "n": 3 }));
    assert_eq!(too_many.status, 400);
    assert_eq!(too_many.message(), "the request asks for 3 texts; this server queues at most 2");
    // Who leaves while waiting gives the place back.
    drop(waiting);
    wait_until("nobody waits", || server.gauges.waiting() == 0);
    drop(running);
    works(&server);
}

#[test]
fn a_request_has_its_time() {
    let server = endless(ServerOptions { timeout: Duration::from_secs(1), streams: 1, ..options() });
    let running = open(server.address, "/v1/completions", &for_ever(true));
    let waited = post(server.address, "/v1/completions", &for_ever(false));
    assert_eq!((waited.status, waited.message()), (503, "the time for this request is over".into()));
    assert_eq!(waited.json()["error"]["code"], "timeout");
    let last = running.lines().map_while(Result::ok).filter(|line| line.starts_with("data: ")).last().unwrap();
    assert!(last.contains("the time for this request is over"), "{last}");
    works(&server);
}

#[test]
fn a_server_that_stops_says_so_to_those_it_leaves() {
    let server = endless(options());
    let running = open(server.address, "/v1/completions", &for_ever(true));
    let gauges = std::sync::Arc::clone(&server.gauges);
    wait_until("it runs", || gauges.streams() == 1);
    let reads = std::thread::spawn(move || running.lines().map_while(Result::ok).collect::<Vec<_>>().join("\n"));
    let (ended, lines) = server.stop();
    ended.unwrap();
    let heard = reads.join().unwrap();
    assert!(heard.contains("the server is stopping") && !heard.contains("[DONE]"), "{}", &heard[heard.len() - 400..]);
    assert_eq!(lines.len(), 1, "one line a request: {lines:?}");
    assert!(lines[0].contains("POST /v1/completions 200 · 1+"), "{lines:?}");
}

#[test]
fn a_network_that_fails_is_the_servers_fault_and_ends_only_the_text() {
    let server = damaged(64, options());
    for more in [json!({}), json!({ "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0 })] {
        let mut ask = json!({ "prompt": "sea" });
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let failed = post(server.address, "/v1/completions", &ask);
        assert_eq!(failed.status, 500, "{failed:?}");
        assert_eq!(failed.json()["error"]["type"], "server_error");
        assert!(failed.message().contains("not finite"), "{failed:?}");
    }
    wait_until("nothing in progress", || server.gauges.streams() == 0);
    assert_eq!(get(server.address, "/health").status, 200);
}
