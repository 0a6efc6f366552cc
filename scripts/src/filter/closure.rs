//! The side of the recipe: a closure given to `filter::rhai` becomes its text and the values it captured.

use psann_core::plan::Component;
use rhai::{AST, ASTNode, Dynamic, Expr, FnPtr, Position};
use serde_json::{Map, Value};

use super::{ClosureOptions, code, compile, origin};
use crate::host::{Host, Site};
use crate::values::{Item, describe};
use crate::{convert, text};

/// Options that a closure stands for, and where it is written.
pub(crate) struct Given {
    pub(crate) code: Dynamic,
    pub(crate) captures: Map<String, Value>,
}

/// The text and the captured values of a closure; `None` when something is wrong with it, which is then reported.
pub(crate) fn given(host: &Host, site: &Site, closure: &FnPtr) -> Option<Given> {
    let found = find(host, site, closure);
    let Some(found) = found.filter(|_| closure.is_anonymous()) else {
        let help = "write the closure where it is used, as in `filter::rhai(|doc| doc.words >= 50)`";
        let message = format!("`filter::rhai` takes a closure, found the function `{}`", closure.fn_name());
        host.report(message, Some(help.into()), vec![site.clone().label("in this call")]);
        return None;
    };
    let (outside, inside) = found.parameters.split_at(closure.curry().len().min(found.parameters.len()));
    if inside.len() != 1 {
        let message = format!("the closure takes `|{}|`, and gets one document", inside.join(", "));
        host.report(message, Some("write `|doc| …`".into()), vec![found.site.label("this closure")]);
        return None;
    }
    let mut captures = Map::new();
    for (name, value) in outside.iter().zip(closure.curry()) {
        match plain(&value.flatten_clone()) {
            Ok(value) => captures.insert(name.clone(), value),
            Err(what) => {
                let help =
                    "a closure may use numbers, strings, and lists and maps of them: the plan stores their values";
                let message = format!("the closure of `filter::rhai` uses `{name}`, which is {what}");
                host.report(message, Some(help.into()), vec![found.site.label("this closure")]);
                return None;
            }
        };
    }
    origin::remember(&found.text, &found.site);
    Some(Given { code: found.text.into(), captures })
}

/// Reports what is wrong with code that fits the schema. `string` is where a string with code stands.
pub(crate) fn check(host: &Host, site: &Site, string: Option<Position>, options: &Value) {
    let Ok(options) = serde_json::from_value::<ClosureOptions>(options.clone()) else { return };
    let Some(text) = &options.code else {
        let help = "give it a closure, as in `filter::rhai(|doc| doc.words >= 50)`";
        host.report("`filter::rhai` needs a closure", Some(help.into()), vec![site.clone().label("in this call")]);
        return;
    };
    let fault = match compile(&options) {
        Err(fault) => fault,
        Ok(compiled) => match super::reasons(&options, &compiled.code.reasons) {
            Ok(_) => return,
            Err(error) => code::Fault {
                message: error.message().to_owned(),
                hint: error.hint_text().map(str::to_owned),
                position: Position::NONE,
            },
        },
    };
    let known = origin::site(text).filter(|known| string.is_none() && known.script == site.script);
    let (place, message) = match (known, string) {
        (Some(known), _) if !fault.position.is_none() => {
            (known.moved(origin::within(known.position, fault.position)), fault.message)
        }
        (_, Some(string)) => {
            let within = fault.position.line().zip(fault.position.position());
            let within = within.map(|(line, column)| format!("  (line {line}, column {column} of the code)"));
            (site.moved(string), fault.message + within.unwrap_or_default().as_str())
        }
        _ => (site.clone(), fault.message),
    };
    host.report(format!("`filter::rhai`: {message}"), fault.hint, vec![place.label("here")]);
}

/// Captured data as JSON, or what else it is.
fn plain(value: &Dynamic) -> Result<Value, String> {
    if value.read_lock::<Item>().is_some() {
        return Err(describe(value));
    }
    let converted = convert::to_json(value);
    match converted.problems.first() {
        None if holds_component(&converted.value) => Err("a value that holds a component".into()),
        None => Ok(converted.value),
        Some(_) if value.is_fnptr() => Err("a function".into()),
        Some(problem) if problem.path.is_empty() => Err(describe(value)),
        Some(problem) => Err(format!("no plain data at `{}`", problem.location())),
    }
}

fn holds_component(value: &Value) -> bool {
    Component::from_value(value).is_some()
        || match value {
            Value::Array(items) => items.iter().any(holds_component),
            Value::Object(object) => object.values().any(holds_component),
            _ => false,
        }
}

/// A closure as it is written.
struct Found {
    text: String,
    site: Site,
    /// Captured variables, then parameters.
    parameters: Vec<String>,
}

fn find(host: &Host, site: &Site, closure: &FnPtr) -> Option<Found> {
    let state = host.state();
    // The script with the call first: the same closure may stand in several.
    let here = state.scripts.get_key_value(&site.script);
    for (name, script) in here.into_iter().chain(&state.scripts) {
        for ast in &script.asts {
            let Some(position) = position(ast, closure.fn_name()) else { continue };
            let function = ast.iter_fn_def().find(|function| function.name == closure.fn_name())?;
            let start = text::offset(&script.text, position);
            let end = start + text::closure(&script.text[start..]);
            return Some(Found {
                text: script.text[start..end].trim_end().to_owned(),
                site: Site { script: name.clone(), position },
                parameters: function.params.iter().map(ToString::to_string).collect(),
            });
        }
    }
    None
}

/// Where the closure that Rhai calls `name` begins.
fn position(ast: &AST, name: &str) -> Option<Position> {
    let mut found = None;
    ast.walk(&mut |path: &[ASTNode]| {
        if let Some(ASTNode::Expr(Expr::DynamicConstant(value, position))) = path.last()
            && value.read_lock::<FnPtr>().is_some_and(|pointer| pointer.fn_name() == name)
        {
            found = Some(*position);
        }
        found.is_none()
    });
    found
}
