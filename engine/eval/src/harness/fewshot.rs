//! Which examples each document is shown.
//!
//! A task has one generator, seeded once, and every document takes the next draws from it: the examples of a document
//! depend on all documents before it. So they are drawn here, for all documents in order, before anything is shared among
//! ranks, batched, or taken up again.

use psann_core::{Error, Result};

use super::task::Fields;
use crate::python::MersenneTwister;

/// The examples of one document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draw {
    /// Rows of the pool, in the order shown.
    pub rows: Vec<usize>,
    /// What was drawn: indices into the pool, and where copies of the document left too few, a second draw of indices into
    /// the pool without them.
    pub drawn: Vec<Vec<usize>>,
}

/// Draws `shots` rows of `pool` for each of `documents`, in order.
///
/// Where a document may not be its own example (`exclude`), one more is drawn than is shown, and rows equal to the document
/// are dropped.
///
/// # Errors
/// When the pool has fewer rows than are to be drawn.
pub fn draw(
    documents: &[&Fields],
    pool: &[&Fields],
    shots: usize,
    exclude: bool,
    random: &mut MersenneTwister,
) -> Result<Vec<Draw>> {
    if shots == 0 {
        return Ok(vec![Draw::default(); documents.len()]);
    }
    let wanted = shots + usize::from(exclude);
    if wanted > pool.len() {
        let more = if exclude { ", one more than are shown," } else { "" };
        return Err(Error::usage(format!(
            "{wanted} examples{more} are drawn for each document and there are {} to draw from",
            pool.len()
        ))
        .hint("lower the number of examples, or give a larger split to draw from"));
    }
    documents.iter().map(|document| draw_one(document, pool, shots, exclude, random)).collect()
}

fn draw_one(
    document: &Fields,
    pool: &[&Fields],
    shots: usize,
    exclude: bool,
    random: &mut MersenneTwister,
) -> Result<Draw> {
    let mut sample = |population: usize, count: usize| -> Vec<usize> {
        random.sample(population as u64, count).into_iter().map(|index| index as usize).collect()
    };
    let drawn = sample(pool.len(), shots + usize::from(exclude));
    let other = |row: &usize| !exclude || pool[*row] != document;
    let rows: Vec<usize> = drawn.iter().copied().filter(other).take(shots).collect();
    if rows.len() == shots {
        return Ok(Draw { rows, drawn: vec![drawn] });
    }
    let others: Vec<usize> = (0..pool.len()).filter(other).collect();
    if others.len() < shots {
        return Err(Error::usage(format!(
            "{shots} examples are shown with each document and the split to draw from has {} that are not the document itself",
            others.len()
        ))
        .hint("lower the number of examples, or give a larger split to draw from"));
    }
    let again = sample(others.len(), shots);
    Ok(Draw { rows: again.iter().map(|index| others[*index]).collect(), drawn: vec![drawn, again] })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rows(count: usize) -> Vec<Fields> {
        let row = |index: usize| Fields::from_iter([("n".to_owned(), json!(index))]);
        (0..count).map(row).collect()
    }

    fn drawn(documents: &[Fields], pool: &[Fields], shots: usize, exclude: bool) -> Result<Vec<Draw>> {
        let (documents, pool): (Vec<_>, Vec<_>) = (documents.iter().collect(), pool.iter().collect());
        draw(&documents, &pool, shots, exclude, &mut MersenneTwister::new(1234))
    }

    #[test]
    fn no_document_is_its_own_example_and_later_ones_depend_on_it() {
        let pool = rows(30);
        let outside = Fields::from_iter([("n".to_owned(), Value::Null)]);
        let free = drawn(&vec![outside; 2], &pool, 3, true).unwrap();
        let own = pool[free[0].rows[1]].clone();
        let found = drawn(&[own.clone(), own], &pool, 3, true).unwrap();
        assert_eq!(found[0].rows[..2], [free[0].rows[0], free[0].rows[2]]);
        assert_eq!(found[0].drawn, free[0].drawn);
        assert_eq!(found[1].drawn[0], free[1].drawn[0]);
    }

    #[test]
    fn copies_of_the_document_are_drawn_around() {
        let mut pool = rows(6);
        pool[3] = pool[2].clone();
        let found = drawn(&pool[2..3], &pool, 4, true).unwrap();
        assert_eq!(found[0].drawn.len(), 2);
        assert!(found[0].rows.iter().all(|row| ![2, 3].contains(row)));
        insta::assert_snapshot!(
            drawn(&pool[2..3], &pool, 5, true).unwrap_err(),
            @"5 examples are shown with each document and the split to draw from has 4 that are not the document itself"
        );
        insta::assert_snapshot!(
            drawn(&pool[2..3], &pool, 6, true).unwrap_err(),
            @"7 examples, one more than are shown, are drawn for each document and there are 6 to draw from"
        );
    }
}
