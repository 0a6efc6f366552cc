//! Where documents come from. `files` finds the inputs of a source; `input`, `unpack` and `stream` open one; `lines` and
//! `table` cut it into records, with `record`, `json`, `ipc_stream` and `columns` beneath; `on_error` decides what happens
//! to those that cannot be used. The rest are the sources themselves.

pub mod arrow;
pub mod columns;
pub mod files;
pub mod input;
pub mod ipc_stream;
pub mod json;
pub mod jsonl;
pub mod limits;
pub mod lines;
pub mod mix;
pub mod on_error;
pub mod parquet;
pub mod record;
pub mod stream;
pub mod table;
pub mod text;
pub mod unpack;
