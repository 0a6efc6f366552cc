//! What a run reads: looked up afterwards, left out, and read without a stage that prepares it.

use std::fs;

use serde_json::Value;

use super::support::Scratch;

fn peek(scratch: &Scratch, arguments: &[&str]) -> Vec<Value> {
    let out = scratch.ok(&[&["data", "peek", "runs/tiny", "--json", "--chars", "0"], arguments].concat());
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn peek_shows_the_batch_that_training_saw_with_its_sources() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.ok(&["recipe", "tiny.rhai"]);
    let checkpoints = scratch.stage("tiny", "pretrain").join("checkpoints");
    let state = fs::read_to_string(checkpoints.join("step-00000012/state.json")).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let rows = peek(&scratch, &["--step", "12"]);
    assert_eq!(rows.len(), 4);
    for (row, saved) in rows.iter().zip(state["cursor"]["rows"].as_array().unwrap()) {
        assert_eq!(row["hash"], saved["hash"], "peek draws what training drew");
    }
    assert_eq!(peek(&scratch, &["--step", "12", "--row", "2"]), rows[2..3]);

    // The text is that of the documents which are named.
    let prose = fs::read_to_string(scratch.path().join("prose.jsonl")).unwrap();
    let prose: Vec<Value> = prose.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for document in rows.iter().flat_map(|row| row["documents"].as_array().unwrap()) {
        let named = prose.iter().find(|line| line["id"] == document["source"]["id"]).unwrap();
        assert!(named["text"].as_str().unwrap().contains(document["text"].as_str().unwrap()), "{document}");
    }
    let text = scratch.ok(&["data", "peek", "runs/tiny", "--step", "12", "--row", "0", "--chars", "9"]);
    assert!(text.starts_with("── step 12 · row 0 · 33 tokens\n"), "{text}");
    assert!(text.contains("/train/00000.parquet · document ") && text.contains(" · tokens "), "{text}");

    // Without checkpoints it starts from the beginning and comes to the same.
    fs::remove_dir_all(checkpoints).unwrap();
    assert_eq!(peek(&scratch, &["--step", "12"]), rows);
    for (arguments, words) in
        [(["--step", "13", "--row", "0"], "no step 13"), (["--step", "1", "--row", "4"], "no such row")]
    {
        let ended = scratch.run(&[&["data", "peek", "runs/tiny"], &arguments[..]].concat());
        assert!(ended.code == Some(2) && ended.err.contains(words), "{}", ended.err);
    }
}

#[test]
fn the_bench_of_the_stream_tells_its_figures() {
    let scratch = Scratch::with_tiny_recipe();
    let bench = ["bench", "loader", "--input", "prose.jsonl", "--vocab", "300", "--seq", "32", "--seconds", "0.05"];
    let report: Value = serde_json::from_str(&scratch.ok(&[&bench[..], &["--json"]].concat())).unwrap();
    assert_eq!(report["documents"], 60);
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.iter().map(|run| run["threads"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert!(runs.iter().all(|run| run["tokens_per_second"].as_f64().unwrap() > 0.0), "{report}");
    let text = scratch.ok(&[&bench[..], &["--threads", "2"]].concat());
    assert!(text.starts_with("data stream · 60 documents") && text.contains("\n  2 threads  "), "{text}");
}

#[test]
fn a_source_is_trained_on_without_being_prepared() {
    let scratch = Scratch::with_tiny_recipe();
    let recipe = |extra: &str| {
        format!(
            "let tok = tokenizer::train_bpe(#{{ vocab: 300 }});\n\
             let lm = model::waveresnet(#{{ d_model: 16, n_layers: 2, n_heads: 2, vocab: tok }});\n\
             pipeline(\"tiny\").pretrain(source::jsonl(\"prose.jsonl\"){extra}, lm, #{{ epochs: 0.5, seq_len: 32, \
             batch: 4, skip: [[2, 3]] }})\n"
        )
    };
    scratch.write("plain.rhai", &recipe(""));
    scratch.ok(&["recipe", "plain.rhai"]);
    let first = peek(&scratch, &["--step", "1", "--row", "0"]);
    assert!(first[0]["documents"][0]["source"]["file"].as_str().unwrap().ends_with("prose.jsonl"));
    scratch.write("filtered.rhai", &recipe(" | filter::normalize()"));
    let ended = scratch.run(&["recipe", "filtered.rhai"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("cannot apply filter `normalize`"), "{}", ended.err);
}
