//! The Rhai engine that recipes run in: small, bounded, and without a way to touch anything.
//!
//! It is built from chosen packages, because Rhai's own set can sleep and read the clock, either of which would
//! make a plan depend on more than the recipe. Limits are set to fixed values: Rhai's defaults differ between
//! debug and release builds.

use std::sync::Arc;
use std::time::Duration;

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage,
    BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{Dynamic, Engine, OptimizationLevel};

use crate::host::Host;
use crate::library::Library;
use crate::{flow, mixture, parameters, plugins, stages};

/// Operations a recipe may take. One that describes a run needs a few hundred.
pub(crate) const MOST_OPERATIONS: u64 = 5_000_000;

/// Time a recipe may take: operations on long strings are few but slow.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

/// Function calls within each other.
pub(crate) const MOST_CALL_LEVELS: usize = 64;

const MOST_EXPRESSION_LEVELS: usize = 128;
const MOST_EXPRESSION_LEVELS_IN_FUNCTIONS: usize = 64;
const MOST_MODULES: usize = 64;
const LONGEST_STRING: usize = 1 << 20;
/// Also bounds how deep a list can be nested, which Rhai walks by recursion.
const MOST_ELEMENTS: usize = 5_000;

/// Marks an evaluation that ended because it took too long.
#[derive(Debug, Clone)]
pub(crate) struct Overdue;

/// What both recipes and closures can do with numbers, strings, lists and maps.
pub(crate) fn register_language(engine: &mut Engine) {
    ArithmeticPackage::new().register_into_engine(engine);
    LogicPackage::new().register_into_engine(engine);
    BasicMathPackage::new().register_into_engine(engine);
    BasicStringPackage::new().register_into_engine(engine);
    MoreStringPackage::new().register_into_engine(engine);
    BasicIteratorPackage::new().register_into_engine(engine);
    BasicArrayPackage::new().register_into_engine(engine);
    BasicMapPackage::new().register_into_engine(engine);
    BasicFnPackage::new().register_into_engine(engine);
}

/// An engine whose functions gather what they learn in `host`.
pub(crate) fn new(host: &Arc<Host>) -> Engine {
    let mut engine = bare();
    engine.set_strict_variables(true);
    engine.set_fail_on_invalid_map_property(true);
    register_language(&mut engine);
    engine.set_max_operations(MOST_OPERATIONS);
    engine.set_max_call_levels(MOST_CALL_LEVELS);
    engine.set_max_modules(MOST_MODULES);
    engine.set_max_string_size(LONGEST_STRING);
    engine.set_max_array_size(MOST_ELEMENTS);
    engine.set_max_map_size(MOST_ELEMENTS);
    engine.set_module_resolver(Library::new(Arc::clone(host)));
    let printing = Arc::clone(host);
    engine.on_print(move |text| printing.print(text));
    let debugging = Arc::clone(host);
    engine.on_debug(move |text, source, position| {
        let line = position.line().map(|line| format!(":{line}")).unwrap_or_default();
        debugging.print(&format!("{}{line}: {text}", source.unwrap_or_default()));
    });
    let timing = Arc::clone(host);
    engine.on_progress(move |operations| {
        // The clock is asked now and then only: this runs at every operation.
        let overdue = operations % 1024 == 0 && timing.state().started.elapsed() > LONGEST;
        overdue.then(|| Dynamic::from(Overdue))
    });
    plugins::register(&mut engine, host);
    flow::register(&mut engine, host);
    mixture::register(&mut engine, host);
    stages::register(&mut engine, host);
    parameters::register(&mut engine, host);
    engine
}

/// An engine that can parse and nothing else.
pub(crate) fn bare() -> Engine {
    let mut engine = Engine::new_raw();
    // The optimiser folds literals and loses the places of their keys.
    engine.set_optimization_level(OptimizationLevel::None);
    engine.disable_symbol("eval");
    engine.set_max_expr_depths(MOST_EXPRESSION_LEVELS, MOST_EXPRESSION_LEVELS_IN_FUNCTIONS);
    engine
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_recipe_that_takes_too_long_is_stopped_before_its_operations_run_out() {
        let host = Arc::new(Host::new(PathBuf::new(), Vec::new()));
        let engine = new(&host);
        // As if it had begun long ago; a machine that has not been up for so long has nothing to test with.
        let Some(long_ago) = Instant::now().checked_sub(LONGEST + Duration::from_secs(1)) else { return };
        host.state().started = long_ago;
        let error = engine.run("loop { }").unwrap_err();
        crate::explain::running(&host, "slow.rhai", &error);
        let message = host.take_findings().remove(0).message;
        assert_eq!(message, "the recipe was stopped: it takes more than 10 seconds to evaluate");
    }
}
