//! The source alone, and the library as psann sees it.

use psann_sdk::testing;
use {crate}::{Hello, HelloOptions, psann_plugin_v1};
use serde_json::json;

#[test]
fn it_gives_as_many_documents_as_it_was_asked_for() {
    let options = HelloOptions { count: 300, ..HelloOptions::default() };
    let documents = testing::read::<Hello>(options).unwrap();
    assert_eq!(documents.len(), 300);
    assert_eq!(documents[299].text, "Hello, world! This is greeting number 299.");
}

#[test]
fn it_does_all_that_psann_needs() {
    testing::assert_conforms(psann_plugin_v1, &[("{component}", json!({ "count": 5000 }))]);
}
