//! `source::jsonl("…")`, `optimizer::adamw(#{…})`: one function per registered plugin of ours; those of others are named by
//! their id, as in `source::plugin("org.hello", #{…})`.
//!
//! Each takes nothing, one map of options, or, where the plugin has a primary option, that option's value and
//! perhaps a map. Calls check their options at once, where the place is known, and go on after a mistake so that
//! the rest of the recipe is checked too.

use std::any::TypeId;
use std::sync::Arc;

use psann_core::plan::{Component, FilterComponent, Flow};
use psann_core::registry::{self, Kind, Plugin};
use rhai::plugin::RhaiResult;
use rhai::{Dynamic, Engine, FnPtr, FuncRegistration, Module, NativeCallContext, RhaiFunc};
use serde_json::json;

use crate::arguments::Arguments;
use crate::host::{Host, Site};
use crate::validate::{self, Owner};
use crate::values::{Item, describe};
use crate::{filter, locate};

/// The name under which a model's vocabulary refers to the tokenizer stage.
pub(crate) const TOKENIZER: &str = "tokenizer";

/// The model option that takes a tokenizer in place of a number.
const VOCABULARY: &str = "vocab";

/// The function that takes the id of a plugin of someone else, before everything that plugins take.
pub(crate) const BY_ID: &str = "plugin";

/// The kinds that plugins of others can be of.
pub(crate) const KINDS_BY_ID: [Kind; 2] = [Kind::Source, Kind::Filter];

/// The kinds that recipes make by calling `kind::name`.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::Stage)
}

/// Registers a module per kind.
pub(crate) fn register(engine: &mut Engine, host: &Arc<Host>) {
    for kind in kinds() {
        let mut module = Module::new();
        for plugin in registry::of_kind(kind).into_iter().filter(|plugin| plugin.origin.is_none()) {
            for arity in 0..=2 {
                let host = Arc::clone(host);
                let parameters = vec![TypeId::of::<Dynamic>(); arity];
                let function = function(move |context, arguments| {
                    Ok(Dynamic::from(make(&host, plugin, &Site::of(context), arguments, 0)))
                });
                FuncRegistration::new(plugin.name).set_into_module_raw(&mut module, parameters, function);
            }
        }
        if KINDS_BY_ID.contains(&kind) {
            for arity in 0..=3 {
                let host = Arc::clone(host);
                let parameters = vec![TypeId::of::<Dynamic>(); arity];
                let function = function(move |context, arguments| {
                    Ok(Dynamic::from(make_by_id(&host, kind, &Site::of(context), arguments)))
                });
                FuncRegistration::new(BY_ID).set_into_module_raw(&mut module, parameters, function);
            }
        }
        engine.register_static_module(kind.word(), module.into());
    }
}

/// A native function of Rhai over values, whatever their types: the types are ours to explain.
fn function(call: impl Fn(&NativeCallContext, &[Dynamic]) -> RhaiResult + Send + Sync + 'static) -> RhaiFunc {
    RhaiFunc::Pure {
        func: Arc::new(move |context: Option<NativeCallContext>, arguments: &mut [&mut Dynamic]| {
            let arguments: Vec<Dynamic> = arguments.iter().map(|argument| argument.flatten_clone()).collect();
            // Rhai passes a context to every function that says it has one.
            context.map_or(Ok(Dynamic::UNIT), |context| call(&context, &arguments))
        }),
        has_context: true,
        is_pure: true,
        // Each call reports its own mistakes, so none may be answered from a cache.
        is_volatile: true,
    }
}

/// A plugin of someone else, whose id is the first argument.
fn make_by_id(host: &Host, kind: Kind, site: &Site, arguments: &[Dynamic]) -> Item {
    let label = format!("{kind}::{BY_ID}");
    let Some(id) = arguments.first().filter(|id| id.is_string()) else {
        let found = arguments.first().map_or("nothing".to_owned(), describe);
        let help = format!("write `{label}(\"org.hello\", #{{ … }})`  (`psann plugin list` shows all ids)");
        let mark = vec![site.clone().label("in this call")];
        host.report(format!("`{label}` takes the id of a plugin first, found {found}"), Some(help), mark);
        return item(Component { kind, name: String::new(), options: json!({}) }, None);
    };
    let id = id.to_string();
    match registry::find(kind, &id) {
        Ok(plugin) => make(host, plugin, site, &arguments[1..], 1),
        Err(error) => {
            let hint = error.hint_text().map(str::to_owned);
            host.report(error.message(), hint, vec![site.clone().label("in this call")]);
            item(Component { kind, name: id, options: json!({}) }, None)
        }
    }
}

