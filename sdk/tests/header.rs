//! `include/psann.h` says what `src/abi.rs` says, and C and C++ understand it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compiler;

use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::{env, fs};

use psann_sdk::abi::*;

use compiler::{Language, include, run, strict};

/// The header, from the types themselves.
fn generate() -> String {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(home.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config).with_src(home.join("src/abi.rs"));
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    let text = String::from_utf8(text).unwrap();
    let text = guarded(&text, "ARROW_C_DATA_INTERFACE", ARROW_FLAGS, &["ArrowSchema", "ArrowArray"]);
    guarded(&text, "ARROW_C_STREAM_INTERFACE", "", &["ArrowArrayStream"])
}

/// What Arrow defines under the guard, too: a header that comes after this one counts on it.
const ARROW_FLAGS: &str = "\
#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

";

/// Puts structs that follow one another under a guard: whichever header comes first defines them, as Arrow has it.
fn guarded(text: &str, guard: &str, more: &str, structs: &[&str]) -> String {
    let first = text.find(&format!("typedef struct {} {{", structs[0])).unwrap();
    let last = format!("}} {};\n", structs[structs.len() - 1]);
    // The comment of the first one begins behind an empty line.
    let start = text[..first].rfind("\n\n").unwrap() + 2;
    let end = start + text[start..].find(&last).unwrap() + last.len();
    let (before, guarded, after) = (&text[..start], &text[start..end], &text[end..]);
    assert_eq!(guarded.matches("typedef struct").count(), structs.len(), "{structs:?} do not follow one another");
    format!("{before}#ifndef {guard}\n#define {guard}\n\n{more}{guarded}\n#endif  /* {guard} */\n{after}")
}

#[test]
fn the_header_is_the_one_of_the_interface() {
    let (path, expected) = (include().join("psann.h"), generate());
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differ = |(a, b): &(&str, &str)| a != b;
    let line = found.lines().zip(expected.lines()).position(|pair| differ(&pair));
    assert!(
        found == expected,
        "sdk/include/psann.h is not what src/abi.rs says (line {}); \
         `UPDATE_HEADER=1 cargo test -p psann-sdk --test header` writes it anew",
        line.unwrap_or_else(|| found.lines().count().min(expected.lines().count())) + 1
    );
}

/// Compiles a text in both languages.
fn compile(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    for (language, name) in [(Language::C11, "a.c"), (Language::Cpp17, "a.cpp")] {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        run(strict(language).arg("-c").arg(&file).arg("-o").arg(folder.path().join("a.o")));
    }
}

#[test]
fn it_compiles_as_c_and_as_cpp() {
    compile("#include <psann.h>\n#include <psann.h>\nconst PsannPlugin *psann_plugin_v1(void) { return NULL; }\n");
}

/// As the definition of Arrow has them, and a use of what it defines.
const ARROW: &str = "
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4
struct ArrowSchema {
  const char* format; const char* name; const char* metadata; int64_t flags; int64_t n_children;
  struct ArrowSchema** children; struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*); void* private_data;
};
struct ArrowArray {
  int64_t length; int64_t null_count; int64_t offset; int64_t n_buffers; int64_t n_children; const void** buffers;
  struct ArrowArray** children; struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*); void* private_data;
};
#endif
#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream*, struct ArrowSchema* out);
  int (*get_next)(struct ArrowArrayStream*, struct ArrowArray* out);
  const char* (*get_last_error)(struct ArrowArrayStream*);
  void (*release)(struct ArrowArrayStream*); void* private_data;
};
#endif
static inline int64_t nullable(void) { return ARROW_FLAG_NULLABLE; }
";

#[test]
fn it_stands_beside_other_headers_of_arrow() {
    let psann = "#include <psann.h>";
    compile(&format!("#include <stdint.h>\n{ARROW}\n{psann}\n"));
    compile(&format!("{psann}\n{ARROW}\n"));
}

