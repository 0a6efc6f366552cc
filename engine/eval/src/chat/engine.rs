//! The template engine as transformers sets up Jinja: white space around blocks, filters, functions, and limits.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, State, Value};

use super::{failure, json, values};

/// The name of the only template of an environment.
pub const NAME: &str = "chat template";

/// The work that one rendering may take. A step is an instruction, or 64 bytes that are written; a conversation of a
/// million words takes a tenth of this.
const FUEL: u64 = 4_000_000;

/// Bytes of stack for one rendering; only what is used takes memory. The engine drops nested values by recursion, and
/// with its fuel a template can nest lists some million deep.
const STACK: usize = 512 << 20;

/// How deep calls and blocks may nest.
const RECURSION: usize = 200;

/// The environment for a template of `source`, compiled. `strftime_now` and the filter of generation blocks are added
/// for each rendering.
pub fn environment(source: String) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_unknown_method_callback(values::method);
    environment.set_formatter(|output, _, value| output.write_str(&values::text(value)?).map_err(Error::from));
    environment.add_filter("tojson", json::filter);
    environment.add_filter("trim", values::trim);
    environment.add_filter("indent", values::indent);
    environment.add_filter("string", |value: &Value| values::text(value));
    environment.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        Err(failure::raise(values::text(message)?))
    });
    environment.add_test("iterable", |value: &Value| {
        !matches!(value.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number) && value.try_iter().is_ok()
    });
    environment.add_test("sequence", |value: &Value| match value.kind() {
        ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map => true,
        // A slice of a list is a list in Python.
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    });
    environment.add_template_owned(NAME, source)?;
    Ok(environment)
}

/// Runs `work` with stack enough for whatever a template does.
pub fn with_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::grow(STACK, work)
}

/// A value as templates see it; objects keep the order of their keys.
pub fn value(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(values) => values.iter().map(self::value).collect(),
        serde_json::Value::Object(entries) => {
            Value::from_pairs(entries.iter().map(|(key, entry)| (key.as_str(), self::value(entry))))
        }
    }
}

/// Charges for `bytes` of text that a filter wrote.
pub fn charge(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 16)
}
