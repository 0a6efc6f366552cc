//! What scoring clients rely on (lm-evaluation-harness 0.4.13 `local-completions`).

use psann_eval::session::Session;
use serde_json::{Value, json};
use tch::Kind;

use crate::client::post;
use crate::served::{VOCABULARY, options, script, toy};
use crate::testing::{END, Toy};

/// As the client asks.
fn request(prompts: &Value) -> Value {
    json!({ "model": "toy", "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": true })
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

/// Row t: the log-probabilities of what follows token t, by one forward over everything.
fn table(ids: &[u32]) -> Vec<Vec<f64>> {
    let toy = Toy::new(VOCABULARY);
    let network = toy.network();
    let logits = Session::new(network).feed_all(&[ids]).unwrap().squeeze_dim(0);
    let logs = logits.log_softmax(-1, Kind::Double);
    (0..ids.len() as i64).map(|row| Vec::<f64>::try_from(logs.get(row)).unwrap()).collect()
}

fn best(top: &Value) -> f64 {
    top.as_object().unwrap().values().map(|value| value.as_f64().unwrap()).fold(f64::NEG_INFINITY, f64::max)
}

#[test]
fn every_token_of_the_prompt_has_an_entry_and_one_more_follows() {
    let server = toy(64, options());
    let texts = ["The sea was calm", "x", "né→𝄞 end"];
    let prompts: Vec<Vec<u32>> = texts.iter().map(|text| bytes(text)).collect();
    let answer = post(server.address, "/v1/completions", &request(&json!(prompts)));
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["object"], "text_completion");
    assert_eq!(body["choices"].as_array().unwrap().len(), prompts.len());
    for (index, ids) in prompts.iter().enumerate() {
        let choice = &body["choices"][index];
        assert_eq!(choice["index"], index);
        assert_eq!(choice["finish_reason"], "length");
        assert!(choice["text"].as_str().unwrap().starts_with(texts[index]));
        let logprobs = &choice["logprobs"];
        for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(logprobs[key].as_array().unwrap().len(), ids.len() + 1, "{key}");
        }
        assert!(logprobs["token_logprobs"][0].is_null() && logprobs["top_logprobs"][0].is_null());
        let table = table(ids);
        for place in 1..ids.len() {
            let row = &table[place - 1];
            let found = logprobs["token_logprobs"][place].as_f64().unwrap();
            assert!((found - row[ids[place] as usize]).abs() < 1e-5, "{index} {place}");
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let top = best(&logprobs["top_logprobs"][place]);
            assert!((top - largest).abs() < 1e-5);
            // What the client takes for greedy.
            assert_eq!(found == top, row[ids[place] as usize] == largest, "{index} {place}");
        }
        let generated = logprobs["token_logprobs"][ids.len()].as_f64().unwrap();
        assert_eq!(generated, best(&logprobs["top_logprobs"][ids.len()]), "the generated token is the likeliest");
    }
    let tokens: usize = prompts.iter().map(Vec::len).sum();
    let usage = json!({ "prompt_tokens": tokens, "completion_tokens": 3, "total_tokens": tokens + 3 });
    assert_eq!(body["usage"], usage);
    // The shortest decimals that give the same doubles: reading and writing changes nothing.
    assert_eq!(body.to_string(), answer.body);
}

#[test]
fn tokens_of_a_greedy_text_are_all_greedy() {
    let server = toy(64, options());
    let prompt = "The sea";
    let said = json!({ "prompt": prompt, "temperature": 0, "max_tokens": 12, "ignore_eos": true, "logprobs": 0 });
    let said = post(server.address, "/v1/completions", &said).json();
    // Ids of what was said: the toy's tokens are bytes, and its text need not be characters.
    let mut ids = bytes(prompt);
    for _ in 0..12 {
        let row = table(&ids).pop().unwrap();
        let likeliest = (0..row.len()).reduce(|best, id| if row[id] > row[best] { id } else { best });
        ids.push(likeliest.unwrap() as u32);
    }
    assert_eq!(said["usage"]["completion_tokens"], 12);
    let body = post(server.address, "/v1/completions", &request(&json!([ids]))).json();
    let logprobs = &body["choices"][0]["logprobs"];
    let greedy: Vec<bool> = (7..ids.len())
        .map(|place| logprobs["token_logprobs"][place].as_f64().unwrap() == best(&logprobs["top_logprobs"][place]))
        .collect();
    assert_eq!(greedy, [true; 12]);
    for place in 7..ids.len() {
        let (echoed, generated) =
            (&logprobs["token_logprobs"][place], &said["choices"][0]["logprobs"]["token_logprobs"]);
        let difference = echoed.as_f64().unwrap() - generated[place - 7].as_f64().unwrap();
        assert!(difference.abs() < 1e-5, "{place}");
    }
}