/// Where the fields of a struct are.
struct Layout {
    name: &'static str,
    size: usize,
    fields: Vec<(&'static str, usize)>,
}

/// Layouts of structs. Does not compile if a field is missing.
macro_rules! layouts {
    ($($name:ident { $($field:ident),* })*) => {
        vec![$({
            let _all = |$name { $($field: _),* }: $name| {};
            let fields = vec![$((stringify!($field), offset_of!($name, $field))),*];
            Layout { name: stringify!($name), size: size_of::<$name>(), fields }
        }),*]
    };
}

fn layouts() -> Vec<Layout> {
    layouts! {
        PsannStr { data, length }
        PsannText { data, length, private_data, release }
        PsannError { code, message, hint, detail_json, private_data, release }
        PsannHost { struct_size, abi_major, abi_minor, context, log, metric, is_cancelled }
        PsannPlugin { struct_size, abi_major, abi_minor, manifest_json, init, get_interface, shutdown }
        PsannSource { struct_size, flags, create, destroy, identity, partitions, open, position }
        PsannFilter { struct_size, flags, create, destroy, identity, bind, apply }
        ArrowSchema { format, name, metadata, flags, n_children, children, dictionary, release, private_data }
        ArrowArray {
            length, null_count, offset, n_buffers, n_children, buffers, children, dictionary, release, private_data
        }
        ArrowArrayStream { get_schema, get_next, get_last_error, release, private_data }
    }
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_documents_say_where_fields_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/abi.md");
    let text = fs::read_to_string(path).unwrap();
    for Layout { name, size, fields } in layouts() {
        let fields: Vec<String> = fields.iter().map(|(field, offset)| format!("`{field}` {offset}")).collect();
        let row = format!("| `{name}` | {size} | {} |", fields.join(", "));
        assert!(text.lines().any(|line| line == row), "docs/abi.md should say:\n{row}");
    }
}

#[test]
fn c_and_rust_agree_about_the_layout() {
    let mut text = String::from("#include <psann.h>\n#include <assert.h>\n#include <stddef.h>\n");
    for Layout { name, size, fields } in layouts() {
        writeln!(text, "static_assert(sizeof({name}) == {size}, \"{name}\");").unwrap();
        for (field, offset) in fields {
            writeln!(text, "static_assert(offsetof({name}, {field}) == {offset}, \"{name}.{field}\");").unwrap();
        }
    }
    compile(&text);
}

/// What C has as macros.
#[test]
fn c_and_rust_agree_about_the_constants() {
    let mut text = String::from("#include <psann.h>\n#include <assert.h>\n");
    let constants = [
        ("PSANN_ABI_MAJOR", i64::from(PSANN_ABI_MAJOR)),
        ("PSANN_ABI_MINOR", i64::from(PSANN_ABI_MINOR)),
        ("PSANN_OK", i64::from(PSANN_OK)),
        ("PSANN_FAILED", i64::from(PSANN_FAILED)),
        ("PSANN_USAGE", i64::from(PSANN_USAGE)),
        ("PSANN_CANCELLED", i64::from(PSANN_CANCELLED)),
        ("PSANN_PANIC", i64::from(PSANN_PANIC)),
        ("PSANN_POISONED", i64::from(PSANN_POISONED)),
        ("PSANN_UNKNOWN", i64::from(PSANN_UNKNOWN)),
        ("PSANN_LOG_ERROR", i64::from(PSANN_LOG_ERROR)),
        ("PSANN_LOG_WARNING", i64::from(PSANN_LOG_WARNING)),
        ("PSANN_LOG_INFO", i64::from(PSANN_LOG_INFO)),
        ("PSANN_THREAD_SAFE", i64::from(PSANN_THREAD_SAFE)),
        ("PSANN_ECANCELED", i64::from(PSANN_ECANCELED)),
    ];
    for (name, value) in constants {
        writeln!(text, "static_assert({name} == {value}, \"{name}\");").unwrap();
    }
    compile(&text);
}
