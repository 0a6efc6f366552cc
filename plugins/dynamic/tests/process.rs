//! Programs as sources of documents, through the interface that the engine uses.

#![expect(clippy::unwrap_used, reason = "tests")]

mod process {
    mod arrow;
    mod asked;
    mod documents;
    mod example;
    mod failures;
    mod life;
    mod manifests;
    mod resume;
    mod support;
}