/// Makes a plugin from what it takes; `before` arguments of the call came before that.
fn make(host: &Host, plugin: &'static Plugin, site: &Site, arguments: &[Dynamic], before: usize) -> Item {
    let label = label(plugin);
    let call = locate::call(&host.asts(&site.script), site.position, false);
    let mut given = Arguments::default();
    // A filter may be written as a closure, which goes into the plan as its text.
    let is_closure = (plugin.kind, plugin.name) == (Kind::Filter, filter::NAME);
    let closure = arguments.first().filter(|_| is_closure).and_then(|first| first.clone().try_cast::<FnPtr>());
    let closure = closure.map(|pointer| filter::closure::given(host, site, &pointer));
    let with_code: Vec<Dynamic>;
    let arguments = match &closure {
        Some(taken) => {
            let code = taken.as_ref().map_or(Dynamic::from(String::new()), |taken| taken.code.clone());
            with_code = std::iter::once(code).chain(arguments.iter().skip(1).cloned()).collect();
            &with_code
        }
        None => arguments,
    };
    // With two arguments the map is the second, whatever the first is.
    let map =
        if arguments.len() == 1 { arguments.iter().position(Dynamic::is_map) } else { arguments.len().checked_sub(1) };
    match map.map(|index| (index, &arguments[index])) {
        Some((index, map)) if map.is_map() => given.take_map(before + index, map),
        Some((_, other)) => complain(host, plugin, site, &label, other),
        None => {}
    }
    if let Some(value) = arguments.first().filter(|_| map != Some(0)) {
        match plugin.primary {
            Some(name) => given.take_named(name, before, value),
            None => complain(host, plugin, site, &label, value),
        }
    }
    if let Some(Some(taken)) = &closure
        && !taken.captures.is_empty()
    {
        given.options.insert("captures".into(), taken.captures.clone().into());
    }
    let mut tokenizer = None;
    if plugin.kind == Kind::Model
        && let Some(component) = given.options.get(VOCABULARY).and_then(Component::from_value)
        && component.kind == Kind::Tokenizer
    {
        tokenizer = Some(component);
        given.options.insert(VOCABULARY.to_owned(), json!(TOKENIZER));
    }
    let (options, problems) = given.check(&(plugin.schema)());
    let owner = Owner { label: &label, name: plugin.name };
    validate::report(host, site, call.as_ref(), &owner, &given.bindings, &problems, &options);
    if is_closure && problems.is_empty() && !matches!(closure, Some(None)) {
        let string = call.as_ref().and_then(|call| call.arguments.first()).map(rhai::Expr::start_position);
        filter::closure::check(host, site, string.filter(|_| closure.is_none()), &options);
    }
    item(Component { kind: plugin.kind, name: plugin.name.to_owned(), options }, tokenizer)
}

/// How recipes call a plugin.
fn label(plugin: &Plugin) -> String {
    match plugin.origin {
        None => format!("{}::{}", plugin.kind, plugin.name),
        Some(_) => format!("{}::{BY_ID}(\"{}\")", plugin.kind, plugin.name),
    }
}

fn item(component: Component, tokenizer: Option<Component>) -> Item {
    match component.kind {
        Kind::Source => Item::Flow(Flow { source: component, filters: Vec::new() }),
        Kind::Filter => Item::Filters(vec![FilterComponent(component)]),
        Kind::Model => Item::Model { component, tokenizer },
        _ => Item::Other(component),
    }
}

/// An argument that cannot be options.
fn complain(host: &Host, plugin: &Plugin, site: &Site, label: &str, value: &Dynamic) {
    let takes = match plugin.primary {
        Some(primary) => format!("its `{primary}` and one map of options"),
        None => "one map of options".into(),
    };
    // The id of a plugin of someone else stands in the brackets already.
    let (open, comma) = match label.strip_suffix(')') {
        Some(open) => (open.to_owned(), ", "),
        None => (format!("{label}("), ""),
    };
    let example = match plugin.primary {
        Some(primary) => format!("{open}{comma}{primary}, #{{ … }})"),
        None => format!("{open}{comma}#{{ … }})"),
    };
    host.report(
        format!("`{label}` takes {takes}, found {}", describe(value)),
        Some(format!("write `{example}`  (`psann plugin info {}` lists every option)", plugin.name)),
        vec![site.clone().label("in this call")],
    );
}
