//! Bytes that should be UTF-8 and are not.

/// The text, with each maximal ill-formed part replaced by U+FFFD as the WHATWG decoder does, and how many were.
pub fn repair(bytes: &[u8]) -> (String, u64) {
    let (mut text, mut replaced) = (String::with_capacity(bytes.len()), 0);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            replaced += 1;
        }
    }
    (text, replaced)
}
