//! `source | filter | filter`: the operator that puts filters behind a source, or into a chain to use again.

use std::sync::Arc;

use psann_core::plan::Flow;
use rhai::{Dynamic, Engine, NativeCallContext};

use crate::host::{Host, Site, stop};
use crate::values::Item;

/// Registers `|` for components.
pub(crate) fn register(engine: &mut Engine, host: &Arc<Host>) {
    let host = Arc::clone(host);
    engine.register_fn("|", move |context: NativeCallContext, left: Item, right: Item| {
        let labels = (left.label(), right.label());
        join(left, right).map(Dynamic::from).ok_or_else(|| {
            host.report(
                format!("`|` puts filters behind a source, found {} and {}", labels.0, labels.1),
                Some("write a source or a filter on its left and a filter on its right".into()),
                vec![Site::of(&context).label("this operator")],
            );
            Box::new(stop())
        })
    });
    engine.register_fn("==", |left: Item, right: Item| same(&left, &right));
    engine.register_fn("!=", |left: Item, right: Item| !same(&left, &right));
    engine.register_fn("to_string", |item: &mut Item| crate::show::item(item));
    engine.register_fn("to_debug", |item: &mut Item| crate::show::item(item));
}

/// The two as one, if they fit.
fn join(left: Item, right: Item) -> Option<Item> {
    match (left, right) {
        (Item::Flow(flow), Item::Filters(more)) => {
            let filters = flow.filters.into_iter().chain(more).collect();
            Some(Item::Flow(Flow { source: flow.source, filters }))
        }
        (Item::Filters(first), Item::Filters(more)) => Some(Item::Filters(first.into_iter().chain(more).collect())),
        _ => None,
    }
}

fn same(left: &Item, right: &Item) -> bool {
    crate::convert::item_to_json(left) == crate::convert::item_to_json(right)
}
