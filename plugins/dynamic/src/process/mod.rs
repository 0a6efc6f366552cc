//! Programs that write documents.
