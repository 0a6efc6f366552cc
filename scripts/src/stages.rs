//! `pipeline(name)` and its methods: one per registered stage.
//!
//! A stage takes components by place and one map of options, in any number: `.pretrain(lm, #{ steps: 300 })`. A
//! component fills the option whose schema asks for its kind, and plain data the stage's primary option, so a new stage
//! needs no code here.

use std::any::TypeId;
use std::sync::Arc;

use psann_core::plan::{Component, Plan};
use psann_core::registry::{self, Kind, Plugin};
use rhai::{Dynamic, Engine, ImmutableString, NativeCallContext};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::host::{Host, Site};
use crate::locate;
use crate::plugins::TOKENIZER;
use crate::slots;
use crate::validate::{self, Owner};
use crate::values::{Item, Pipeline, describe};

/// Components that a stage may be given by place; more have never had a use.
const MOST_ARGUMENTS: usize = 4;

/// Registers `pipeline` and a method per stage.
pub(crate) fn register(engine: &mut Engine, host: &Arc<Host>) {
    engine.register_type_with_name::<Pipeline>("pipeline");
    engine.register_type_with_name::<Item>("component");
    let of_name = Arc::clone(host);
    engine.register_raw_fn("pipeline", [TypeId::of::<Dynamic>()], move |context, arguments| {
        Ok(Dynamic::from(begin(&of_name, &Site::of(&context), arguments[0])))
    });
    for stage in registry::of_kind(Kind::Stage) {
        for arity in 0..=MOST_ARGUMENTS {
            let host = Arc::clone(host);
            let mut parameters = vec![TypeId::of::<Pipeline>()];
            parameters.extend(vec![TypeId::of::<Dynamic>(); arity]);
            engine.register_raw_fn(stage.name, parameters, move |context: NativeCallContext, arguments| {
                let pipeline = arguments[0].flatten_clone().cast::<Pipeline>();
                let arguments: Vec<Dynamic> = arguments[1..].iter().map(|value| value.flatten_clone()).collect();
                Ok(Dynamic::from(add(&host, pipeline, stage, &Site::of(&context), &arguments)))
            });
        }
    }
    engine.register_fn("to_string", |pipeline: &mut Pipeline| crate::show::pipeline(pipeline));
    engine.register_fn("to_debug", |pipeline: &mut Pipeline| crate::show::pipeline(pipeline));
}

fn begin(host: &Host, site: &Site, name: &Dynamic) -> Pipeline {
    let text = name.read_lock::<ImmutableString>().map(|text| text.to_string());
    let complaint = match &text {
        None => Some(format!("a pipeline's name is a string, found {}", describe(name))),
        Some(text) if !is_folder_name(text) => Some(format!("`{text}` cannot be a pipeline's name")),
        Some(_) => None,
    };
    if let Some(complaint) = complaint {
        let help = "the name is also a folder's: letters, digits, `-`, `_` and `.`, not starting with `.`";
        host.report(complaint, Some(help.into()), vec![site.clone().label("in this call")]);
    }
    Pipeline { plan: Plan::new(text.as_deref().unwrap_or_default()), sites: Vec::new() }
}

fn is_folder_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(fits)
}

fn add(host: &Host, mut pipeline: Pipeline, stage: &Plugin, site: &Site, arguments: &[Dynamic]) -> Pipeline {
    let schema = (stage.schema)();
    let call = locate::call(&host.asts(&site.script), site.position, true);
    let mut given = Arguments::default();
    if let Some((index, map)) = arguments.iter().enumerate().find(|(_, argument)| argument.is_map()) {
        given.take_map(index, map);
        slots::fit(schema.json(), &mut given.options);
    }
    let map = given.bindings.map;
    for (index, argument) in arguments.iter().enumerate().filter(|(index, _)| Some(*index) != map) {
        let slot = argument.read_lock::<Item>().map(|item| slots::of_item(schema.json(), &item));
        match (slot, stage.primary) {
            (Some(Some(slot)), _) => given.take_component(&slot.option, index, argument, slot.value),
            (None, Some(primary)) if !argument.is_map() && !argument.is::<Pipeline>() => {
                given.take_named(primary, index, argument);
            }
            _ => {
                let place = call.as_ref().and_then(|call| call.arguments.get(index)).map(rhai::Expr::start_position);
                let found = if argument.is_map() { "a second map".into() } else { describe(argument) };
                host.report(
                    format!("`{}` takes {}, found {found}", stage.name, slots::takes(schema.json(), stage.primary)),
                    Some(format!("`psann plugin info {}` lists every option", stage.name)),
                    vec![site.moved(place.unwrap_or(site.position)).label(format!("this is {found}"))],
                );
            }
        }
    }
    let (options, problems) = given.check(&schema);
    let owner = Owner { label: stage.name, name: stage.name };
    validate::report(host, site, call.as_ref(), &owner, &given.bindings, &problems, &options);
    if stage.name != TOKENIZER {
        for tokenizer in given.tokenizers {
            add_tokenizer(host, &mut pipeline, &tokenizer, site);
        }
    }
    push(&mut pipeline, stage.name, options, site);
    pipeline
}

/// A model that takes its vocabulary from a tokenizer needs the stage that makes it, once and before.
fn add_tokenizer(host: &Host, pipeline: &mut Pipeline, tokenizer: &Component, site: &Site) {
    let wanted = json!({ TOKENIZER: tokenizer.to_value() });
    match pipeline.plan.stages.iter().find(|stage| stage.kind == TOKENIZER) {
        None => push(pipeline, TOKENIZER, wanted, site),
        Some(stage) if stage.options == wanted => {}
        Some(_) => host.report(
            "a pipeline has one tokenizer, and this model's is another than that of an earlier stage",
            Some("give all models of a pipeline the same tokenizer, or use two pipelines".into()),
            vec![site.clone().label("added here")],
        ),
    }
}

fn push(pipeline: &mut Pipeline, kind: &str, options: Value, site: &Site) {
    pipeline.plan.push(kind, options);
    pipeline.sites.push(site.clone());
}
