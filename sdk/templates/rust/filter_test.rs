//! The filter alone, and the library as psann sees it.

use psann_sdk::testing;
use {crate}::{Words, psann_plugin_v1};
use serde_json::json;

#[test]
fn short_documents_are_dropped() {
    assert!(testing::judge::<Words>("one two three four five").unwrap().is_kept());
    assert_eq!(testing::judge::<Words>("one two").unwrap().reason(), Some(0));
}

#[test]
fn it_does_all_that_psann_needs() {
    testing::assert_conforms(psann_plugin_v1, &[("{component}", json!({ "least": 3 }))]);
}
