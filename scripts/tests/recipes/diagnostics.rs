//! Recipes that are wrong, and what is said about them.

use psann_core::error::Fault;
use psann_scripts::Recipe;

/// Evaluates `text`, which must be wrong, and compares the diagnostics with the stored ones.
fn check(name: &str, text: &str) {
    let diagnostics = Recipe::from_source("test.rhai", text).evaluate(&[]).unwrap_err();
    assert_eq!(diagnostics.fault(), Fault::Usage);
    insta::with_settings!({ description => text, omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(format!("wrong_{name}"), diagnostics.render(false));
    });
}

macro_rules! wrong {
    ($($name:ident: $text:expr;)*) => {$(
        #[test]
        fn $name() {
            check(stringify!($name), $text);
        }
    )*};
}

wrong! {
    option_unknown: "let lm = model::waveresnet();\npipeline(\"x\")\n    .pretrain(lm, #{\n        steps: 3,\n        schedul: #{ warmup: \"1%\" },\n    })";
    option_unknown_in_group: "pipeline(\"x\").pretrain(#{ schedule: #{ warmpu: \"1%\" } })";
    option_unknown_of_plugin: "pipeline(\"x\").pretrain(#{ optimizer: optimizer::adamw(#{ lrr: 1e-3 }) })";
    option_mistyped: "pipeline(\"x\").pretrain(#{\n  seq_len: \"long\",\n})";
    option_mistyped_in_list: "pipeline(\"x\").sample(#{ prompts: [\"a\", 3] })";
    option_of_wrong_kind: "pipeline(\"x\").pretrain(#{ optimizer: model::waveresnet() })";
    option_out_of_bounds: "pipeline(\"x\").pretrain(model::waveresnet(#{ d_model: 0 }))";
    option_is_function: "pipeline(\"x\").sample(#{ tokens: |x| x })";
    option_not_finite: "pipeline(\"x\").pretrain(#{ optimizer: optimizer::adamw(#{ lr: 1.0 / 0.0 }) })";
    option_given_twice: "pipeline(\"x\").prepare(source::text(\"a\"), #{ data: source::text(\"b\") })";
    option_through_variable: "let schedule = #{ warmpu: 3 };\npipeline(\"x\").pretrain(#{ schedule: schedule })";
    options_through_variable: "let options = #{ stepps: 3 };\npipeline(\"x\").pretrain(options)";
    primary_mistyped: "pipeline(\"x\").prepare(source::text(3))";
    primary_twice: "pipeline(\"x\").prepare(source::text(\"a\", #{ path: \"b\" }))";
    everything_at_once: "let lm = model::waveresnet(#{ d_modle: 3, n_layers: \"two\" });\nlet text = source::text(\"a.txt\") | filter::normalize(#{ form: \"nfd\" });\npipeline(\"x\")\n    .prepare(text, #{ validation: \"200%\", seed: 1 })\n    .pretrain(lm, #{ stepps: 3, batch: 1.5 })";
    options_not_a_map: "pipeline(\"x\").pretrain(model::waveresnet(16))";
    options_not_a_map_second: "pipeline(\"x\").prepare(source::text(\"a\", 3))";
    too_many_arguments: "source::text(\"a\", #{}, 3)";
    component_of_wrong_kind: "pipeline(\"x\").prepare(model::waveresnet())";
    filter_where_model: "pipeline(\"x\").pretrain(filter::normalize(), #{ steps: 3 })";
    pipeline_where_component: "pipeline(\"x\").save(pipeline(\"y\"))";
    two_maps: "pipeline(\"x\").save(#{}, #{})";
    number_where_component: "pipeline(\"x\").pretrain(300)";
    pipe_of_wrong_kinds: "let x = source::text(\"a\") | model::waveresnet();\npipeline(\"x\").prepare(x)";
    pipe_of_plain_value: "let x = source::text(\"a\") | 3;";
    closure_unknown_property: "let text = source::text(\"a\")\n    | filter::normalize()\n    | filter::rhai(|doc| doc.txt.len() > 200);";
    closure_unknown_function: "let text = source::text(\"a\") | filter::rhai(|doc| {\n    let n = doc.words;\n    n > 3 && dco(n)\n});";
    closure_calls_function_of_recipe: "fn few(doc) { doc.words < 50 }\nlet f = filter::rhai(|doc| !few(doc));";
    closure_captures_component: "let other = source::text(\"a\");\nlet f = filter::rhai(|doc| doc.words > 3 && other);";
    closure_captures_function: "let few = |n| n < 3;\nlet f = filter::rhai(|doc| few.call(doc.words));";
    closure_uses_global: "const LEAST = 3;\nlet f = filter::rhai(|doc| doc.words > global::LEAST);";
    closure_of_two: "let f = filter::rhai(|doc, other| true);";
    closure_prints: "let f = filter::rhai(|doc| { print(doc.text); true });";
    closure_missing: "let f = filter::rhai();";
    closure_is_number: "let f = filter::rhai(3);";
    closure_is_named_function: "fn few(doc) { doc.words < 50 }\nlet f = filter::rhai(few);";
    closure_option_unknown: "let f = filter::rhai(|doc| true, #{ nmae: \"short\" });";
    closure_as_wrong_string: "let f = filter::rhai(\"doc.words >> < 3\");";
    closure_as_string_with_unknown_variable: "let least = 3;\nlet f = filter::rhai(\n    \"doc.words > least\");";
    mixture_weight_missing: "let a = source::text(\"a\");\nlet mix = 0.8 * a + a;";
    mixture_weight_zero: "let mix = 0 * source::text(\"a\");";
    mixture_behind_filter: "let a = source::text(\"a\") | filter::normalize();\nlet mix = 0.8 * a + 0.2 * source::text(\"b\");";
    mixture_of_filters: "let mix = filter::normalize() + filter::normalize();";
    mixture_with_number: "let mix = source::text(\"a\") + 3;";
    mixture_option_unknown: "let mix = source::mix([\n    #{ source: source::text(\"a\"), weigth: 0.5 },\n]);";
    mixture_part_with_filters: "let mix = source::mix([#{ source: source::text(\"a\") | filter::normalize() }]);";
    plugin_unknown: "let text = source::jsnl(\"corpus.jsonl\");\npipeline(\"x\").prepare(text)";
    plugin_of_other_kind: "let text = source::normalize();";
    plugin_far_off: "let text = filter::banana();";
    plugin_without_kind: "let text = jsonl(\"a\");";
    kind_unknown: "let text = sorce::jsonl(\"a\");";
    kind_alone: "let text = source;";
    stage_unknown: "pipeline(\"x\")\n    .pretrian(model::waveresnet())";
    stage_without_pipeline: "let x = model::waveresnet();\npretrain(x)";
    stage_on_number: "let x = 3;\nx.pretrain(#{})";
    property_of_component: "model::waveresnet().vocab";
    stage_not_called: "pipeline(\"x\").prepare";
    function_unknown: "fn network() { model::waveresnet() }\npipeline(\"x\").pretrain(netwrok())";
    variable_unknown: "let steps = 3;\npipeline(\"x\").pretrain(#{ steps: stpes })";
    variable_of_outside_in_function: "let width = 3;\nfn network() {\n    model::waveresnet(#{ d_model: width })\n}\npipeline(\"x\").pretrain(network())";
    variable_further_down: "pipeline(name).evaluate();\nlet name = \"x\";";
    constant_unknown: "fn f() { global::WIDTH }\nf()";
    no_pipeline: "let lm = model::waveresnet();\nlm";
    nothing_at_the_end: "let lm = pipeline(\"x\");";
    no_stages: "pipeline(\"x\")";
    name_not_a_folder: "pipeline(\"../x\").evaluate()";
    name_not_a_string: "pipeline(3).evaluate()";
    param_twice: "let a = param(\"steps\", 3, \"\");\nlet b = param(\"steps\", 4, \"\");\npipeline(\"x\").evaluate()";
    param_without_help: "let a = param(\"steps\", 3);";
    param_name_not_a_string: "let a = param(3, \"steps\", \"help\");\npipeline(\"x\").evaluate()";
    param_of_component: "let a = param(\"lm\", model::waveresnet(), \"help\");\npipeline(\"x\").evaluate()";
    two_tokenizers: "let a = model::waveresnet(#{ vocab: tokenizer::train_bpe(#{ vocab: 300 }) });\nlet b = model::waveresnet(#{ vocab: tokenizer::load(\"tok\") });\npipeline(\"x\").pretrain(a).pretrain(b)";
    syntax_double_equals: "let a = 1;\nlet tok  == 3;";
    syntax_missing_comma: "pipeline(\"x\").pretrain(#{\n    steps: 3\n    batch: 4,\n})";
    syntax_equals_in_map: "pipeline(\"x\").pretrain(#{ steps = 3 })";
    syntax_missing_bracket: "pipeline(\"x\").pretrain(#{ steps: 3 }";
    syntax_open_string: "let a = \"The sea;\nlet b = 3;";
    syntax_reserved_key: "pipeline(\"x\").pretrain(#{ default: 3 })";
    syntax_key_twice: "pipeline(\"x\").pretrain(#{ steps: 3, steps: 4 })";
    syntax_ends_early: "let a = 3 +";
    syntax_not_ascii: "let grün = 3;";
    syntax_after_wide_characters: "let a = \"日本\" + sea;";
    syntax_escape: "let a = \"C:\\data\";";
    syntax_eval: "eval(\"1\")";
    syntax_too_deep: &format!("let a = {}1{};", "(".repeat(300), ")".repeat(300));
    thrown: "fn check(n) {\n    if n > 3 { throw `too many: ${n}`; }\n}\ncheck(4);";
    thrown_far_down: "fn a() { throw \"deep\"; }\nfn b() { a() }\nfn c() { b() }\nc();";
    map_without_entry: "let a = #{ x: 1 };\na.y";
    index_out_of_bounds: "let a = [1, 2];\na[5]";
    division_by_zero: "let a = 1 / 0;";
    types_that_do_not_add: "let a = #{} - 3;";
    constant_changed: "const A = 1;\nA = 2;";
}

