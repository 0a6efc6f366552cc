//! `--set`: parameters, and options of the finished plan.

use psann_core::plan::Plan;
use psann_scripts::Recipe;
use serde_json::json;

const RECIPE: &str = r#"
let name  = param("name", "run", "run name");
let steps = param("steps", 300, "optimizer steps");
let lr    = param("lr", 2e-3, "learning rate");
let long  = param("long", false, "longer context");
let words = param("words", ["sea"], "prompts");

pipeline(name)
    .prepare(source::jsonl("corpus/a.jsonl"))
    .pretrain(model::waveresnet(#{ vocab: tokenizer::train_bpe() }), #{
        steps: steps,
        seq_len: if long { 2048 } else { 512 },
        optimizer: optimizer::adamw(#{ lr: lr }),
    })
    .sample(#{ prompts: words })
    .sample()
"#;

fn evaluate(sets: &[(&str, &str)]) -> Result<Plan, String> {
    let sets: Vec<_> = sets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let evaluated = Recipe::from_source("test.rhai", RECIPE).evaluate(&sets).map_err(|e| e.render(false))?;
    Ok(evaluated.plan)
}

fn pretrain(plan: &Plan) -> &serde_json::Value {
    &plan.stage("pretrain").unwrap().options
}

#[test]
fn parameters_take_the_type_of_their_default_and_the_recipe_follows() {
    let plan =
        evaluate(&[("steps", "50"), ("lr", "1"), ("long", "true"), ("name", "try2"), ("words", "[\"a\", \"b\"]")]);
    let plan = plan.unwrap();
    assert_eq!(plan.name, "try2");
    assert_eq!(pretrain(&plan)["steps"], json!(50));
    assert_eq!(pretrain(&plan)["seq_len"], json!(2048));
    assert_eq!(pretrain(&plan)["optimizer"]["options"]["lr"], json!(1.0));
    assert_eq!(plan.stage("sample").unwrap().options["prompts"], json!(["a", "b"]));
    let steps = plan.parameters.iter().find(|parameter| parameter.name == "steps").unwrap();
    assert_eq!((&steps.default, &steps.value, steps.help.as_str()), (&json!(300), &json!(50), "optimizer steps"));
}

#[test]
fn the_last_of_several_values_counts() {
    assert_eq!(pretrain(&evaluate(&[("steps", "5"), ("steps", "6")]).unwrap())["steps"], json!(6));
}

#[test]
fn paths_reach_every_option_of_the_plan() {
    let sets = [
        ("pretrain.optimizer.lr", "0.5"),
        ("pretrain.schedule.decay", "cosine"),
        ("pretrain.model.vocab", "100"),
        ("tokenizer.tokenizer.vocab", "512"),
        ("sample-2.tokens", "7"),
        ("prepare.data.source.text", "body"),
        ("pretrain.steps", "4M"),
    ];
    let plan = evaluate(&sets).unwrap();
    assert_eq!(pretrain(&plan)["optimizer"]["options"]["lr"], json!(0.5));
    assert_eq!(pretrain(&plan)["schedule"], json!({ "decay": "cosine" }));
    assert_eq!(pretrain(&plan)["model"]["options"]["vocab"], json!(100));
    assert_eq!(pretrain(&plan)["steps"], json!("4M"));
    assert_eq!(plan.stage("tokenizer").unwrap().options["tokenizer"]["options"]["vocab"], json!(512));
    assert_eq!(plan.stage("sample-2").unwrap().options["tokens"], json!(7));
    assert_eq!(plan.stage("prepare").unwrap().options["data"]["source"]["options"]["text"], json!("body"));
}

#[test]
fn what_does_not_fit_is_explained() {
    let cases: [&[(&str, &str)]; 8] = [
        &[("steps", "abc")],
        &[("long", "yes")],
        &[("step", "5")],
        &[("banana", "5")],
        &[("pretrain.optimizer.lrr", "5")],
        &[("pretrian.steps", "5")],
        &[("pretrain.steps", "many"), ("sample.tokens", "-1")],
        &[("pretrain", "5")],
    ];
    let shown: Vec<String> = cases.iter().map(|sets| format!("{sets:?}\n{}", evaluate(sets).unwrap_err())).collect();
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("wrong_sets", shown.join("\n"));
    });
}

#[test]
fn parameters_are_listed_in_the_recipes_order() {
    let parameters = Recipe::from_source("test.rhai", RECIPE).parameters().unwrap();
    let names: Vec<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["name", "steps", "lr", "long", "words"]);
    assert!(parameters.iter().all(|parameter| parameter.value == parameter.default));
}
