//! `0.8 * web + 0.2 * books`: sources mixed by their shares.
//!
//! The operators only write down what is wanted, as a source `mix` with its parts; how much of each part that takes is
//! for the run to find out, which sees the files. `+` appends parts and `*` multiplies their weights, as in algebra. A
//! mixture without weights is one source to `*`, because its parts have no shares that could be multiplied.

use std::sync::Arc;

use psann_core::plan::{Component, Flow};
use psann_core::registry::{self, Kind};
use rhai::{Dynamic, Engine, EvalAltResult, FLOAT, INT, NativeCallContext};
use serde_json::{Value, json};

use crate::host::{Host, Site, stop};
use crate::values::Item;

/// The source that mixes others.
const MIX: &str = "mix";

type Mixed = Result<Dynamic, Box<EvalAltResult>>;

/// Registers `+` and `*` for sources.
pub(crate) fn register(engine: &mut Engine, host: &Arc<Host>) {
    let shared = Arc::clone(host);
    engine.register_fn("+", move |context: NativeCallContext, left: Item, right: Item| {
        finish(&shared, &context, add(&left, &right))
    });
    let shared = Arc::clone(host);
    engine.register_fn("*", move |context: NativeCallContext, weight: FLOAT, item: Item| {
        finish(&shared, &context, scale(weight, &item))
    });
    let shared = Arc::clone(host);
    engine.register_fn("*", move |context: NativeCallContext, item: Item, weight: FLOAT| {
        finish(&shared, &context, scale(weight, &item))
    });
    let shared = Arc::clone(host);
    engine.register_fn("*", move |context: NativeCallContext, weight: INT, item: Item| {
        finish(&shared, &context, scale(weight as FLOAT, &item))
    });
    let shared = Arc::clone(host);
    engine.register_fn("*", move |context: NativeCallContext, item: Item, weight: INT| {
        finish(&shared, &context, scale(weight as FLOAT, &item))
    });
}

/// Why two things do not mix, and the way out.
#[derive(Debug)]
struct Mistake {
    message: String,
    help: &'static str,
}

fn finish(host: &Host, context: &NativeCallContext, parts: Result<Vec<Value>, Mistake>) -> Mixed {
    let parts = parts.and_then(|parts| match registry::find(Kind::Source, MIX) {
        Ok(_) => Ok(parts),
        Err(error) => Err(Mistake { message: error.to_string(), help: "mixtures are a plugin of their own" }),
    });
    match parts {
        Ok(parts) => {
            let source = Component { kind: Kind::Source, name: MIX.to_owned(), options: json!({ "parts": parts }) };
            Ok(Dynamic::from(Item::Flow(Flow { source, filters: Vec::new() })))
        }
        Err(mistake) => {
            let marks = vec![Site::of(context).label("this operator")];
            host.report(mistake.message, Some(mistake.help.into()), marks);
            Err(Box::new(stop()))
        }
    }
}

fn add(left: &Item, right: &Item) -> Result<Vec<Value>, Mistake> {
    let mut all = parts_of("+", left)?;
    all.extend(parts_of("+", right)?);
    let weighted = all.iter().filter(|part| weight_of(part).is_some()).count();
    if weighted != 0 && weighted != all.len() {
        return Err(Mistake {
            message: "a part of the mixture has a weight and another has none".into(),
            help: "give every part a weight, as in `0.8 * web + 0.2 * books`, or none to keep everything",
        });
    }
    Ok(all)
}

fn scale(weight: FLOAT, item: &Item) -> Result<Vec<Value>, Mistake> {
    let mut parts = parts_of("*", item)?;
    if !(weight.is_finite() && weight > 0.0) {
        return Err(Mistake {
            message: format!("the weight of a part of a mixture must be above 0, found `{weight}`"),
            help: "leave out a part that is not wanted",
        });
    }
    if parts.iter().all(|part| weight_of(part).is_some()) {
        for part in &mut parts {
            part["weight"] = json!(weight_of(part).unwrap_or(1.0) * weight);
        }
        return Ok(parts);
    }
    match item {
        Item::Flow(flow) => Ok(vec![json!({ "source": flow.source.to_value(), "weight": weight })]),
        _ => Ok(parts),
    }
}

/// The parts of a mixture that operators made; any other source is one part.
fn parts_of(operator: &str, item: &Item) -> Result<Vec<Value>, Mistake> {
    let Item::Flow(flow) = item else {
        return Err(Mistake {
            message: format!("`{operator}` mixes sources, found {}", item.label()),
            help: "write `0.8 * source::NAME(…) + 0.2 * source::NAME(…)`",
        });
    };
    if !flow.filters.is_empty() {
        return Err(Mistake {
            message: format!("`{operator}` mixes sources, found {}", item.label()),
            help: "put the filters behind the mixture, as in `(0.8 * web + 0.2 * books) | filter::NAME(…)`, or prepare each \
                   part first and mix the results",
        });
    }
    Ok(of_operators(&flow.source).cloned().unwrap_or_else(|| vec![json!({ "source": flow.source.to_value() })]))
}

/// The parts of a mixture that has no other options.
fn of_operators(source: &Component) -> Option<&Vec<Value>> {
    let options = source.options.as_object().filter(|options| source.name == MIX && options.len() == 1)?;
    options.get("parts")?.as_array()
}

fn weight_of(part: &Value) -> Option<f64> {
    part.get("weight").and_then(Value::as_f64)
}

/// A mixture as a recipe writes it, if it can be written with operators; `show` shows a source.
pub(crate) fn show(source: &Component, show: impl Fn(&Component) -> String) -> Option<String> {
    let mut terms = Vec::new();
    for part in of_operators(source)? {
        let plain = part.as_object()?.keys().all(|key| key == "source" || key == "weight");
        let inner = Component::from_value(part.get("source")?).filter(|_| plain)?;
        let shown = match of_operators(&inner) {
            Some(_) => format!("({})", show(&inner)),
            None => show(&inner),
        };
        terms.push(weight_of(part).map_or_else(|| shown.clone(), |weight| format!("{weight} * {shown}")));
    }
    // A sum of one part without a weight would be read as that part.
    (terms.len() > 1 || terms.first().is_some_and(|term| term.contains(" * "))).then(|| terms.join(" + "))
}