#[test]
fn a_prompt_in_a_batch_has_the_numbers_it_has_alone() {
    let server = toy(64, options());
    let prompts: Vec<Vec<u32>> = (0..16).map(|n| bytes(&"the whale".repeat(n % 5 + 1))).collect();
    let together = post(server.address, "/v1/completions", &request(&json!(prompts))).json();
    for (index, prompt) in prompts.iter().enumerate() {
        let alone = post(server.address, "/v1/completions", &request(&json!([prompt]))).json();
        assert_eq!(alone["choices"][0]["logprobs"], together["choices"][index]["logprobs"]);
    }
}

#[test]
fn prompts_come_as_text_or_ids_alone_or_in_lists() {
    let server = toy(64, options());
    let ask = |prompt: Value| {
        let body = post(server.address, "/v1/completions", &request(&prompt)).json();
        body["choices"].clone()
    };
    let lists = ask(json!([bytes("sea"), bytes("sky")]));
    assert_eq!(ask(json!(["sea", "sky"])), lists);
    assert_eq!(ask(json!("sea"))[0], lists[0]);
    assert_eq!(ask(json!(bytes("sea")))[0], lists[0]);
}

#[test]
fn the_entry_of_the_generated_token_is_there_when_the_text_ends_with_it() {
    let server = script(&[END], 64, options());
    let body = post(server.address, "/v1/completions", &request(&json!([bytes("sea")]))).json();
    let choice = &body["choices"][0];
    assert_eq!(choice["logprobs"]["token_logprobs"].as_array().unwrap().len(), 4);
    assert!(choice["logprobs"]["token_logprobs"][3].is_number());
    assert_eq!((choice["text"].as_str(), choice["finish_reason"].as_str()), (Some("sea"), Some("stop")));
}

#[test]
fn a_scored_prompt_may_be_one_token_longer_than_the_context() {
    let server = toy(8, options());
    let longest = bytes("123456789");
    let body = post(server.address, "/v1/completions", &request(&json!([longest]))).json();
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["token_logprobs"].as_array().unwrap().len(), 10);
    assert_eq!(logprobs["top_logprobs"].as_array().unwrap().len(), 10);
    let last = logprobs["token_logprobs"][8].as_f64().unwrap();
    assert!((last - table(&longest[..8])[7][usize::from(b'9')]).abs() < 1e-5);
    assert!(logprobs["token_logprobs"][9].is_null(), "nothing can be generated there, but the entry is");
    assert_eq!(body["choices"][0]["finish_reason"], "length");

    let refused = post(server.address, "/v1/completions", &request(&json!([longest, bytes("1234567890")])));
    assert_eq!(refused.status, 400);
    insta::assert_snapshot!(refused.message(), @"prompt 1 has 10 tokens, more than the 9 that the model's context of 8 tokens allows here");
    let generates = json!({ "prompt": [longest], "max_tokens": 2, "echo": true, "logprobs": 1 });
    assert_eq!(post(server.address, "/v1/completions", &generates).status, 400);
    let full = json!({ "prompt": [bytes("12345678")], "max_tokens": 5, "temperature": 0, "ignore_eos": true });
    let body = post(server.address, "/v1/completions", &full).json();
    assert_eq!(
        body["usage"]["completion_tokens"], 1,
        "the last token need not be read, so a full context has one more"
    );
}

#[test]
fn without_tokens_to_generate_there_are_the_prompts_entries_alone() {
    let server = toy(64, options());
    let ask = json!({ "prompt": "sea", "max_tokens": 0, "echo": true, "logprobs": 2 });
    let body = post(server.address, "/v1/completions", &ask).json();
    let choice = &body["choices"][0];
    assert_eq!(choice["text"], "sea");
    assert_eq!(choice["logprobs"]["tokens"], json!(["s", "e", "a"]));
    assert_eq!(choice["logprobs"]["text_offset"], json!([0, 1, 2]));
    assert!(choice["logprobs"]["top_logprobs"][1].as_object().unwrap().len() >= 2);
    assert_eq!(body["usage"]["completion_tokens"], 0);
}

#[test]
fn echo_with_more_tokens_scores_the_prompt_and_what_follows() {
    let server = script(&[0, 0, u32::from(b'o'), u32::from(b'k'), END], 64, options());
    let ask = json!({ "prompt": "sea", "max_tokens": 9, "temperature": 0, "echo": true, "logprobs": 1 });
    let body = post(server.address, "/v1/completions", &ask).json();
    let choice = &body["choices"][0];
    assert_eq!((choice["text"].as_str(), choice["finish_reason"].as_str()), (Some("seaok"), Some("stop")));
    assert_eq!(choice["logprobs"]["token_logprobs"].as_array().unwrap().len(), 6, "the end has an entry too");
    assert_eq!(choice["logprobs"]["text_offset"], json!([0, 1, 2, 3, 4, 5]));
}
