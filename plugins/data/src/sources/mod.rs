//! Where documents come from. `files` finds inputs, `unpack` and `stream` open them, `lines` and `table` cut them into
//! records, `on_error` decides what happens to those that cannot be used; the rest are the sources themselves.

pub mod arrow;
pub mod columns;
pub mod files;
pub mod json;
pub mod jsonl;
pub mod lines;
pub mod on_error;
pub mod parquet;
pub mod stream;
pub mod table;
pub mod text;
pub mod unpack;