#[test]
fn a_wrong_option_in_a_loop_is_told_once() {
    let text = "for i in 0..5 { optimizer::adamw(#{ lrr: i }); }\npipeline(\"x\").evaluate()";
    let diagnostics = Recipe::from_source("t", text).evaluate(&[]).unwrap_err();
    assert_eq!(diagnostics.messages().collect::<Vec<_>>(), ["unknown option `lrr` of `optimizer::adamw`"]);
}

#[test]
fn a_mistake_that_is_caught_still_counts() {
    let text = "try { source::text(\"a\") | model::waveresnet(); } catch { }\npipeline(\"x\").evaluate()";
    assert!(Recipe::from_source("t", text).evaluate(&[]).is_err());
}

#[test]
fn diagnostics_are_errors_like_others() {
    use miette::Diagnostic;
    let one = Recipe::from_source("t", "pipeline(\"x\").sample(#{ tokns: 3 })").evaluate(&[]).unwrap_err();
    assert_eq!(one.to_string(), "unknown option `tokns` of `sample`");
    assert!(one.help().is_some() && one.labels().is_some() && one.related().is_none());
    let two = Recipe::from_source("t", "pipeline(\"x\").sample(#{ a: 1, b: 2 })").evaluate(&[]).unwrap_err();
    assert_eq!(two.related().unwrap().count(), 2);
    assert!(two.render(true).contains('\u{1b}'));
}
