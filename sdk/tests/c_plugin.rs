//! The example in C: what its README says builds it, and it does what a filter has to do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compiler;
mod loaded;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::{fs, thread};

use psann_sdk::Fault;
use psann_sdk::abi::{
    ArrowArray, ArrowSchema, PSANN_OK, PSANN_UNKNOWN, PSANN_USAGE, PsannError, PsannFilter, PsannHandle, PsannStr,
};
use psann_sdk::arrow::{Column, Records, Schema};
use psann_sdk::call::{FILTER, FilterCall, Plugin, Verdicts};
use serde_json::{Value, json};

use compiler::Language;
use loaded::Texts;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c-filter")
}

/// The command line of the README, up to the output.
fn command() -> Command {
    let readme = fs::read_to_string(home().join("README.md")).unwrap();
    let line = readme.lines().find_map(|line| line.strip_prefix("    cc ")).unwrap();
    let arguments = line.strip_suffix(" -o libletters.so").unwrap();
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(arguments.split_whitespace()).current_dir(home());
    command
}

fn plugin() -> &'static Plugin {
    loaded::start(loaded::library(&mut command())).0.unwrap()
}

fn filter(options: &Value) -> FilterCall {
    plugin().filter("letters", options).unwrap()
}

/// What the filter has to say.
fn expected(texts: &[Option<&str>], min: f64) -> Verdicts {
    let share = |text: Option<&str>| {
        let text = text.unwrap_or_default();
        let letters = text.chars().filter(char::is_ascii_alphabetic).count();
        letters as f64 / text.chars().count().max(1) as f64
    };
    let scores: Vec<f64> = texts.iter().copied().map(share).collect();
    let dropped = scores.iter().map(|score| (*score < min).then_some(0)).collect();
    Verdicts { dropped, rewritten: Vec::new(), scores: vec![scores] }
}

const TEXTS: [Option<&str>; 11] = [
    Some("Letters"),
    Some("a1b2"),
    None,
    Some(""),
    Some("é!"),
    Some("éa"),
    Some("2026-11-25"),
    Some("Zürich"),
    None,
    Some("a\0b"),
    Some("The end."),
];

#[test]
fn it_compiles_without_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = compiler::strict(Language::C11);
    compiler::run(command.arg("-c").arg(home().join("letters.c")).arg("-o").arg(folder.path().join("letters.o")));
}

#[test]
fn it_says_who_it_is() {
    let manifest = plugin().manifest();
    assert_eq!(manifest.to_string(), "plugin `org.example.letters` 1.0.0");
    let [component] = manifest.components.as_slice() else { panic!("{manifest:?}") };
    assert_eq!((component.name.as_str(), component.primary.as_deref()), ("letters", Some("min")));
    assert_eq!(component.options["properties"]["min"]["default"], json!(0.6));
    let letters = filter(&json!({}));
    assert_eq!((letters.reads().columns.as_slice(), letters.identity().unwrap().as_str()), (&["text".into()][..], ""));
}

#[test]
fn it_judges_as_its_rule_says() {
    for (options, min) in [(json!({}), 0.6), (json!({ "min": 0.5 }), 0.5), (json!({ "min": 0 }), 0.0)] {
        let verdicts = filter(&options).apply(&Texts::new(TEXTS).lend()).unwrap();
        assert_eq!(verdicts, expected(&TEXTS, min), "{options}");
    }
}

#[test]
fn a_batch_without_rows_has_no_verdicts() {
    let verdicts = filter(&json!({})).apply(&Texts::new([]).lend()).unwrap();
    assert_eq!(verdicts, expected(&[], 0.6));
}

#[test]
fn one_handle_serves_several_threads() {
    let letters = filter(&json!({ "min": 0.55 }));
    thread::scope(|scope| {
        for first in 0..4 {
            let letters = &letters;
            scope.spawn(move || {
                for turn in 0..200 {
                    let texts: Vec<_> = TEXTS.into_iter().cycle().skip(first).take(turn % 40).collect();
                    let verdicts = letters.apply(&Texts::new(texts.iter().copied()).lend()).unwrap();
                    assert_eq!(verdicts, expected(&texts, 0.55));
                }
            });
        }
    });
}

#[test]
fn it_stops_when_the_user_wants() {
    let (plugin, cancelled) = loaded::start(loaded::library(&mut command()));
    let letters = plugin.unwrap().filter("letters", &json!({})).unwrap();
    cancelled.store(true, Ordering::Relaxed);
    let error = letters.apply(&Texts::new(TEXTS).lend()).unwrap_err();
    assert_eq!(
        (error.fault, error.message.as_str()),
        (Fault::Cancelled, "plugin `org.example.letters` 1.0.0: stopped")
    );
}

#[test]
fn what_it_does_not_have_is_named() {
    let error = |name: &str, options: Value| {
        let error = plugin().filter(name, &options).err().unwrap();
        (error.fault, error.message, error.hint)
    };
    let whole = |message: &str| format!("plugin `org.example.letters` 1.0.0: {message}");
    let filter = (Fault::Unknown, whole("has no filter `digits`"), "it offers filter `letters`".to_owned());
    assert_eq!(error("digits", json!({})), filter);
    let option = (Fault::Usage, whole("unknown option `max`"), "there is one option, `min`".to_owned());
    assert_eq!(error("letters", json!({ "max": 1 })), option);
}

