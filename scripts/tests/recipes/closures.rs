//! Closures of recipes, run as the filters that their plans name.

use psann_core::plan::Component;
use psann_core::{BatchBuilder, Document, Filter, Result, registry};
use psann_scripts::Recipe;

/// The filter of a recipe whose first stage prepares one source with one filter.
fn filter(text: &str) -> Result<Box<dyn Filter>> {
    let plan = Recipe::from_source("closures.rhai", text).evaluate(&[]).map_err(|e| e.render(false)).unwrap().plan;
    let component = Component::from_value(&plan.stages[0].options["data"]["filters"][0]).unwrap();
    registry::filter(&component.name, &component.options)
}

fn failure(text: &str) -> String {
    let mut batch = BatchBuilder::default();
    batch.push(Document { text: "A short text.".into(), id: Some("d-1".into()), ..Document::default() });
    filter(text).and_then(|filter| filter.apply(&batch.finish()?)).unwrap_err().to_string()
}

#[test]
fn a_closure_keeps_what_it_saw_in_the_recipe() {
    let text = r#"
let least = 3;
let long = filter::rhai(|doc| if doc.words < least { "short" } else { true });
least = 100;
pipeline("x").prepare(source::text("a.txt") | long)
"#;
    let filter = filter(text).unwrap();
    assert_eq!(filter.reasons(), ["rejected", "short"]);
    let mut batch = BatchBuilder::default();
    for text in ["one two", "one two three"] {
        batch.push(Document { text: text.into(), ..Document::default() });
    }
    assert_eq!(filter.apply(&batch.finish().unwrap()).unwrap().dropped, [Some(1), None]);
}

#[test]
fn a_failure_names_the_place_in_the_recipe_and_the_document() {
    let text = "let text = source::text(\"a.txt\") | filter::rhai(|doc| {\n    let words = doc.words;\n    words.nothing > 3\n});\npipeline(\"x\").prepare(text)";
    let failure = failure(text);
    assert!(failure.starts_with("closures.rhai:3:11: "), "{failure}");
    assert!(failure.ends_with("(document `d-1` \"A short text.\")"), "{failure}");
}

#[test]
fn code_that_only_the_plan_has_is_named_by_its_own_lines() {
    let failure = failure(
        "pipeline(\"x\").prepare(source::text(\"a.txt\") | filter::rhai(\"let n = doc.words;\\nn.nothing > 4\"))",
    );
    assert!(failure.starts_with("line 2, column 3 of its code: "), "{failure}");
}

#[test]
fn the_guides_examples_are_right() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/recipes.md")).unwrap();
    let start = guide.find("## Filters of your own").unwrap();
    let sections = &guide[start..guide.find("## Broken input").unwrap()];
    let examples: Vec<&str> = sections.split("```").filter_map(|block| block.strip_prefix("rhai\n")).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let recipe = format!("{example}\npipeline(\"x\").prepare(text)");
        Recipe::from_source("guide.rhai", &recipe).evaluate(&[]).map_err(|e| e.render(false)).unwrap();
    }
}
