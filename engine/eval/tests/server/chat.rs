//! Chat completions: a rendered conversation, continued.

use serde_json::{Value, json};

use crate::client::post;
use crate::served::{Served, options, script, toy};
use crate::testing::END;

fn chat(server: &Served, body: &Value) -> Value {
    let answer = post(server.address, "/v1/chat/completions", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn says(text: &str) -> Vec<u32> {
    // Asked with `<user>hi;<assistant>`: 20 tokens, so the reply follows the 20th.
    [vec![0; 19], text.bytes().map(u32::from).collect(), vec![END]].concat()
}

fn hi() -> Value {
    json!([{ "role": "user", "content": "hi" }])
}

#[test]
fn a_reply_is_what_follows_the_rendered_conversation() {
    let server = toy(256, options());
    let ask = json!({ "messages": hi(), "max_tokens": 20, "temperature": 0 });
    let body = chat(&server, &ask);
    let completion = json!({ "prompt": "<user>hi;<assistant>", "max_tokens": 20, "temperature": 0 });
    let completion = post(server.address, "/v1/completions", &completion).json();
    let choice = &body["choices"][0];
    assert_eq!(choice["message"], json!({ "role": "assistant", "content": completion["choices"][0]["text"] }));
    assert_eq!((&body["object"], &body["usage"]), (&json!("chat.completion"), &completion["usage"]));
    assert_eq!(choice["finish_reason"], completion["choices"][0]["finish_reason"]);
    let mut newer = ask;
    newer["max_completion_tokens"] = 3.into();
    assert_eq!(chat(&server, &newer)["usage"]["completion_tokens"], 3, "the newer name counts");
}

#[test]
fn a_last_message_of_the_assistant_is_continued() {
    let server = toy(256, options());
    let messages = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": "I say" }]);
    let body = chat(&server, &json!({ "messages": messages, "max_tokens": 12, "temperature": 0 }));
    let completion = json!({ "prompt": "<user>hi;<assistant>I say", "max_tokens": 12, "temperature": 0 });
    let completion = post(server.address, "/v1/completions", &completion).json();
    assert_eq!(body["choices"][0]["message"]["content"], completion["choices"][0]["text"], "without the prefix");
    assert_eq!(body["usage"]["prompt_tokens"], 25);
    let anew = json!({ "messages": messages, "max_tokens": 2, "add_generation_prompt": true });
    assert_eq!(chat(&server, &anew)["usage"]["prompt_tokens"], 25 + 1 + "<assistant>".len());
}

#[test]
fn a_stream_begins_with_the_role_and_ends_with_done() {
    let server = script(&says("né→ ok"), 256, options());
    let ask =
        json!({ "messages": hi(), "temperature": 0, "stream": true, "stream_options": { "include_usage": true } });
    let mut events = post(server.address, "/v1/chat/completions", &ask).events();
    let usage = events.pop().unwrap();
    assert_eq!(usage["choices"], json!([]));
    // Ten bytes and the end.
    assert_eq!(usage["usage"], json!({ "prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30 }));
    assert!(events.iter().all(|event| event["object"] == "chat.completion.chunk"));
    assert_eq!(events[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    let content = |event: &Value| event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
    assert_eq!(events.iter().map(content).collect::<String>(), "né→ ok");
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
    let plain = json!({ "messages": hi(), "temperature": 0, "stream": true });
    let events = post(server.address, "/v1/chat/completions", &plain).events();
    assert!(events.iter().all(|event| event.get("usage").is_none()));
}

#[test]
fn tokens_come_with_their_log_probabilities() {
    let server = script(&says("hé"), 256, options());
    let ask = json!({ "messages": hi(), "temperature": 0, "logprobs": true, "top_logprobs": 2 });
    let body = chat(&server, &ask);
    let entries = body["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(entries.len(), 4, "h, two bytes, and the end");
    assert_eq!((&entries[0]["token"], &entries[0]["bytes"]), (&json!("h"), &json!([104])));
    assert!(entries[1]["bytes"].is_null(), "half a character says nothing by itself");
    for entry in entries {
        assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 2);
        assert_eq!(entry["top_logprobs"][0]["logprob"], entry["logprob"]);
    }
    assert!(chat(&server, &json!({ "messages": hi() }))["choices"][0]["logprobs"].is_null());
    let refused = post(server.address, "/v1/chat/completions", &json!({ "messages": hi(), "top_logprobs": 2 }));
    assert_eq!(refused.message(), "`top_logprobs` needs `logprobs` to be true");
}

#[test]
fn what_the_template_refuses_is_the_clients_to_mend() {
    let server = toy(256, options());
    let ask = json!({ "messages": [{ "role": "system", "content": "be kind" }] });
    let refused = post(server.address, "/v1/chat/completions", &ask);
    assert_eq!((refused.status, refused.message()), (400, "this template takes no system message".into()));
    let long = json!({ "messages": [{ "role": "user", "content": "x".repeat(300) }] });
    let refused = post(server.address, "/v1/chat/completions", &long);
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["code"], "context_length_exceeded");
}

#[test]
fn stop_strings_and_several_replies_work_as_in_completions() {
    let server = script(&says("one\ntwo"), 256, options());
    let ask = json!({ "messages": hi(), "temperature": 0, "n": 2, "stop": ["\n", "x", "y", "z"] });
    let body = chat(&server, &ask);
    let content: Vec<&Value> =
        body["choices"].as_array().unwrap().iter().map(|choice| &choice["message"]["content"]).collect();
    assert_eq!(content, ["one", "one"]);
}
