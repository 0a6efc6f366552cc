//! Completions: the same text as the generator's, alone and in company, whole and in pieces.

use psann_eval::generate::{GenerateOptions, Generator};
use psann_eval::sampling::Sampling;
use serde_json::{Value, json};

use crate::client::{get, post};
use crate::served::{Served, VOCABULARY, options, script, toy};
use crate::testing::{ByteTokenizer, END, Toy};

fn complete(server: &Served, body: &Value) -> Value {
    let answer = post(server.address, "/v1/completions", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn text(server: &Served, body: &Value) -> String {
    complete(server, body)["choices"][0]["text"].as_str().unwrap().to_owned()
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

#[test]
fn a_greedy_text_is_the_generators() {
    let toy_model = Toy::new(VOCABULARY);
    let generator = Generator::new(toy_model.network(), &ByteTokenizer).unwrap();
    // Prompts are read in parts of 16 tokens here.
    let server = toy(4096, psann_eval::server::ServerOptions { prefill: 16, ..options() });
    for prompt in ["w", "whale", &"The sea was calm that morning. ".repeat(9), ""] {
        let expected = GenerateOptions { tokens: 24, sampling: Sampling::greedy(), ..GenerateOptions::default() };
        let expected = generator.generate(prompt, &expected).unwrap();
        let ask = json!({ "prompt": prompt, "max_tokens": 24, "temperature": 0 });
        let body = complete(&server, &ask);
        assert_eq!(body["choices"][0]["text"], expected.text, "{prompt}");
        assert_eq!(body["usage"]["prompt_tokens"], expected.prompt_tokens);
    }
}

#[test]
fn a_text_is_the_same_alone_and_in_company() {
    let server = toy(256, options());
    let ask = |n: usize| {
        json!({ "prompt": "The sea".repeat(n % 4 + 1), "max_tokens": 20 + n, "temperature": 1.0 + n as f64 / 9.0,
                "seed": n, "top_p": 0.9, "ignore_eos": true })
    };
    let alone: Vec<Value> = (0..12).map(|n| complete(&server, &ask(n))["choices"].clone()).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let server = &server;
        let asked: Vec<_> =
            (0..12).map(|n| scope.spawn(move || complete(server, &ask(n))["choices"].clone())).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn a_seed_decides_the_text_and_several_texts_of_a_prompt_differ() {
    let server = toy(256, options());
    let ask = |seed: i64, n: usize, prompts: Value| {
        let ask =
            json!({ "prompt": prompts, "max_tokens": 24, "seed": seed, "n": n, "temperature": 2, "ignore_eos": true });
        complete(&server, &ask)["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|choice| choice["text"].clone())
            .collect::<Vec<_>>()
    };
    let one = ask(7, 1, json!("The sea"));
    assert_eq!(one, ask(7, 1, json!("The sea")));
    assert_ne!(one, ask(-7, 1, json!("The sea")));
    let several = ask(7, 3, json!(["The sky", "The sea"]));
    assert_eq!(several.len(), 6);
    assert_eq!(several[3], one[0], "a prompt's texts do not depend on the prompts beside it");
    assert_ne!(several[3], several[4]);
    let unseeded = json!({ "prompt": "The sea", "max_tokens": 24, "temperature": 2, "ignore_eos": true });
    assert_ne!(text(&server, &unseeded), text(&server, &unseeded), "without a seed each request has its own");
}

#[test]
fn pieces_of_a_stream_are_the_text() {
    let said = [vec![0], bytes("né→𝄞 goes"), vec![END]].concat();
    let server = script(&said, 64, options());
    let ask = json!({ "prompt": "ab", "max_tokens": 50, "temperature": 0, "logprobs": 1, "echo": true });
    let whole = complete(&server, &ask);
    let mut streamed = ask;
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({ "include_usage": true });
    let answer = post(server.address, "/v1/completions", &streamed);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let mut events = answer.events();
    let usage = events.pop().unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
    let choices: Vec<&Value> = events.iter().map(|event| &event["choices"][0]).collect();
    let text: String = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(text, "abné→𝄞 goes");
    assert_eq!(text, whole["choices"][0]["text"]);
    for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let all: Vec<&Value> = choices.iter().flat_map(|choice| choice["logprobs"][key].as_array().unwrap()).collect();
        let whole: Vec<&Value> = whole["choices"][0]["logprobs"][key].as_array().unwrap().iter().collect();
        assert_eq!(all, whole, "{key}");
    }
    assert!(choices.len() > 9, "one token after the other");
    let (last, before) = choices.split_last().unwrap();
    assert_eq!(last["finish_reason"], "stop");
    assert!(before.iter().all(|choice| choice["finish_reason"].is_null()));
    assert!(events.iter().all(|event| event["usage"].is_null() && event["id"] == events[0]["id"]));
}

#[test]
fn texts_of_one_stream_are_told_apart_by_their_index() {
    let server = toy(256, options());
    let ask = json!({ "prompt": ["The sea", "A sailor"], "n": 2, "max_tokens": 16, "seed": 3, "temperature": 2 });
    let whole = complete(&server, &ask);
    let mut streamed = ask;
    streamed["stream"] = true.into();
    let mut texts = vec![String::new(); 4];
    for event in post(server.address, "/v1/completions", &streamed).events() {
        let choice = &event["choices"][0];
        texts[choice["index"].as_u64().unwrap() as usize].push_str(choice["text"].as_str().unwrap());
    }
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(*text, whole["choices"][index]["text"]);
    }
}

#[test]
fn stop_strings_end_a_text_and_are_not_part_of_it() {
    let said = [vec![0], bytes("yes\n\nQ: more"), vec![END]].concat();
    let server = script(&said, 64, options());
    let ask = |stop: Value| json!({ "prompt": "ab", "max_tokens": 50, "temperature": 0, "stop": stop });
    for stop in [json!("\n\nQ"), json!(["never", "\n\nQ", "u", "z"])] {
        let body = complete(&server, &ask(stop));
        let choice = &body["choices"][0];
        assert_eq!((choice["text"].as_str(), choice["finish_reason"].as_str()), (Some("yes"), Some("stop")));
        assert_eq!(body["usage"]["completion_tokens"], 6);
    }
    assert_eq!(text(&server, &ask(json!(null))), "yes\n\nQ: more");
}

#[test]
fn a_text_ends_with_the_end_token_unless_it_is_too_early_or_ignored() {
    let server = script(&[bytes("a"), vec![END; 3], bytes("b")].concat(), 64, options());
    let ask = |more: Value| {
        let mut ask = json!({ "prompt": "x", "max_tokens": 6, "temperature": 0 });
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = complete(&server, &ask);
        (body["choices"][0]["finish_reason"].as_str().unwrap().to_owned(), body["usage"]["completion_tokens"].clone())
    };
    assert_eq!(ask(json!({})), ("stop".into(), json!(2)), "the end token was chosen, too");
    assert_eq!(ask(json!({ "min_tokens": 3 })), ("stop".into(), json!(4)));
    assert_eq!(ask(json!({ "ignore_eos": true })), ("length".into(), json!(6)));
}

#[test]
fn penalties_keep_a_text_from_repeating_itself() {
    let server = script(&bytes("aaaaaaaa"), 64, options());
    let ask = |more: Value| {
        let mut ask = json!({ "prompt": "x", "max_tokens": 4, "temperature": 0 });
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        text(&server, &ask)
    };
    assert_eq!(ask(json!({})), "aaaa");
    // The script's words have a logit of 20, all others 0.
    assert_eq!(ask(json!({ "presence_penalty": 30 })).matches('a').count(), 1);
    assert_eq!(ask(json!({ "frequency_penalty": 11 })).matches('a').count(), 2);
}

#[test]
fn completions_have_sixteen_tokens_unless_more_or_less_is_asked_for() {
    let server = crate::served::endless(psann_eval::server::ServerOptions { max_tokens: Some(20), ..options() });
    let tokens = |ask: Value| complete(&server, &ask)["usage"]["completion_tokens"].clone();
    assert_eq!(tokens(json!({ "prompt": "x" })), 16);
    assert_eq!(tokens(json!({ "prompt": "x", "max_tokens": 3, "unknown": { "field": 1 } })), 3);
    assert_eq!(tokens(json!({ "prompt": "x", "max_tokens": 1000 })), 20, "the server's own limit");
}

#[test]
fn the_model_and_the_servers_health_are_there_to_see() {
    let server = toy(64, options());
    let models = get(server.address, "/v1/models").json();
    let card = &models["data"][0];
    assert_eq!((&models["object"], &card["id"], &card["max_model_len"]), (&json!("list"), &json!("toy"), &json!(64)));
    assert_eq!(get(server.address, "/v1/models/toy").json(), *card);
    assert_eq!(get(server.address, "/v1/models/other").status, 404);
    let health = get(server.address, "/health").json();
    assert_eq!((&health["status"], &health["running"]), (&json!("ok"), &json!(0)));
}

#[test]
fn tokenizer_addresses_are_there_only_when_asked_for() {
    let without = toy(64, options());
    assert_eq!(get(without.address, "/tokenizer_info").status, 404);
    let server = toy(64, psann_eval::server::ServerOptions { tokenizer_routes: true, ..options() });
    let info = get(server.address, "/tokenizer_info").json();
    assert!(info.get("eos_token").is_some() && info["bos_token"].is_null());
    assert_eq!(info["chat_template"], "angles");
    let ask = json!({ "prompt": "sea", "add_special_tokens": false });
    let tokens = post(server.address, "/tokenize", &ask).json()["tokens"].clone();
    assert_eq!(tokens, json!(bytes("sea")));
    assert_eq!(post(server.address, "/detokenize", &json!({ "tokens": tokens })).json(), json!({ "prompt": "sea" }));
    let refused = post(server.address, "/detokenize", &json!({ "tokens": [1, 999] }));
    assert_eq!((refused.status, refused.message()), (400, "`tokens[1]` must be an id below 257, found 999".into()));
}
