//! Many at once, and many after one another.

use psann_eval::server::ServerOptions;
use serde_json::json;

use crate::client::{ask, open, post};
use crate::served::{endless, options, toy, wait_until};

#[test]
fn two_hundred_connections_at_once_are_all_answered() {
    for connections in [256, 16] {
        let server = toy(256, ServerOptions { connections, ..options() });
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let address = server.address;
            let ask = move |n: usize| {
                let body = json!({ "prompt": "sea", "max_tokens": n % 7 + 1, "stream": n.is_multiple_of(2) });
                post(address, "/v1/completions", &body).status
            };
            let asked: Vec<_> = (0..200).map(|n| scope.spawn(move || ask(n))).collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(statuses, [200; 200]);
    }
}

#[test]
fn nothing_is_left_of_some_hundred_requests() {
    let server = toy(128, ServerOptions { streams: 4, ..options() });
    for n in 0..300_usize {
        let body = match n % 6 {
            0 => json!({ "prompt": "The sea", "max_tokens": 5 }),
            1 => {
                json!({ "prompt": [[1, 2, 3], [4, 5]], "max_tokens": 1, "echo": true, "logprobs": 1, "temperature": 0 })
            }
            2 => json!({ "prompt": "The sea", "max_tokens": 5, "stream": true, "n": 6 }),
            3 => json!({ "prompt": "x".repeat(500) }),
            4 => json!({ "prompt": ["a", "b", "c"], "max_tokens": 3, "stop": ["e"] }),
            _ => json!({ "prompt": [300] }),
        };
        let answer = post(server.address, "/v1/completions", &body);
        assert_eq!(answer.status, if matches!(n % 6, 3 | 5) { 400 } else { 200 }, "{answer:?}");
        assert!(server.gauges.streams() <= 4);
    }
    let gauges = &server.gauges;
    wait_until("all caches and connections are gone", || {
        gauges.streams() + gauges.waiting() + gauges.reserved_tokens() + gauges.connections() == 0
    });
}

#[test]
fn texts_wait_until_their_caches_fit() {
    let server = endless(ServerOptions { cached_tokens: Some(1 << 20), ..options() });
    let large = json!({ "prompt": "x", "max_tokens": (1 << 20) - 10, "stream": true });
    let running = open(server.address, "/v1/completions", &large);
    wait_until("it runs", || server.gauges.streams() == 1);
    // This one fits beside it, the next does not.
    let fits = post(server.address, "/v1/completions", &json!({ "prompt": "x", "max_tokens": 5 }));
    assert_eq!(fits.status, 200);
    std::thread::scope(|scope| {
        let asked =
            scope.spawn(|| post(server.address, "/v1/completions", &json!({ "prompt": "x", "max_tokens": 50 })));
        wait_until("it waits", || server.gauges.waiting() == 1);
        assert_eq!(server.gauges.streams(), 1);
        drop(running);
        assert_eq!(asked.join().unwrap().status, 200);
    });
    let never = post(server.address, "/v1/completions", &json!({ "prompt": "x", "max_tokens": 1 << 21 }));
    assert_eq!(never.status, 400);
    insta::assert_snapshot!(never.message(), @"a text of up to 2097153 tokens does not fit into the 1048576 tokens that this server keeps; ask for fewer");
}

#[test]
fn a_connection_takes_one_request_after_the_other() {
    use std::io::{Read, Write};
    let server = toy(64, options());
    let mut stream = crate::client::connect(server.address);
    for _ in 0..3 {
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let answer = crate::client::answer(&mut stream);
        assert_eq!((answer.status, answer.json()["data"][0]["id"].as_str()), (200, Some("toy")));
    }
    assert_eq!(server.gauges.connections(), 1);
    // A server that stops does not wait for those who ask nothing.
    let (ended, _) = server.stop();
    ended.unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_a_client_sends_behind_its_request_harms_nobody() {
    let server = toy(64, options());
    let body = json!({ "prompt": "sea", "max_tokens": 2 }).to_string();
    let answer = ask(server.address, "POST", "/v1/completions", &[("x-forwarded-for", "\u{e9}")], &(body + "trailing"));
    assert_eq!(answer.status, 400, "the length counts what came behind");
}
