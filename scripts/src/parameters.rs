//! `param(name, default, help)`: what a recipe lets its user set with `--set name=value`.

use std::any::TypeId;
use std::sync::Arc;

use psann_core::plan::Parameter;
use rhai::{Array, Dynamic, Engine, ImmutableString, Map, NativeCallContext};
use serde_json::Value;

use crate::convert;
use crate::host::{Declared, Host, Site};
use crate::locate;
use crate::values::{self, describe};

/// Registers `param`.
pub(crate) fn register(engine: &mut Engine, host: &Arc<Host>) {
    let host = Arc::clone(host);
    let parameters = [TypeId::of::<Dynamic>(); 3];
    engine.register_raw_fn("param", parameters, move |context: NativeCallContext, arguments| {
        Ok(declare(&host, &Site::of(&context), arguments[0], arguments[1], arguments[2]))
    });
}

/// Notes the parameter and returns its value: what was set, or the default.
fn declare(host: &Host, site: &Site, name: &Dynamic, default: &Dynamic, help: &Dynamic) -> Dynamic {
    let call = locate::call(&host.asts(&site.script), site.position, false);
    let argument = |index: usize| {
        let place = call.as_ref().and_then(|call| call.arguments.get(index)).map(rhai::Expr::start_position);
        site.moved(place.unwrap_or(site.position))
    };
    let default = default.flatten_clone();
    let usage = "write `param(\"steps\", 300, \"optimizer steps\")`: a name, a default and a line of help";
    let (Some(name), Some(help)) = (text(name), text(help)) else {
        let (index, what, value) = if text(name).is_none() { (0, "name", name) } else { (2, "help", help) };
        let message = format!("a parameter's {what} is a string, found {}", describe(value));
        host.report(message, Some(usage.into()), vec![argument(index).label("not a string")]);
        return default;
    };
    let converted = convert::to_json(&default);
    if default.read_lock::<crate::values::Item>().is_some() || converted.value.is_null() {
        host.report(
            format!(
                "the default of parameter `{name}` is {}, which cannot be set from a command line",
                describe(&default)
            ),
            Some("take a string, a number, `true` or `false`, a list or a map".into()),
            vec![argument(1).label("the default")],
        );
        return default;
    }
    let mut state = host.state();
    let round = state.round;
    if state.parameters.iter().any(|declared| declared.parameter.name == name && declared.round == round) {
        drop(state);
        host.report(
            format!("parameter `{name}` is declared twice"),
            Some("declare it once and keep its value in a variable".into()),
            vec![argument(0).label("declared before")],
        );
        return default;
    }
    let set = host.sets.iter().rev().find(|(set, _)| *set == name).map(|(_, value)| value.clone());
    let value = set.as_ref().map_or_else(|| Some(default.clone()), |text| parse(text, &default));
    let parameter = Parameter {
        name: name.clone(),
        default: converted.value,
        value: convert::to_json(value.as_ref().unwrap_or(&default)).value,
        help,
    };
    // At the prompt a later line may declare a parameter again; its place among the others stays.
    let declared = Declared { parameter, round };
    match state.parameters.iter_mut().find(|declared| declared.parameter.name == name) {
        Some(earlier) => *earlier = declared,
        None => state.parameters.push(declared),
    }
    drop(state);
    if let (None, Some(set)) = (&value, set) {
        let takes = values::type_words(default.type_name());
        host.report(
            format!("parameter `{name}` takes {takes}, found `{set}`"),
            Some(format!("it was set by `--set {name}={set}`; its default is `{}`", shown(&default))),
            vec![argument(0).label("declared here")],
        );
    }
    value.unwrap_or(default)
}

fn text(value: &Dynamic) -> Option<String> {
    value.read_lock::<ImmutableString>().map(|text| text.to_string())
}

fn shown(value: &Dynamic) -> String {
    match text(value) {
        Some(text) => text,
        None => convert::to_json(value).value.to_string(),
    }
}

/// Reads `text` as a value of the default's type.
fn parse(text: &str, default: &Dynamic) -> Option<Dynamic> {
    let trimmed = text.trim();
    if default.is_string() {
        return Some(text.into());
    }
    if default.is_int() {
        return trimmed.replace('_', "").parse::<i64>().ok().map(Dynamic::from);
    }
    if default.is_float() {
        let number = trimmed.replace('_', "").parse::<f64>().ok()?;
        return number.is_finite().then(|| number.into());
    }
    if default.is_bool() {
        return trimmed.parse::<bool>().ok().map(Dynamic::from);
    }
    let json: Value = serde_json::from_str(trimmed).ok()?;
    let value = convert::from_json(&json);
    let same = (default.is::<Array>() && json.is_array())
        || (default.is::<Map>() && json.is_object())
        || (default.is_char() && json.is_string());
    same.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_the_type_of_the_default() {
        let read = |text: &str, default: Dynamic| parse(text, &default).map(|value| convert::to_json(&value).value);
        assert_eq!(read("60_000", 1_i64.into()), Some(60_000.into()));
        assert_eq!(read("6", 0.5.into()), Some(6.0.into()));
        assert_eq!(read(" true ", false.into()), Some(true.into()));
        assert_eq!(read("60B", "1B".into()), Some("60B".into()));
        assert_eq!(read("[1, 2]", Array::new().into()), Some(serde_json::json!([1, 2])));
        assert_eq!(read("{\"a\": 1}", Map::new().into()), Some(serde_json::json!({ "a": 1 })));
        for (text, default) in [
            ("abc", 1_i64.into()),
            ("1.5", 1_i64.into()),
            ("inf", 0.5.into()),
            ("yes", true.into()),
            ("{}", Array::new().into()),
            ("[", Array::new().into()),
        ] {
            assert_eq!(read(text, default), None, "{text}");
        }
    }
}
