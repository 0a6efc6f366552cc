//! The recipe language at a prompt.

use psann_scripts::{Recipe, Session};

/// Enters lines one after the other and compares what is printed with the stored text.
fn check(name: &str, session: &mut Session, lines: &[&str]) {
    let mut shown = Vec::new();
    for line in lines {
        let answer = match line.strip_prefix(":set ").and_then(|set| set.split_once('=')) {
            Some((name, value)) => session.set(name, value),
            None => session.evaluate(line),
        };
        let answer = answer.unwrap_or_else(|e| e.render(false));
        shown.push(format!("> {line}\n{}", answer.trim_end()));
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(format!("session_{name}"), shown.join("\n"));
    });
}

#[test]
fn values_are_shown_as_a_recipe_would_write_them() {
    check(
        "values",
        &mut Session::new(),
        &[
            "1 + 2",
            "it * 2",
            "let a = [1, 2.5, \"x\", #{ b: (), \"sync\": true }];",
            "a",
            "source::jsonl(\"a.jsonl\", #{ text: \"body\" }) | filter::normalize() | filter::length(3)",
            "filter::normalize() | filter::length(3)",
            "model::waveresnet(#{ d_model: 16, vocab: tokenizer::train_bpe(#{ vocab: 300 }) })",
            "pipeline(\"x\").prepare(source::text(\"a.txt\")).pretrain(it, #{ steps: 3 })",
            "pipeline(\"x\").prepare(source::text(\"a.txt\")).evaluate()",
            "|x| x + 1",
            "print(\"hello\"); 3",
        ],
    );
}

#[test]
fn state_survives_mistakes_and_a_mistake_leaves_no_trace() {
    check(
        "mistakes",
        &mut Session::new(),
        &[
            "let x = 20;",
            "let x = 30; nothing_like_this(x)",
            "x + 1",
            "fn twice(n) { n * 2 }",
            "twice(it)",
            "let y = optimizer::adamw(#{ lrr: 3 });",
            "y",
            "throw \"stop\"",
            "twice(x)",
        ],
    );
}

#[test]
fn functions_and_imports_stay_and_can_be_replaced() {
    check(
        "functions",
        &mut Session::new(),
        &[
            "fn network(n) { model::waveresnet(#{ n_layers: n, d_modle: 3 }) }",
            "network(3)",
            "fn network(n) { model::waveresnet(#{ n_layers: n }) }",
            "network(3)",
            "import \"lib/english\" as english;",
            "source::text(\"a\") | english::clean()",
            "fn g() { network(4) }\nfn h() { g() }",
            "h()",
        ],
    );
}

#[test]
fn parameters_and_paths_are_set_by_evaluating_again() {
    let mut session = Session::new();
    check(
        "set",
        &mut session,
        &[
            "let steps = param(\"steps\", 3, \"optimizer steps\");",
            "let twice = steps * 2;",
            "pipeline(\"x\").pretrain(#{ steps: twice })",
            ":set steps=50",
            "twice",
            ":set steps=many",
            ":set stpes=4",
            ":set pretrain.batch=8",
            ":set pretrain.bach=8",
            "steps",
            "let steps = param(\"steps\", 7, \"again\");",
        ],
    );
    assert_eq!(session.parameters()[0].value, 50);
    let plan = session.plan().unwrap();
    assert_eq!(plan.stages[0].options["steps"], 100);
    assert_eq!(plan.stages[0].options["batch"], 8);
}

#[test]
fn a_recipe_can_be_loaded_and_a_broken_one_changes_nothing() {
    let recipe = Recipe::from_source(
        "tiny.rhai",
        "let steps = param(\"steps\", 12, \"optimizer steps\");\nfn f() { optimizer::adamw(#{ lrr: 1 }) }\nlet lm = model::waveresnet();\npipeline(\"tiny\").pretrain(lm, #{ steps: steps })",
    );
    let mut session = Session::new();
    assert_eq!(session.load(&recipe).unwrap(), "loaded tiny.rhai: lm, steps");
    session.set("steps", "99").unwrap();
    assert_eq!(session.plan().unwrap().stages[0].options["steps"], 99);
    assert_eq!(session.parameters()[0].default, 12);
    assert_eq!(session.evaluate("steps + 1").unwrap(), "100");
    let error = session.evaluate("f()").unwrap_err().render(false);
    assert!(error.contains("tiny.rhai:2:"), "{error}");
    assert!(session.load(&Recipe::from_source("broken.rhai", "let a = ;")).is_err());
    assert!(session.load(&Recipe::from_source("empty.rhai", "let a = 3;")).is_err());
    assert_eq!(session.evaluate("steps").unwrap(), "99");
}

#[test]
fn an_open_expression_is_told_from_a_wrong_one() {
    let open = [
        "let a = [1,",
        "f(",
        "1 +",
        "let x =",
        "#{ a: 1",
        "fn f(x) {\n  x +",
        "`abc",
        "if true {",
        "let a = 3;\nfn f(",
        "source::text(\"a\") |",
        "pipeline(\"x\").pretrain(lm, #{",
        "f(\n\n",
    ];
    for text in open {
        assert!(!Session::is_complete(text), "{text}");
    }
    for text in
        ["", "1", "let a = 3;", "let a = ;", "\"abc", "1 2", "a)", "// words", "unknown(3)", "let a = [1]; a", "x\n"]
    {
        assert!(Session::is_complete(text), "{text}");
    }
}

#[test]
fn completions_follow_the_place() {
    let mut session = Session::new();
    session.evaluate("let stepsize = 3; let steps = 4;").unwrap();
    let of = |before: &str| -> Vec<String> { session.completions(before).into_iter().map(|c| c.text).collect() };
    assert_eq!(of("source::"), ["jsonl", "mix", "text"]);
    assert_eq!(of("let a = filter::no"), ["normalize"]);
    assert_eq!(of("pipeline(\"x\").pre"), ["prepare", "pretrain"]);
    assert_eq!(of("ste"), ["steps", "stepsize"]);
    assert_eq!(of("pip"), ["pipeline"]);
    assert_eq!(of("so"), ["source::"]);
    assert_eq!(of("optimizer::adamw(#{ "), ["betas", "lr"]);
    assert_eq!(of("pipeline(\"x\").pretrain(lm, #{ steps: 3, sch"), ["schedule"]);
    assert_eq!(of("p.pretrain(lm, #{ schedule: #{ w"), ["warmup"]);
    assert_eq!(
        of("p.pretrain(lm, #{ optimizer: optimizer::adamw(#{ lr: 1 }), s"),
        ["schedule", "seed", "seq_len", "sharder", "steps"]
    );
    assert_eq!(of("p.pretrain(lm, #{ steps: ste"), ["steps", "stepsize"]);
    let completion = session.completions("optimizer::adamw(#{ l").remove(0);
    assert_eq!((completion.replaces, completion.help.as_str()), (1, "Learning rate."));
}

#[test]
fn a_mixture_is_shown_as_it_is_written() {
    let mut session = Session::new();
    let text = "0.8 * source::jsonl(\"a\") + 0.2 * (source::text(\"b\") + source::text(\"c\")) | filter::length(3)";
    let shown = session.evaluate(text).unwrap();
    assert_eq!(
        shown,
        "(0.8 * source::jsonl(#{ path: \"a\" }) + 0.2 * (source::text(#{ path: \"b\" }) + source::text(#{ path: \"c\" }))) | \
         filter::length(#{ least: 3 })"
    );
}
