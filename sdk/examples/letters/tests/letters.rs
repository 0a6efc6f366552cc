//! The filter alone, and the library as psann sees it.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

use psann_example_letters::{Letters, LettersOptions, psann_plugin_v1};
use psann_sdk::testing;

#[test]
fn documents_are_kept_by_their_share_of_letters() {
    let verdict = testing::judge::<Letters>("abc 1").unwrap();
    assert!(verdict.is_kept());
    assert_eq!(verdict.score_at(0), 0.6);
    assert_eq!(testing::judge::<Letters>("12 monkeys").unwrap().reason(), None);
    assert_eq!(testing::judge::<Letters>("1234 a").unwrap().reason(), Some(0));
    let error = testing::judge_with::<Letters>(LettersOptions { min: 2.0 }, "a").unwrap_err();
    assert_eq!(error.message, "option `min` must be a share between 0 and 1, found 2");
}

#[test]
fn the_library_conforms() {
    testing::assert_conforms(psann_plugin_v1, &[]);
}
