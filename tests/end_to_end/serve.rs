//! `psann serve`, from its address on standard output to Ctrl-C.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::support::Scratch;

/// A server that ends with the test, even if that fails.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: &str, method: &str, path: &str, key: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn help_of_serve_names_every_flag() {
    insta::assert_snapshot!("help_serve", Scratch::new().ok(&["serve", "--help"]));
}

#[test]
fn a_run_is_served_until_ctrl_c() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.ok(&["recipe", "tiny.rhai"]);
    let mut command = scratch.command(&["serve", "runs/tiny", "--port", "0"]);
    command.env("PSANN_API_KEY", "secret").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Serving(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("http://127.0.0.1:").map(|port| format!("127.0.0.1:{port}")).unwrap();

    let (status, models) = ask(&address, "GET", "/v1/models", "secret", "");
    assert_eq!((status, &models["data"][0]["id"]), (200, &json!("tiny")));
    assert_eq!(models["data"][0]["max_model_len"], 32, "the length that the run trained with");
    assert_eq!(ask(&address, "GET", "/v1/models", "guess", "").0, 401);

    // `generate` puts the begin-of-text token in front; here texts are encoded as evaluations do.
    let body = json!({ "model": "tiny", "prompt": "<|bos|>The sea", "max_tokens": 8, "temperature": 0 });
    let (status, answer) = ask(&address, "POST", "/v1/completions", "secret", &body.to_string());
    assert_eq!(status, 200, "{answer}");
    let generate = ["generate", "runs/tiny", "--prompt", "The sea", "--tokens", "8", "--temperature", "0", "--json"];
    let said: Value = serde_json::from_str(&scratch.ok(&generate)).unwrap();
    assert_eq!(answer["choices"][0]["text"], said["text"]);
    assert_eq!(answer["usage"]["completion_tokens"], 8);

    let body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    let (status, answer) = ask(&address, "POST", "/v1/chat/completions", "secret", &body.to_string());
    assert_eq!(status, 400);
    assert!(answer["error"]["message"].as_str().unwrap().contains("no chat template"), "{answer}");

    let sent = Command::new("kill").args(["-INT", &server.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut log = String::new();
    server.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(server.0.wait().unwrap().code(), Some(0), "stopping is how a server ends: {log}");
    assert!(log.contains("serving `tiny` with a context of 32 tokens"), "{log}");
    assert!(log.contains("POST /v1/completions 200 · "), "{log}");
}

#[test]
fn other_machines_are_not_let_in_by_accident() {
    let scratch = Scratch::new();
    let mut command = scratch.command(&["serve", "runs/none", "--host", "0.0.0.0", "--port", "0"]);
    let ended = command.env_remove("PSANN_API_KEY").output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8_lossy(&ended.stderr), @r"
    error: without an API key, everybody who reaches 0.0.0.0 could use the model
      hint: give `--api-key KEY` or set PSANN_API_KEY; `--no-key` serves everybody all the same
    ");
}
