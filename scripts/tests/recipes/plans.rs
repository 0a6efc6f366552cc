//! Recipes that are right, and the plans they evaluate to.

use psann_scripts::Recipe;

/// Evaluates `text`, which must be right, and compares its plan with the stored one.
fn check(name: &str, text: &str) {
    let plan = Recipe::from_source("test.rhai", text).evaluate(&[]).map_err(|e| e.render(false)).unwrap().plan;
    insta::with_settings!({ description => text, omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(format!("plan_{name}"), format!("{:#}", serde_json::to_value(plan).unwrap()));
    });
}

#[test]
fn a_whole_run() {
    check(
        "whole",
        r#"
let name  = param("name", "tiny", "run name");
let steps = param("steps", 300, "optimizer steps");

let text = source::jsonl("prose.jsonl") | filter::normalize();
let tok  = tokenizer::train_bpe(#{ vocab: 300 });
let lm   = model::waveresnet(#{ d_model: 16, n_layers: 2, vocab: tok });

pipeline(name)
    .prepare(text, #{ validation: "5%" })
    .pretrain(lm, #{
        steps: steps,
        optimizer: optimizer::adamw(#{ lr: 1e-2 }),
        schedule: #{ warmup: "5%", decay: "cosine", floor: 0.1 },
    })
    .evaluate()
    .sample(#{ prompts: ["The sea", "A ship"], tokens: 8 })
    .save()
"#,
    );
}

#[test]
fn filters_chain_and_can_be_used_again() {
    check(
        "chain",
        r#"
let clean = filter::normalize(#{ form: "nfc" }) | filter::length(200);
pipeline("chain").prepare(source::text("a.txt") | clean | filter::length(3), #{ checks: clean })
"#,
    );
}

#[test]
fn a_source_alone_and_a_filter_alone_take_the_shape_of_their_option() {
    check("alone", r#"pipeline("alone").prepare(#{ data: source::text("a.txt"), checks: filter::length(1) })"#);
}

#[test]
fn components_go_where_their_kind_is_asked_for() {
    check(
        "by_kind",
        r#"pipeline("kinds").pretrain(optimizer::adamw(), sharder::single(), model::waveresnet(#{ vocab: 512 }))"#,
    );
}

#[test]
fn a_primary_option_and_others_go_together() {
    check("primary", r#"pipeline("p").prepare(source::jsonl(["a.jsonl", "b.jsonl"], #{ text: "content" }))"#);
}

#[test]
fn a_tokenizer_is_made_once_for_all_models_that_share_it() {
    check(
        "tokenizer_once",
        r#"
let tok = tokenizer::train_bpe(#{ vocab: 300 });
let lm = model::waveresnet(#{ vocab: tok });
pipeline("t").prepare(source::text("a.txt")).pretrain(lm).pretrain(#{ model: lm, steps: 3 }).evaluate().evaluate()
"#,
    );
}

#[test]
fn functions_loops_and_conditions_make_recipes_too() {
    check(
        "language",
        r#"
const WIDTH = 32;
fn network(depth) { model::waveresnet(#{ d_model: global::WIDTH * depth, n_layers: depth, dropout: 0.0 }) }

let prompts = [];
for word in ["sea", "ship"] { prompts.push(`The ${word}`); }
let steps = if prompts.len() > 1 { 2 * 3 } else { 1 };
pipeline("l").pretrain(network(2), #{ steps: steps }).sample(#{ prompts: prompts });
"#,
    );
}

#[test]
fn a_stage_takes_its_primary_option_by_place_and_outputs_stay_where_they_are() {
    check("primary_of_stage", r#"pipeline("p").save("out", #{ format: "safetensors" }).save()"#);
}

#[test]
fn numbers_keep_their_type() {
    let text =
        "pipeline(\"n\").pretrain(model::waveresnet(#{ dropout: 1 }), #{ steps: 7 / 2, schedule: #{ floor: 1.0 } })";
    let plan = Recipe::from_source("n", text).evaluate(&[]).unwrap().plan;
    let options = &plan.stages[0].options;
    assert!(options["model"]["options"]["dropout"].is_i64());
    assert!(options["schedule"]["floor"].is_f64());
    assert_eq!(options["steps"], 3);
}

#[test]
fn the_same_recipe_gives_the_same_plan() {
    let text = r#"let f = |x| x + 1; pipeline("s").sample(#{ tokens: f.call(3), prompts: ["b", "a"] })"#;
    let plan = || serde_json::to_string(&Recipe::from_source("s", text).evaluate(&[]).unwrap().plan).unwrap();
    assert_eq!(plan(), plan());
}

#[test]
fn what_a_recipe_prints_is_returned() {
    let text = "print(\"hello\"); debug(3);\npipeline(\"p\").evaluate()";
    let evaluated = Recipe::from_source("p.rhai", text).evaluate(&[]).unwrap();
    assert_eq!(evaluated.notes, ["hello", "p.rhai:1: 3"]);
}

#[test]
fn a_closure_is_stored_as_its_text_with_what_it_captured() {
    check(
        "closure",
        r#"
let least = 50;
let limits = #{ most: 1_000, hosts: ["a", "b"] };
let long = |d| (d.words + 1) * 2 > least; // not part of it
let text = source::jsonl("prose.jsonl")
    | filter::rhai(|doc| doc.text.len() > 200)
    | filter::rhai(|doc| {
        // A comment with a ) bracket.
        if doc.words < least || doc.words > limits.most { "length, in words" } else { true }
    }, #{ name: "length" })
    | filter::rhai(long)
    | filter::rhai("doc.contains(\"é\")");
pipeline("closure").prepare(text)
"#,
    );
}

#[test]
fn mixtures_append_parts_and_multiply_weights() {
    check(
        "mixture",
        r#"
let web = source::jsonl("web/*.jsonl.zst");
let books = source::text("books.txt");
let news = source::text("news.txt");
let mix = 0.5 * (0.5 * web + books * 0.5) + 1 * (news + books);
pipeline("mixture").prepare((web + books + news) | filter::normalize(), #{ validation: "2%" }).prepare(mix)
"#,
    );
}
