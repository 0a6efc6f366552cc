//! Recipes as users write them, against made-up plugins: plans, diagnostics, sessions, and what recipes cannot do.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod recipes {
    mod closures;
    mod diagnostics;
    mod imports;
    mod overrides;
    mod plans;
    mod plugins;
    mod safety;
    mod session;
}