/// The table of a plugin that was started.
fn table() -> &'static PsannFilter {
    let library = loaded::library(&mut command());
    loaded::start(library).0.unwrap();
    let entry = loaded::entry(library);
    // SAFETY: the plugin's own tables, which live as long as the process.
    unsafe {
        let get_interface = (*entry()).get_interface.unwrap();
        &*get_interface(PsannStr::new(FILTER)).cast()
    }
}

#[test]
fn a_part_of_a_batch_is_judged_from_its_offsets_on() {
    let (table, texts) = (table(), Texts::new(TEXTS));
    let lent = texts.lend();
    // SAFETY: valid as long as `lent`; what is made here points into it and lives shorter. The handle is destroyed, the
    // verdicts are released by `Records`.
    let records = unsafe {
        let whole = &*lent.array();
        let mut column = ArrowArray { offset: 2, length: whole.length - 2, ..std::ptr::read(*whole.children) };
        let mut columns = [&raw mut column];
        let children = columns.as_mut_ptr();
        let part = ArrowArray { offset: 1, length: whole.length - 3, children, ..std::ptr::read(whole) };
        let (mut handle, mut error) = (std::ptr::null_mut(), PsannError::empty());
        let (name, options) = (PsannStr::new("letters"), PsannStr::new("{}"));
        assert_eq!(table.create.unwrap()(name, options, &raw mut handle, &raw mut error), PSANN_OK);
        let (mut verdicts, mut schema) = (ArrowArray::empty(), ArrowSchema::empty());
        let (array, schema_out) = (&raw mut verdicts, &raw mut schema);
        assert_eq!(table.apply.unwrap()(handle, &raw const part, array, schema_out, &raw mut error), PSANN_OK);
        table.destroy.unwrap()(handle);
        Records::import(verdicts, Arc::new(Schema::import(schema).unwrap())).unwrap()
    };
    let Some(Column::Scores(scores)) = records.column("score:letters").unwrap() else { panic!("{records:?}") };
    let found: Vec<_> = (0..records.len()).filter_map(|row| scores.get(row)).collect();
    assert_eq!(found, expected(&TEXTS[3..], 0.6).scores[0]);
}

#[test]
fn names_and_options_are_read_strictly() {
    let table = table();
    // What the host has checked before is of no interest here: a plugin may be called by others.
    let create_as = |name: &str, options: &str| {
        let (mut handle, mut error) = (std::ptr::null_mut::<PsannHandle>(), PsannError::empty());
        let (name, options) = (PsannStr::new(name), PsannStr::new(options));
        // SAFETY: texts that are valid during the call, and valid places; what was made is destroyed, what was filled is
        // read before it is released.
        unsafe {
            let code = table.create.unwrap()(name, options, &raw mut handle, &raw mut error);
            if code == 0 {
                table.destroy.unwrap()(handle);
                return Ok(());
            }
            let text = |text: PsannStr| std::slice::from_raw_parts(text.data, text.length);
            let (message, hint) = (text(error.message).to_vec(), text(error.hint).to_vec());
            error.release.unwrap()(&raw mut error);
            assert!(error.release.is_none() && error.message.data.is_null());
            let [message, hint] = [message, hint].map(|bytes| String::from_utf8(bytes).unwrap());
            Err((code, message, hint))
        }
    };
    let unknown = ("has no filter `digits`".to_owned(), "there is one filter, `letters`".to_owned());
    assert_eq!(create_as("digits", "{}"), Err((PSANN_UNKNOWN, unknown.0, unknown.1)));
    let create = |options: &str| create_as("letters", options);
    for good in [
        "{}",
        " { } ",
        r#"{"min":0}"#,
        r#"{ "min" : 0.25 }"#,
        r#"{"min":1e-3}"#,
        r#"{"min":0.1E0}"#,
        r#"{"min":-0}"#,
        "{\"min\"\n:\t1.0}",
    ] {
        assert_eq!(create(good), Ok(()), "{good}");
    }
    let no_object = "the options are no JSON object";
    let no_number = "option `min` must be a number from 0 to 1";
    for (bad, message) in [
        ("", no_object),
        ("[]", no_object),
        ("{", no_object),
        (r#"{"min"}"#, no_object),
        (r#"{"min\"#, no_object),
        (r#"{"min":0.5"#, no_object),
        (r#"{"min":0.5;}"#, no_object),
        (r#"{"min":0.5,}"#, no_object),
        (r#"{"min":0.5} {}"#, "something follows the options"),
        (r#"{"min":"0.5"}"#, no_number),
        (r#"{"min":null}"#, no_number),
        (r#"{"min":1.5}"#, no_number),
        (r#"{"min":-0.1}"#, no_number),
        (r#"{"min":inf}"#, no_number),
        (r#"{"min":nan}"#, no_number),
        (r#"{"min":1e999}"#, no_number),
        (r#"{"min":00}"#, no_number),
        (r#"{"min":.5}"#, no_number),
        (r#"{"min":1.}"#, no_number),
        (r#"{"min":1e}"#, no_number),
        (r#"{"max":1}"#, "unknown option `max`"),
        (r#"{"mind":1}"#, "unknown option `mind`"),
        (r#"{"größe":1}"#, "unknown option `größe`"),
        (r#"{"m\"n":1}"#, r#"unknown option `m\"n`"#),
    ] {
        let (code, found, hint) = create(bad).unwrap_err();
        assert_eq!((code, found.as_str(), hint.is_empty()), (PSANN_USAGE, message, false), "{bad}");
    }
}
