//! What a plugin can do wrong, one library for each: psann says which plugin it is, what is wrong and what to do, and
//! everything that was handed over goes back once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compiler;
mod loaded;

use std::path::Path;
use std::process::Command;
use std::thread;

use libloading::os::unix::Library;
use psann_sdk::call::{FilterCall, Plugin, SourceCall, Stream, Verdicts};
use psann_sdk::{Error, Fault, Result};
use serde_json::json;

use compiler::Language;
use loaded::Texts;

/// A build of `hostile.c`.
struct Hostile {
    library: &'static Library,
    plugin: Result<&'static Plugin>,
}

fn build(defines: &[&str]) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/hostile.c");
    let mut command = compiler::strict(Language::C11);
    command.args(["-shared", "-fPIC"]).arg(file);
    command.args(defines.iter().map(|define| format!("-D{define}")));
    command
}

impl Hostile {
    fn with(defines: &[&str]) -> Self {
        let library = loaded::library(&mut build(defines));
        Self { library, plugin: loaded::start(library).0 }
    }

    fn new(case: &str) -> Self {
        Self::with(&[&format!("CASE={case}")])
    }

    fn plugin(&self) -> &'static Plugin {
        self.plugin.as_ref().unwrap()
    }

    fn source(&self) -> Result<SourceCall> {
        self.plugin().source("shelf", &json!({}))
    }

    fn filter(&self) -> Result<FilterCall> {
        self.plugin().filter("rule", &json!({}))
    }

    fn opened(&self) -> Result<Stream> {
        self.source()?.open(0, None)
    }

    /// One of its counts.
    fn count(&self, name: &str) -> i64 {
        // SAFETY: the library declares the symbol with this type.
        unsafe { self.library.get::<unsafe extern "C" fn() -> i64>(name.as_bytes()).unwrap()() }
    }
}

impl Drop for Hostile {
    /// Everything is dropped before it: what was given away came back, and nothing came back twice.
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.count("hostile_returned"), self.count("hostile_given"), "not everything was released");
            assert_eq!(self.count("hostile_returned_twice"), 0, "something was released twice");
        }
    }
}

/// The hint that goes with mistakes of a plugin.
const REPORT: &str = "this is a mistake of the plugin: tell its author (docs/abi.md says what must hold)";

#[track_caller]
fn same(case: &str, error: &Error, message: &str, hint: &str) {
    assert_eq!((error.message.as_str(), error.hint.as_str()), (message, hint), "{case}");
}

/// The message behind the plugin's name and version, with the usual hint.
#[track_caller]
fn named<T>(case: &str, result: Result<T>, message: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{case}: nothing was noticed"));
    same(case, &error, &format!("plugin `org.hostile` 1.2.3: {message}"), REPORT);
}

/// Reads a stream to its end: texts and identifiers, with the position behind each batch.
fn read(stream: &mut Stream) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut row = |row: psann_sdk::call::Row<'_>| {
        let [id, url, source, meta] = row.optional;
        assert_eq!((url, source, meta), (None, None, None));
        found.push((row.text.to_owned(), id.unwrap_or_default().to_owned()));
    };
    while let Some(rows) = stream.next(&mut row)? {
        assert_eq!(rows, 2);
    }
    Ok(found)
}

fn documents() -> Texts {
    Texts::new([Some("one"), Some("two"), None])
}

fn judge(hostile: &Hostile) -> Result<Verdicts> {
    hostile.filter()?.apply(&documents().lend())
}

#[test]
fn a_good_plugin_is_not_refused() {
    let good = Hostile::new("GOOD");
    assert_eq!(good.plugin().manifest().to_string(), "plugin `org.hostile` 1.2.3");
    let source = good.source().unwrap();
    assert_eq!(source.identity().unwrap(), "as it was");
    let partitions: Vec<_> = source.partitions().unwrap().into_iter().map(|p| (p.name, p.bytes)).collect();
    assert_eq!(partitions, [("left".to_owned(), 7), ("right".to_owned(), 0)]);
    let mut stream = source.open(1, None).unwrap();
    assert_eq!(stream.position().unwrap(), "0");
    let all = read(&mut stream).unwrap();
    assert_eq!(all, vec![("a text".to_owned(), "7".to_owned()); 6]);
    assert_eq!(stream.position().unwrap(), "3");
    assert_eq!(stream.next(&mut |_| panic!("behind the end")).unwrap(), None);
    assert_eq!(read(&mut source.open(1, Some("2")).unwrap()).unwrap(), all[4..]);
    let dropped = vec![Some(1), None, None];
    assert_eq!(judge(&good).unwrap(), Verdicts { dropped, rewritten: vec![], scores: vec![vec![0.5; 3]] });
    let none = good.filter().unwrap().apply(&Texts::new([]).lend()).unwrap();
    assert_eq!(none, Verdicts { scores: vec![vec![]], ..Verdicts::default() });
}

