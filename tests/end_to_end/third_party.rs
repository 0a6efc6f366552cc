//! Plugins of others, as a user meets them: found, refused, trusted, used, changed, crashing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::{Value, json};

use super::support::{Scratch, prose};

/// A library that cargo built beside this test.
fn library(name: &str) -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let file = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let path = folder.join(&file);
    assert!(path.is_file(), "`{}` was not built", path.display());
    path
}

/// Puts a library into the project's folder of plugins.
fn install(scratch: &Scratch, name: &str) -> PathBuf {
    let from = library(name);
    let to = scratch.path().join(".psann/plugins").join(from.file_name().unwrap());
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, &to).unwrap();
    to
}

/// A shared library of this C text, in the project's folder of plugins.
fn compile(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
    let source = scratch.write(&format!("{name}.c"), text);
    let library = scratch.path().join(format!(".psann/plugins/lib{name}{}", std::env::consts::DLL_SUFFIX));
    fs::create_dir_all(library.parent().unwrap()).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/include");
    let status = Command::new("cc")
        .args(["-std=c11", "-shared", "-fPIC", "-I"])
        .arg(include)
        .arg("-o")
        .args([&library, &source])
        .status()
        .unwrap();
    assert!(status.success());
    library
}

const FILTERED: &str = r#"
let text = source::jsonl("prose.jsonl") | filter::plugin("org.psann.letters", 0.7, #{});
pipeline("letters").prepare(text, #{ validation: "5%" })
"#;

/// A diagnosis without its lines and frames.
fn words(text: &str) -> String {
    text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

/// What a corpus holds, for comparison.
fn corpus(scratch: &Scratch, run: &str) -> Vec<u8> {
    let folder = scratch.stage(run, "prepare").join("train");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn a_plugin_is_found_trusted_and_used() {
    let scratch = Scratch::new();
    scratch.write("prose.jsonl", &format!("{}{}\n", prose(), json!({ "text": "1234 5678 90" })));
    scratch.write("letters.rhai", FILTERED);
    let file = install(&scratch, "psann_example_letters");

    // Nothing of it runs before it is trusted, not even to see who it is.
    let before = scratch.run(&["recipe", "letters.rhai"]);
    assert_eq!(before.code, Some(2));
    assert!(before.err.contains("no filter is called `org.psann.letters`"), "{}", before.err);
    let listed = scratch.ok(&["plugin", "list"]);
    assert!(listed.contains("not trusted, never opened (`psann plugin scan`)"), "{listed}");
    let scanned = scratch.ok(&["plugin", "scan"]);
    assert!(
        scanned.contains("org.psann.letters") && scanned.contains("not trusted (`psann plugin allow`)"),
        "{scanned}"
    );
    let asked = scratch.run(&["recipe", "letters.rhai"]);
    assert_eq!(asked.code, Some(2));
    insta::assert_snapshot!("an_untrusted_plugin", asked.err.replace(env!("CARGO_PKG_VERSION"), "[version]"));

    // By the name of its file; the id does as well.
    let allowed = scratch.run(&["plugin", "allow", "psann-example-letters"]);
    assert_eq!(allowed.code, Some(0), "{}", allowed.err);
    let info = scratch.ok(&["plugin", "info", "org.psann.letters"]);
    insta::assert_snapshot!("plugin_info_of_a_plugin", info.replace(env!("CARGO_PKG_VERSION"), "[version]"));
    assert!(scratch.ok(&["plugin", "list"]).contains("(plugin `org.psann.letters` "));
    let plan = scratch.ok(&["recipe", "letters.rhai", "--plan"]);
    assert!(plan.contains("| filter::plugin(\"org.psann.letters\", #{ min: 0.7 })"), "{plan}");
    scratch.ok(&["recipe", "letters.rhai"]);
    let stats: Value = serde_json::from_str(&scratch.ok(&["data", "stats", "runs/letters", "--json"])).unwrap();
    assert!(stats.to_string().contains("too few letters"), "{stats}");
    let environment: Value =
        serde_json::from_str(&fs::read_to_string(scratch.path().join("runs/letters/env.json")).unwrap()).unwrap();
    assert_eq!(environment["plugins"][0]["id"], "org.psann.letters", "{environment}");
    assert_eq!(environment["plugins"][0]["blake3"].as_str().unwrap().len(), 64);

    // Options are checked where they stand in the recipe, as those of built-ins.
    scratch.write("wrong.rhai", &FILTERED.replace("0.7, #{}", "#{ mni: 0.5 }"));
    let wrong = scratch.run(&["recipe", "wrong.rhai", "--plan"]);
    insta::assert_snapshot!("a_wrong_option_of_a_plugin", wrong.err);

    // Another file of the same name is not the one that was trusted.
    let mut bytes = fs::read(&file).unwrap();
    bytes.push(0);
    fs::write(&file, bytes).unwrap();
    let changed = scratch.run(&["recipe", "letters.rhai"]);
    assert_eq!(changed.code, Some(2));
    let said = words(&changed.err);
    assert!(said.contains("is trusted, and no file is the one that `psann.lock` trusts"), "{said}");
    assert!(said.contains("`psann plugin allow org.psann.letters` trusts it anew"), "{said}");
    scratch.ok(&["plugin", "scan"]);
    let changed = scratch.run(&["recipe", "letters.rhai"]);
    assert!(words(&changed.err).contains("is not the file that `psann.lock` trusts"), "{}", changed.err);
    let nowhere = scratch.run(&["plugin", "list", "--plugin-dir", "nowhere"]);
    assert!(nowhere.code == Some(2) && nowhere.err.contains("there is no folder `nowhere`"), "{}", nowhere.err);
    let off = scratch.run(&["recipe", "letters.rhai", "--no-plugins"]);
    assert!(off.err.contains("plugins are off"), "{}", off.err);
    assert_eq!(scratch.run(&["recipe", "letters.rhai", "--yes"]).code, Some(0));
    scratch.ok(&["plugin", "forget", "org.psann.letters"]);
    assert_eq!(scratch.run(&["recipe", "letters.rhai"]).code, Some(2));
}

/// A database with an article for each line of prose, and a recipe that trains on it.
fn shelf(scratch: &Scratch) {
    let mut database = Connection::open(scratch.path().join("articles.db")).unwrap();
    database.execute("CREATE TABLE articles (body TEXT)", []).unwrap();
    let transaction = database.transaction().unwrap();
    for _ in 0..40 {
        for line in prose().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            transaction.execute("INSERT INTO articles VALUES (?1)", [line["text"].as_str().unwrap()]).unwrap();
        }
        transaction.execute("INSERT INTO articles VALUES (NULL)", []).unwrap();
    }
    transaction.commit().unwrap();
    // Not to depend on when the database was written: its time is part of what it is.
    let file = fs::File::options().write(true).open(scratch.path().join("articles.db")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
    scratch.write(
        "shelf.rhai",
        r#"
let text = source::plugin("org.psann.sqlite", "articles.db", #{ table: "articles", text: "body", pieces: 2 });
let tok = tokenizer::train_bpe(#{ vocab: 300 });
let lm = model::waveresnet(#{ d_model: 16, n_layers: 2, n_heads: 2, vocab: tok });
pipeline("tiny").pretrain(text, lm, #{
    steps: 24, seq_len: 32, batch: 4, optimizer: optimizer::adamw(#{ lr: 1e-2 }), checkpoint: #{ every: 3, keep: 2 },
}).save()
"#,
    );
    install(scratch, "psann_example_sqlite");
    scratch.ok(&["plugin", "allow", "org.psann.sqlite"]);
}

#[test]
fn a_run_on_a_source_of_a_plugin_resumes_exactly() {
    let weights = |scratch: &Scratch| fs::read(scratch.stage("tiny", "save").join("model.safetensors")).unwrap();
    let undisturbed = Scratch::new();
    shelf(&undisturbed);
    undisturbed.ok(&["recipe", "shelf.rhai"]);
    let killed = Scratch::new();
    shelf(&killed);
    for checkpoint in ["step-00000003", "step-00000012"] {
        let mut child =
            killed.command(&["recipe", "shelf.rhai"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let there = || {
            let runs = fs::read_dir(killed.path().join("runs/tiny")).into_iter().flatten().flatten();
            runs.map(|entry| entry.path().join("checkpoints").join(checkpoint).join("state.json"))
                .any(|file| file.exists())
        };
        while !there() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    killed.ok(&["recipe", "shelf.rhai"]);
    assert_eq!(weights(&killed), weights(&undisturbed));
}

#[test]
fn a_corpus_of_a_plugin_is_the_same_for_any_number_of_threads() {
    let scratch = Scratch::new();
    shelf(&scratch);
    let recipe = |name: &str, threads: usize| {
        let text = "source::plugin(\"org.psann.sqlite\", \"articles.db\", #{ table: \"articles\", text: \"body\", pieces: 3 })";
        scratch.write(
            &format!("{name}.rhai"),
            &format!("pipeline(\"{name}\").prepare({text}, #{{ validation: \"5%\", workers: {threads} }})"),
        );
        let ended = scratch.run(&["recipe", &format!("{name}.rhai")]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        // Numbers of the plugin are told, and part of the report.
        assert!(ended.err.contains("plugin `org.psann.sqlite`: rows without a text: 40\n"), "{}", ended.err);
        let record = fs::read_to_string(scratch.stage(name, "prepare").join("stage.json")).unwrap();
        let record: Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["report"]["plugins"]["org.psann.sqlite"]["rows without a text"], 40.0);
        corpus(&scratch, name)
    };
    assert_eq!(recipe("one", 1), recipe("three", 3));
}

#[test]
fn a_library_that_crashes_when_it_is_opened_goes_into_quarantine() {
    let scratch = Scratch::new();
    let crash = "__attribute__((constructor)) static void start(void) { *(volatile int *)8 = 1; }\n";
    compile(&scratch, "crash", crash);
    compile(&scratch, "empty", "int nothing;\n");
    install(&scratch, "psann_example_letters");
    let scanned = scratch.ok(&["plugin", "scan"]).replace(env!("CARGO_PKG_VERSION"), "[version]");
    assert!(
        scanned.contains("in quarantine: opening it ended the process with signal 11 (a wild pointer)"),
        "{scanned}"
    );
    assert!(scanned.contains("is no psann plugin: it has no symbol `psann_plugin_v1`"), "{scanned}");
    assert!(scanned.contains("not trusted (`psann plugin allow`)"), "the others are not concerned: {scanned}");
    let refused = scratch.run(&["plugin", "allow", "crash"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("cannot be used: in quarantine"), "{}", refused.err);
}

#[test]
fn a_plugin_with_the_name_of_a_built_in_disturbs_nobody() {
    let scratch = Scratch::new();
    scratch.write("prose.jsonl", &prose());
    scratch.write("plain.rhai", "pipeline(\"plain\").prepare(source::jsonl(\"prose.jsonl\"))");
    scratch.ok(&["plugin", "new", "jsonl", "--kind", "source", "--lang", "python"]);
    fs::create_dir_all(scratch.path().join(".psann/plugins")).unwrap();
    for file in ["jsonl.toml", "jsonl.py"] {
        fs::copy(scratch.path().join("jsonl").join(file), scratch.path().join(".psann/plugins").join(file)).unwrap();
    }
    let refused = scratch.run(&["plugin", "allow", "jsonl"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("its id is the name of a source that is part of psann"), "{}", refused.err);
    scratch.ok(&["recipe", "plain.rhai"]);
    assert!(scratch.ok(&["plugin", "list"]).contains("cannot be used: its id is the name of a source"));
}

#[test]
fn a_library_is_checked_in_a_process_of_its_own() {
    let scratch = Scratch::new();
    let letters = library("psann_example_letters");
    let checked = scratch.ok(&["plugin", "check", letters.to_str().unwrap()]);
    insta::assert_snapshot!("plugin_check", checked.replace(env!("CARGO_PKG_VERSION"), "[version]"));
    let crash = compile(&scratch, "late", &LATE.replace("CRASH", "abort()"));
    let ended = scratch.run(&["plugin", "check", crash.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
    assert!(
        ended.err.contains("ended the process with signal 6 (abort), in what follows the last line above"),
        "{}",
        ended.err
    );
    let missing = scratch.run(&["plugin", "check", "nothing.so"]);
    assert!(missing.code == Some(2) && missing.err.contains("there is no file `nothing.so`"), "{}", missing.err);
}

/// A filter whose `create` does what CRASH says.
const LATE: &str = r#"
#include <psann.h>
#include <stdlib.h>
static const char manifest[] =
    "{\"id\": \"org.late\", \"version\": \"3\", \"components\": [{\"interface\": \"psann.filter/1\", \"name\": \"late\"}]}";
static int32_t init(const PsannHost *host, PsannError *error) { (void)host; (void)error; return 0; }
static int32_t create(PsannStr name, PsannStr options, PsannHandle **handle, PsannError *error) {
    (void)name; (void)options; (void)handle; (void)error; CRASH; return 1; }
static void destroy(PsannHandle *handle) { (void)handle; }
static int32_t text(PsannHandle *handle, PsannText *text, PsannError *error) {
    (void)handle; (void)text; (void)error; return 1; }
static int32_t apply(PsannHandle *handle, const struct ArrowArray *batch, struct ArrowArray *verdicts,
    struct ArrowSchema *schema, PsannError *error) {
    (void)handle; (void)batch; (void)verdicts; (void)schema; (void)error; return 1; }
static const PsannFilter filters = { sizeof(PsannFilter), 0, create, destroy, text, text, apply };
static const void *get_interface(PsannStr id) { (void)id; return &filters; }
static const PsannPlugin plugin = { sizeof(PsannPlugin), 1, 0,
    { (const uint8_t *)manifest, sizeof(manifest) - 1 }, init, get_interface, 0 };
const PsannPlugin *psann_plugin_v1(void) { return &plugin; }
"#;

/// The workspace's lock file and offline mode, so that a template builds from what is on this machine already.
fn cargo(folder: &Path, arguments: &[&str]) {
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).args(["--offline", "--quiet"]).current_dir(folder);
    // One folder for all templates: what they depend on is compiled once.
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_new_filter_builds_passes_its_tests_and_loads() {
    let scratch = Scratch::new();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates/debug");
    scratch.ok(&["plugin", "new", "words", "--kind", "filter"]);
    let folder = scratch.path().join("words");
    cargo(&folder, &["test"]);
    cargo(&folder, &["build"]);
    let file = format!("libwords{}", std::env::consts::DLL_SUFFIX);
    let (built, plugins) = (target.join(&file), scratch.path().join(".psann/plugins"));
    scratch.ok(&["plugin", "check", built.to_str().unwrap()]);
    fs::create_dir_all(&plugins).unwrap();
    fs::copy(&built, plugins.join(&file)).unwrap();
    scratch.ok(&["plugin", "allow", "words"]);
    scratch.write("prose.jsonl", &format!("{}{}\n", prose(), json!({ "text": "two words" })));
    let usage = "source::jsonl(\"prose.jsonl\") | filter::plugin(\"words\", #{ least: 3 })";
    scratch.write("words.rhai", &format!("pipeline(\"words\").prepare({usage})"));
    scratch.ok(&["recipe", "words.rhai"]);
    let stats: Value = serde_json::from_str(&scratch.ok(&["data", "stats", "runs/words", "--json"])).unwrap();
    assert!(stats.to_string().contains("too few words"), "{stats}");
    let again = scratch.run(&["plugin", "new", "words", "--kind", "filter"]);
    assert!(again.code == Some(2) && again.err.contains("`./words` is there already"), "{}", again.err);
}

#[test]
fn a_plugin_that_could_end_psann_does_not_compile() {
    let scratch = Scratch::new();
    scratch.ok(&["plugin", "new", "rash", "--kind", "filter"]);
    let folder = scratch.path().join("rash");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let manifest = manifest.replace("[profile.release]", "[profile.dev]\npanic = \"abort\"\n\n[profile.release]");
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates-abort"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("a plugin must not be built with `panic = \"abort\"`"), "{said}");
}

#[test]
#[expect(clippy::print_stderr, reason = "what a test leaves out is said loudly")]
fn a_plugin_in_c_and_a_program_are_made_and_used() {
    let scratch = Scratch::new();
    scratch.write("prose.jsonl", &prose());
    for (name, kind, options) in
        [("letters", "filter", "letters={}"), ("lines", "source", "lines={\"path\": \"prose.jsonl\"}")]
    {
        let id = format!("org.c-{name}");
        scratch.ok(&["plugin", "new", name, "--kind", kind, "--lang", "c", "--id", &id]);
        let library = scratch.path().join(format!(".psann/plugins/lib{name}{}", std::env::consts::DLL_SUFFIX));
        fs::create_dir_all(library.parent().unwrap()).unwrap();
        let status = Command::new("cc")
            .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I.", "-o"])
            .arg(&library)
            .arg(format!("{name}.c"))
            .current_dir(scratch.path().join(name))
            .status()
            .unwrap();
        assert!(status.success());
        scratch.ok(&["plugin", "check", library.to_str().unwrap(), "--options", options]);
        scratch.ok(&["plugin", "allow", &id]);
    }
    let text = "source::plugin(\"org.c-lines\", \"prose.jsonl\") | filter::plugin(\"org.c-letters\", 0.5)";
    scratch.write("c.rhai", &format!("pipeline(\"c\").prepare({text})"));
    scratch.ok(&["recipe", "c.rhai"]);

    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no python3, so no program in Python was run");
        return;
    }
    scratch.ok(&["plugin", "new", "hello", "--kind", "source", "--lang", "python"]);
    for file in ["hello.toml", "hello.py"] {
        fs::copy(scratch.path().join("hello").join(file), scratch.path().join(".psann/plugins").join(file)).unwrap();
    }
    let program = scratch.run(&["plugin", "check", ".psann/plugins/hello.toml"]);
    assert!(
        program.err.contains("`.psann/plugins/hello.toml` is a manifest, and `check` is for libraries"),
        "{}",
        program.err
    );
    scratch.ok(&["plugin", "allow", "hello"]);
    scratch.write("python.rhai", "pipeline(\"python\").prepare(source::plugin(\"hello\", #{ count: 50 }))");
    scratch.ok(&["recipe", "python.rhai"]);
    // What belongs to it is part of what is trusted.
    let program = scratch.path().join(".psann/plugins/hello.py");
    fs::write(&program, fs::read_to_string(&program).unwrap() + "\n# more\n").unwrap();
    let changed = scratch.run(&["recipe", "python.rhai"]);
    assert!(words(&changed.err).contains("is not the file that `psann.lock` trusts"), "{}", changed.err);
}
