//! Where in a recipe the code of a filter stands.
//!
//! That is no part of the plan: a line that moves must not make a stage run anew. A process that evaluated the recipe
//! remembers it; one that only has the plan names places within the code.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rhai::Position;

use crate::host::Site;

static KNOWN: Mutex<BTreeMap<String, Site>> = Mutex::new(BTreeMap::new());

/// Notes that `code` begins at `site`.
pub(super) fn remember(code: &str, site: &Site) {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(code.to_owned(), site.clone());
}

/// Where `code` begins, if a recipe of this process has it.
pub(super) fn site(code: &str) -> Option<Site> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(code).cloned()
}

/// The place in the recipe, or in the code: "test.rhai:3:12", "line 1, column 4 of its code".
pub(super) fn describe(code: &str, position: Position) -> Option<String> {
    let (line, column) = (position.line()?, position.position().unwrap_or(1));
    Some(match site(code).map(|site| (within(site.position, position), site.script)) {
        Some((place, script)) => {
            format!("{script}:{}:{}", place.line().unwrap_or(0), place.position().unwrap_or(1))
        }
        None => format!("line {line}, column {column} of its code"),
    })
}

/// `position` within a text that itself begins at `start`.
pub(super) fn within(start: Position, position: Position) -> Position {
    let (Some(first), Some(line)) = (start.line(), position.line()) else { return start };
    let column = position.position().unwrap_or(1);
    let column = if line == 1 { start.position().unwrap_or(1) + column - 1 } else { column };
    // Rhai counts in sixteen bits; beyond them the start is as good as any place.
    match (u16::try_from(first + line - 1), u16::try_from(column)) {
        (Ok(line), Ok(column)) => Position::new(line, column),
        _ => start,
    }
}