#[test]
fn rows_may_begin_behind_the_start_of_their_buffers() {
    let sliced = Hostile::new("SLICED");
    let found = read(&mut sliced.opened().unwrap()).unwrap();
    assert_eq!(
        found,
        [("3", "3"), ("4", ""), ("3", "3"), ("4", ""), ("3", "3"), ("4", "")].map(|(a, b)| (a.into(), b.into()))
    );
    let dropped = vec![Some(1), None, None];
    assert_eq!(judge(&sliced).unwrap(), Verdicts { dropped, rewritten: vec![], scores: vec![vec![0.5; 3]] });
}

#[test]
fn a_table_that_is_none_is_refused() {
    let older = "speaks version 0.0 of the plugin interface, older than 1.0, which this psann speaks";
    let newer = "speaks version 2.0 of the plugin interface, newer than 1.0, which this psann speaks";
    for (case, message, hint) in [
        ("NULL_TABLE", "its entry symbol returns null", REPORT),
        ("MISALIGNED_TABLE", "its entry symbol returns a pointer that is not aligned", REPORT),
        ("SMALL_TABLE", "its table says that it has 24 bytes, where version 1.0 has 48", REPORT),
        ("OLDER_MAJOR", older, "update the plugin, or ask its author for a build for version 1"),
        ("NEWER_MAJOR", newer, "update psann, or ask the plugin's author for a build for version 1"),
        ("MANIFEST_NULL", "its manifest is null", REPORT),
        ("MANIFEST_ENDLESS", "its manifest is longer than any text can be", REPORT),
    ] {
        let hostile = Hostile::new(case);
        same(case, hostile.plugin.as_ref().unwrap_err(), message, hint);
        // SAFETY: the library stays open for good.
        let inspected = unsafe { Plugin::inspect(loaded::entry(hostile.library)) };
        assert_eq!(inspected.as_ref().unwrap_err(), hostile.plugin.as_ref().unwrap_err(), "{case}");
    }
}

#[test]
fn functions_and_tables_that_are_missing_are_named() {
    for (case, message) in [
        ("CASE=NO_INIT", "its table has no function `init`"),
        ("CASE=NO_GET_INTERFACE", "its table has no function `get_interface`"),
        ("CASE=NO_INTERFACES", "it offers `psann.source/1` and gives no table for it"),
        ("CASE=MISALIGNED_INTERFACES", "its table `psann.source/1` is not aligned"),
        ("CASE=SMALL_INTERFACES", "its table `psann.source/1` says that it has 8 bytes, where version 1.0 has 56"),
    ] {
        named(case, Hostile::with(&[case]).plugin.clone(), message);
    }
    for (table, functions) in [
        ("source", ["create", "destroy", "identity", "partitions", "open", "position"].as_slice()),
        ("filter", &["create", "destroy", "identity", "bind", "apply"]),
    ] {
        for function in functions {
            let define = format!("{}_LACKS={function}", table.to_uppercase());
            let message = format!("its table `psann.{table}/1` has no function `{function}`");
            named(&define, Hostile::with(&[&define]).plugin.clone(), &message);
        }
    }
}

#[test]
fn a_plugin_of_a_newer_minor_version_loads() {
    let newer = Hostile::new("NEWER_MINOR");
    assert_eq!(read(&mut newer.opened().unwrap()).unwrap().len(), 6);
    assert_eq!(judge(&newer).unwrap().dropped, [Some(1), None, None]);
}

#[test]
fn a_plugin_that_refuses_to_start_says_why() {
    let hostile = Hostile::new("INIT_FAILS");
    let message = "plugin `org.hostile` 1.2.3: the library is closed";
    same("INIT_FAILS", hostile.plugin.as_ref().unwrap_err(), message, "come back tomorrow");
    named(
        "INIT_FAILS_SILENTLY",
        Hostile::new("INIT_FAILS_SILENTLY").plugin.clone(),
        "it failed with code 1 and without saying why",
    );
}

