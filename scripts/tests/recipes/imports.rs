//! `import`, and where relative inputs start.

use std::fs;
use std::path::Path;

use psann_scripts::Recipe;
use tempfile::TempDir;

/// A folder with these files, of which `recipes/main.rhai` is evaluated.
fn evaluate(files: &[(&str, &str)]) -> (TempDir, Result<psann_scripts::Evaluated, String>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let recipe = Recipe::load(folder.path().join("recipes/main.rhai")).unwrap();
    let root = folder.path().display().to_string();
    let evaluated = recipe.evaluate(&[]).map_err(|e| e.render(false).replace(&root, "[root]"));
    (folder, evaluated)
}

fn check(name: &str, files: &[(&str, &str)]) {
    let error = evaluate(files).1.unwrap_err();
    let description = files.iter().map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>().join("\n");
    insta::with_settings!({ description => description, omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(format!("wrong_import_{name}"), error);
    });
}

fn path_of(evaluated: &psann_scripts::Evaluated) -> String {
    evaluated.plan.stages[0].options["data"]["source"]["options"]["path"].as_str().unwrap().to_owned()
}

#[test]
fn the_standard_library_is_built_in() {
    let text = "import \"lib/english\" as english;\npipeline(\"x\").prepare(source::text(\"a\") | english::clean())";
    let plan = Recipe::from_source("t", text).evaluate(&[]).map_err(|e| e.render(false)).unwrap().plan;
    assert_eq!(plan.stages[0].options["data"]["filters"][0]["plugin"], "filter/normalize");
}

#[test]
fn scripts_beside_the_recipe_can_be_imported() {
    let main = "import \"parts/data\" as data;\npipeline(\"x\").prepare(data::TEXT | data::short(3))";
    let data = "import \"parts/more\" as more;\nexport const TEXT = source::text(more::FILE);\nfn short(n) { filter::length(n) }";
    let more = "export const FILE = \"corpus/a.txt\";";
    let files = [("recipes/main.rhai", main), ("recipes/parts/data.rhai", data), ("recipes/parts/more.rhai", more)];
    let (folder, evaluated) = evaluate(&files);
    let expected = folder.path().join("recipes/corpus/a.txt");
    assert_eq!(Path::new(&path_of(&evaluated.unwrap())), expected);
}

#[test]
fn inputs_start_at_the_recipes_folder_and_absolute_ones_stay() {
    let main = "pipeline(\"x\").prepare(source::jsonl([\"a.jsonl\", \"/b.jsonl\"], #{ manifest: \"./shards.txt\" }))";
    let (folder, evaluated) = evaluate(&[("recipes/main.rhai", main)]);
    let recipes = folder.path().join("recipes");
    let plan = evaluated.unwrap().plan;
    let options = &plan.stages[0].options["data"]["source"]["options"];
    assert_eq!(options["path"], serde_json::json!([recipes.join("a.jsonl"), "/b.jsonl"]));
    assert_eq!(options["manifest"], serde_json::json!(recipes.join("shards.txt")));
}

#[test]
fn inputs_of_stages_start_there_too_and_names_are_no_paths() {
    let stage = "pipeline(\"x\").prepare(source::text(\"a\")).evaluate(#{ tasks: [\"piqa\", \"own.toml\"], data: [\"evals\"] })";
    let (folder, evaluated) = evaluate(&[("recipes/main.rhai", stage)]);
    let recipes = folder.path().join("recipes");
    let options = &evaluated.unwrap().plan.stages[1].options;
    assert_eq!(options["tasks"], serde_json::json!(["piqa", recipes.join("own.toml")]));
    assert_eq!(options["data"], serde_json::json!([recipes.join("evals")]));
    let sets = [("evaluate.data".to_owned(), "[\"here\"]".to_owned())];
    let recipe = Recipe::load(folder.path().join("recipes/main.rhai")).unwrap();
    let options = recipe.evaluate(&sets).map_err(|e| e.render(false)).unwrap().plan.stages[1].options.clone();
    assert_eq!(options["data"], serde_json::json!(["here"]));
}

#[test]
fn a_recipe_below_the_working_directory_gives_the_same_plan_by_any_name() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let file = folder.path().join("main.rhai");
    fs::write(&file, "pipeline(\"x\").prepare(source::text(\"a.txt\"))").unwrap();
    let absolute = std::env::current_dir().unwrap().join(&file);
    let plan = |path: &Path| serde_json::to_value(Recipe::load(path).unwrap().evaluate(&[]).unwrap().plan).unwrap();
    assert_eq!(plan(&absolute), plan(&file));
}

#[test]
fn imports_stay_in_the_recipes_folder() {
    let secret = ("secret.rhai", "export const X = 1;");
    check("dots", &[("recipes/main.rhai", "import \"../secret\" as s;"), secret]);
    check("absolute", &[("recipes/main.rhai", "import \"/etc/passwd\" as s;")]);
    check("missing", &[("recipes/main.rhai", "import \"lib/englsh\" as e;")]);
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_does_not_lead_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("recipes")).unwrap();
    fs::write(folder.path().join("secret.rhai"), "export const X = 1;").unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret.rhai"), folder.path().join("recipes/link.rhai")).unwrap();
    fs::write(folder.path().join("recipes/main.rhai"), "import \"link\" as s;").unwrap();
    let error = Recipe::load(folder.path().join("recipes/main.rhai")).unwrap().evaluate(&[]).unwrap_err();
    assert!(error.to_string().contains("leads out of the recipe's folder"), "{error}");
}

#[test]
fn mistakes_in_imported_scripts_are_shown_there() {
    let main = ("recipes/main.rhai", "import \"part\" as part;\npipeline(\"x\").pretrain(part::network())");
    check(
        "cycle",
        &[
            ("recipes/main.rhai", "import \"a\" as a;"),
            ("recipes/a.rhai", "import \"b\" as b;"),
            ("recipes/b.rhai", "import \"a\" as a;"),
        ],
    );
    check("syntax", &[main, ("recipes/part.rhai", "fn network() {\n    model::waveresnet(#{ a: })\n}")]);
    check("option", &[main, ("recipes/part.rhai", "fn network() {\n    model::waveresnet(#{ d_modle: 3 })\n}")]);
    check("thrown", &[main, ("recipes/part.rhai", "fn network() {\n    throw \"no network\"\n}")]);
    check("function", &[main, ("recipes/part.rhai", "fn netwrok() { 1 }")]);
}
