//! Hashes that prove two evaluations asked the same.

use sha2::{Digest, Sha256};

use super::super::task::Fields;
use super::DocumentResult;
use crate::python::json;

/// Of a text.
pub fn text(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}

/// Of a document: of its fields as indented JSON, in their order.
pub fn document(fields: &Fields) -> String {
    text(&json::indented(&serde_json::Value::Object(fields.clone())))
}

/// Of a task: of all hashes of its documents, one behind the other.
pub fn task(documents: &[DocumentResult]) -> String {
    let mut hash = Sha256::new();
    for document in documents {
        for part in [&document.doc_hash, &document.prompt_hash, &document.target_hash] {
            hash.update(part);
        }
    }
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_has_the_hash_that_the_reference_gives_it() {
        let row = json!({"goal": "Boil é water\n", "sol1": "a \"b\"", "sol2": "c", "label": 1});
        assert_eq!(
            document(row.as_object().unwrap()),
            "f480884fa40d8c17fe045dc3b3cb8795e8e2dfbf23f8b5ed1a9228b42551e5f3"
        );
        assert_eq!(
            text("Question: Boil é water\n\nAnswer:"),
            "0c06804b2c41fe8ffb4f21412f02609683548e813f0f5207c177f34eddb7e7ef"
        );
    }
}