/// A manifest that only differs in what stands for `components` and `id`.
fn manifest(id: &str, components: &str) -> String {
    format!(r#"{{"id": "{id}", "version": "1.2.3", "components": {components}}}"#)
}

#[test]
fn manifests_are_checked() {
    let rule = r#"{"interface": "psann.filter/1", "name": "rule"}"#;
    let wrong = "its manifest is not as docs/abi.md says: ";
    let names = "letters, digits, `-` and `_`";
    let check = |literal: &str, message: &str, hint: &str| {
        let hostile = Hostile::with(&[&format!("MANIFEST={literal}")]);
        same(literal, hostile.plugin.as_ref().unwrap_err(), message, hint);
    };
    // Rust writes these texts as C does.
    let json = |json: &str, message: &str| check(&format!("{json:?}"), message, REPORT);
    json("", "its manifest is no JSON: EOF while parsing a value at line 1 column 0");
    json("{id: 1}", "its manifest is no JSON: key must be a string at line 1 column 2");
    json("[]", &format!("plugin `?` ?: {wrong}invalid length 0, expected struct Manifest with 6 elements"));
    json("{}", &format!("plugin `?` ?: {wrong}missing field `id`"));
    json(r#"{"id": "org.hostile"}"#, &format!("plugin `org.hostile` ?: {wrong}missing field `version`"));
    json(
        r#"{"id": "org.hostile", "version": "1.2.3"}"#,
        &format!("plugin `org.hostile` 1.2.3: {wrong}missing field `components`"),
    );
    let of = |components: &str| manifest("org.hostile", components);
    let all = |what: &str| format!("plugin `org.hostile` 1.2.3: {wrong}{what}");
    json(&of("7"), &all("invalid type: integer `7`, expected a sequence"));
    json(&of(&format!("[{rule}, {rule}]")), &all("it offers `rule` of `psann.filter/1` twice"));
    for name in ["", "a b", "../rule", "regel.1", "größe"] {
        let component = format!(r#"[{{"interface": "psann.filter/1", "name": "{name}"}}]"#);
        json(&of(&component), &all(&format!("`{name}` is no name of a component ({names})")));
    }
    for id in ["", "org hostile", "org..hostile", "../hostile"] {
        let why = format!("`{id}` is no id of a plugin ({names}, perhaps with dots between, as in `org.letters`)");
        json(&manifest(id, &format!("[{rule}]")), &format!("plugin `{id}` 1.2.3: {wrong}{why}"));
    }
    let nothing =
        "plugin `org.hostile` 1.2.3: it offers nothing that this psann knows (`psann.source/1`, `psann.filter/1`)";
    let hint = "update psann, or ask the plugin's author what it is for";
    check(&format!("{:?}", of("[]")), nothing, hint);
    check(&format!("{:?}", of(r#"[{"interface": "psann.sharder/1", "name": "s"}]"#)), nothing, hint);
    check(r#""{\"id\": \"caf\xe9\"}""#, "its manifest is no UTF-8", REPORT);
}

#[test]
fn components_of_later_versions_do_no_harm() {
    let components =
        r#"[{"interface": "psann.sharder/9", "name": "s"}, {"interface": "psann.filter/1", "name": "rule"}]"#;
    let hostile = Hostile::with(&[&format!("MANIFEST={:?}", manifest("org.hostile", components))]);
    assert_eq!(judge(&hostile).unwrap().dropped, [Some(1), None, None]);
    // It has the table, and does not offer it.
    let error = hostile.source().err().unwrap();
    assert_eq!(error.fault, Fault::Unknown);
    same("source", &error, "plugin `org.hostile` 1.2.3: has no source `shelf`", "it offers sharder `s`, filter `rule`");
}

#[test]
fn a_handle_that_is_not_made_is_an_error() {
    named("CREATES_NOTHING", Hostile::new("CREATES_NOTHING").filter(), "it made nothing and called that a success");
    let silent = "it failed with code 1 and without saying why";
    named("CREATE_FAILS_SILENTLY", Hostile::new("CREATE_FAILS_SILENTLY").source(), silent);
    let strange = "it failed with code -77 and without saying why";
    named("CREATE_FAILS_STRANGELY", Hostile::new("CREATE_FAILS_STRANGELY").filter(), strange);
    let locked = Hostile::new("CREATE_FAILS");
    for error in [locked.source().err().unwrap(), locked.filter().err().unwrap()] {
        assert_eq!(error.fault, Fault::Usage);
        same("CREATE_FAILS", &error, "plugin `org.hostile` 1.2.3: the shelf is locked", "unlock it");
    }
    let error = Hostile::new("CREATE_FAILS_WITHOUT_UTF8").filter().err().unwrap();
    same("no UTF-8", &error, "plugin `org.hostile` 1.2.3: caf\u{fffd}", "\u{fffd}");
    // What the manifest does not offer is not asked for.
    let error = Hostile::new("GOOD").plugin().filter("ruler", &json!({})).err().unwrap();
    assert_eq!(error.fault, Fault::Unknown);
    let message = "plugin `org.hostile` 1.2.3: has no filter `ruler`";
    same("ruler", &error, message, "it offers source `shelf`, filter `rule`");
}

#[test]
fn texts_that_are_none_are_refused() {
    named(
        "IDENTITY_NOT_UTF8",
        Hostile::new("IDENTITY_NOT_UTF8").source().unwrap().identity(),
        "it gave a text that is no UTF-8",
    );
    named("IDENTITY_NULL", Hostile::new("IDENTITY_NULL").filter().unwrap().identity(), "it gave a text that is null");
}

#[test]
fn nothing_is_released_twice_by_trusting_what_a_plugin_leaves_behind() {
    let hostile = Hostile::new("KEEPS_FIELDS");
    let source = hostile.source().unwrap();
    assert_eq!(source.identity().unwrap(), "as it was");
    assert!(source.open(9, None).is_err());
    let mut stream = source.open(0, None).unwrap();
    assert_eq!(read(&mut stream).unwrap().len(), 6);
    assert_eq!(stream.position().unwrap(), "3");
    judge(&hostile).unwrap();
    // An error that is filled beside a success goes back, too.
    judge(&Hostile::new("TELLS_ERROR_AND_SUCCEEDS")).unwrap();
}

#[test]
fn partitions_are_checked() {
    let wrong = "its partitions are not as docs/abi.md says: ";
    let broken = Hostile::new("PARTITIONS_BROKEN").source().unwrap().partitions();
    named("PARTITIONS_BROKEN", broken, &format!("{wrong}EOF while parsing an object at line 1 column 16"));
    let map = Hostile::new("PARTITIONS_NO_LIST").source().unwrap().partitions();
    named("PARTITIONS_NO_LIST", map, &format!("{wrong}invalid type: map, expected a sequence at line 1 column 0"));
    let error = Hostile::new("GOOD").source().unwrap().open(2, None).err().unwrap();
    assert_eq!(error.fault, Fault::Unknown);
    same("no partition", &error, "plugin `org.hostile` 1.2.3: has no such partition", "there are two");
}

#[test]
fn streams_are_checked_when_they_open() {
    let schema = "its schema is not that of documents: ";
    for (case, message) in [
        ("OPENS_NOTHING", "it opened nothing and called that a success"),
        ("NO_GET_SCHEMA", "its stream has no `get_schema`"),
        ("SCHEMA_RELEASED", &format!("{schema}a schema was released before it was read")),
        ("SCHEMA_NO_STRUCT", &format!("{schema}rows have the format `+s` (a struct), not `U`")),
        ("SCHEMA_NULL_COLUMN", &format!("{schema}a schema has a column that is null")),
        ("SCHEMA_WITHOUT_TEXT", &format!("{schema}there is no column `text`")),
        ("SCHEMA_OF_INTEGERS", &format!("{schema}column `text` has the format `l`, not `u` or `U` (strings)")),
    ] {
        named(case, Hostile::new(case).opened(), message);
    }
    for (case, message, hint) in [
        ("SCHEMA_FAILS_AND_FILLS", "the catalogue is locked", "unlock it"),
        ("OPEN_FAILS_AND_FILLS", "the drawer is stuck", "pull"),
    ] {
        let error = Hostile::new(case).opened().err().unwrap();
        same(case, &error, &format!("plugin `org.hostile` 1.2.3: {message}"), hint);
    }
}

#[test]
fn batches_are_checked() {
    let rows = "its rows are not as docs/abi.md says: ";
    for (case, message) in [
        ("NO_GET_NEXT", "its stream has no `get_next`".to_owned()),
        ("NEXT_FAILS_SILENTLY", "it failed with code 5 and without saying why".to_owned()),
        ("NEXT_FAILS_WITHOUT_FUNCTION", "it failed with code 12 and without saying why".to_owned()),
        ("NO_ROWS", "it gave a batch without documents, where only the end has none".to_owned()),
        ("FEW_VALUES", format!("{rows}column `id` has 1 values for 2 rows")),
        ("OTHER_COLUMNS", format!("{rows}the schema has 2 columns, the array 1")),
        ("NULL_COLUMN", format!("{rows}an array has a column that is null")),
        ("NULL_ROWS", format!("{rows}1 rows are null; only values in columns may be")),
        ("NEGATIVE_ROWS", format!("{rows}an array has -1 rows from row 0 on")),
        ("ENDLESS_ROWS", format!("{rows}an array has more rows than there can be")),
        ("FAR_OFFSET", format!("{rows}column `text` begins at value 9223372036854775806")),
        ("FEW_BUFFERS", format!("{rows}column `text`: the format `U` has 3 buffers, found 2")),
        ("NULL_TEXT", format!("{rows}row 1 has no text")),
        ("NOT_UTF8", format!("{rows}column `text`: row 1 is no UTF-8 at byte 2")),
        ("OFFSETS_BACKWARDS", format!("{rows}column `text`: the offsets of row 1 go from 9 to 6")),
        ("NO_OFFSETS", format!("{rows}column `text`: there are no values for 2 rows")),
        ("NO_BYTES", format!("{rows}column `text`: the offsets of row 0 go from 0 to 6")),
    ] {
        let hostile = Hostile::new(case);
        let mut stream = hostile.opened().unwrap();
        named(case, read(&mut stream), &message);
        // Whoever reads on is told so, and the plugin is not asked.
        let again = read(&mut stream).unwrap_err();
        same(case, &again, "plugin `org.hostile` 1.2.3: was read on after it failed", "");
    }
}

#[test]
fn streams_that_fail_say_why() {
    for case in ["NEXT_FAILS", "NEXT_FAILS_AND_FILLS"] {
        let error = read(&mut Hostile::new(case).opened().unwrap()).unwrap_err();
        assert_eq!(error.fault, Fault::Failed);
        same(case, &error, "plugin `org.hostile` 1.2.3: page 7 is torn", "glue it");
    }
    let error = read(&mut Hostile::new("NEXT_STOPS").opened().unwrap()).unwrap_err();
    assert_eq!((error.fault, error.message.as_str()), (Fault::Cancelled, "plugin `org.hostile` 1.2.3: stopped"));
}

#[test]
fn positions_are_checked() {
    let empty = "its position is empty, which means the start";
    named("POSITION_EMPTY", Hostile::new("POSITION_EMPTY").opened().unwrap().position(), empty);
    let error = Hostile::new("POSITION_FAILS").opened().unwrap().position().unwrap_err();
    let message = "plugin `org.hostile` 1.2.3: the bookmark is lost";
    same("POSITION_FAILS", &error, message, "read on without stopping");
}

#[test]
fn columns_that_documents_do_not_have_are_ignored() {
    let hostile = Hostile::new("MORE_COLUMNS");
    let mut stream = hostile.opened().unwrap();
    assert_eq!(stream.ignored(), ["page"]);
    assert_eq!(read(&mut stream).unwrap().len(), 6);
}

#[test]
fn what_a_filter_binds_is_checked() {
    let wrong = "what it binds is not as docs/abi.md says: ";
    for (case, message) in [
        ("BIND_BROKEN", "EOF while parsing a value at line 1 column 12"),
        ("BIND_NO_REASON", "it names no reason"),
        ("BIND_OTHER_COLUMN", "there is no column `title`; there are `text`, `id`, `url`, `source`, `meta`"),
    ] {
        named(case, Hostile::new(case).filter(), &format!("{wrong}{message}"));
    }
}

#[test]
fn verdicts_are_checked() {
    let wrong = "its verdicts are not as docs/abi.md says: ";
    for (case, message) in [
        ("VERDICTS_RELEASED", "an array was released before it was read"),
        ("VERDICTS_SCHEMA_RELEASED", "a schema was released before it was read"),
        ("OTHER_ROWS", "4 verdicts on 3 documents"),
        ("NO_KEEP", "there is no column `keep` of booleans"),
        ("KEEP_OF_NUMBERS", "there is no column `keep` of booleans"),
        ("KEEP_WITHOUT_VALUES", "column `keep`: there are no values for 3 rows"),
        ("NULL_KEEP", "row 0 has no verdict"),
        ("REASON_BEYOND", "row 0 is dropped for reason 2, and 2 are named, counted from 0"),
        ("REASON_OF_STRINGS", "column `reason` holds no 16-bit unsigned integers"),
        ("NO_SCORE", "there is no column `score:wit` of 64-bit floats"),
        ("DICTIONARY", "column `reason`: dictionaries do not cross"),
        ("REWRITES_UNASKED", "it gives new texts and said that it does not"),
    ] {
        named(case, judge(&Hostile::new(case)), &format!("{wrong}{message}"));
    }
    let error = judge(&Hostile::new("APPLY_FAILS_AND_FILLS")).unwrap_err();
    same("APPLY_FAILS_AND_FILLS", &error, "plugin `org.hostile` 1.2.3: lost count", "count again");
}

#[test]
fn what_verdicts_leave_out_has_a_meaning() {
    for case in ["NO_REASON", "REASON_NULL"] {
        assert_eq!(judge(&Hostile::new(case)).unwrap().dropped, [Some(0), None, None], "{case}");
    }
    let scores = judge(&Hostile::new("SCORE_NULL")).unwrap().scores;
    assert!(scores[0].len() == 3 && scores[0].iter().all(|score| score.is_nan()), "{scores:?}");
    let rewritten = judge(&Hostile::new("REWRITES")).unwrap().rewritten;
    assert_eq!(rewritten[..2], [Some("ONE".to_owned()), Some("TWO".to_owned())]);
}

#[test]
fn rows_of_10_mb_cross_both_ways() {
    let hostile = Hostile::new("BIG");
    let found = read(&mut hostile.opened().unwrap()).unwrap();
    assert!(found.len() == 6 && found.iter().all(|(text, _)| text.len() == 10 << 20));
    let big = "straße ".repeat((10 << 20) / 8);
    let texts = Texts::new([Some("small"), Some(big.as_str()), Some("small")]);
    let verdicts = Hostile::new("REWRITES").filter().unwrap().apply(&texts.lend()).unwrap();
    assert!(verdicts.rewritten[1] == Some(big.to_ascii_uppercase()));
    assert_eq!(verdicts.rewritten[2].as_deref(), Some("SMALL"));
}

/// Judges on four threads; none of the calls returns before all four are in.
fn judge_at_once(filter: &FilterCall) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(filter.apply(&documents().lend()).unwrap().dropped, [Some(1), None, None]));
        }
    });
}

#[test]
fn a_handle_is_shared_only_if_it_may_be() {
    let shared = Hostile::new("AT_ONCE");
    judge_at_once(&shared.filter().unwrap());
    assert_eq!((shared.count("hostile_handles"), shared.count("hostile_most_at_once")), (1, 4));
    let alone = Hostile::new("ONE_AT_A_TIME");
    let filter = alone.filter().unwrap();
    judge_at_once(&filter);
    judge_at_once(&filter);
    // As many as there were threads at once, and not more.
    assert_eq!((alone.count("hostile_handles"), alone.count("hostile_most_at_once")), (4, 1));
}

#[test]
fn streams_share_a_handle_only_if_they_may() {
    for (case, handles) in [("GOOD", 1), ("ONE_AT_A_TIME", 4)] {
        let hostile = Hostile::new(case);
        let source = hostile.source().unwrap();
        source.partitions().unwrap();
        let mut streams: Vec<_> = (0..3).map(|_| source.open(0, None).unwrap()).collect();
        assert_eq!(hostile.count("hostile_handles"), handles, "{case}");
        // A stream outlives the source that opened it.
        drop(source);
        thread::scope(|scope| {
            for stream in &mut streams {
                scope.spawn(|| assert_eq!(read(stream).unwrap().len(), 6));
            }
        });
    }
}
