//! What a word is to fastText, and what its parts are. Every rule here decides which row of the matrix is read, so each
//! follows fastText's `dictionary.cc` to the byte, oddities included.

/// The word that ends a line, added to every text.
pub(super) const END_OF_LINE: &[u8] = b"</s>";
/// Words that begin so are labels, wherever they stand.
pub(super) const LABEL: &[u8] = b"__label__";
const BEGIN: u8 = b'<';
const END: u8 = b'>';

/// Whether a byte separates words. The zero byte does; no-break and other Unicode blanks do not.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0)
}

/// FNV-1a with fastText's twist: bytes are signed chars there, so those above 127 flip the upper bits as well.
pub(super) const SEED: u32 = 2_166_136_261;

/// One byte more.
pub(super) fn hash_byte(hash: u32, byte: u8) -> u32 {
    (hash ^ i32::from(byte as i8) as u32).wrapping_mul(16_777_619)
}

/// The hash of a word.
pub(super) fn hash(word: &[u8]) -> u32 {
    word.iter().fold(SEED, |hash, byte| hash_byte(hash, *byte))
}

fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Hands the hash of each part of `<word>` with `shortest` to `longest` characters to `each`, in fastText's order: by
/// start, then by length. The single characters `<` and `>` are no parts. `bracketed` is scratch space.
pub(super) fn parts(word: &[u8], shortest: usize, longest: usize, bracketed: &mut Vec<u8>, mut each: impl FnMut(u32)) {
    bracketed.clear();
    bracketed.push(BEGIN);
    bracketed.extend_from_slice(word);
    bracketed.push(END);
    let bytes = bracketed.as_slice();
    for start in 0..bytes.len() {
        if continues(bytes[start]) {
            continue;
        }
        let (mut hash, mut next) = (SEED, start);
        for length in 1..=longest {
            if next == bytes.len() {
                break;
            }
            hash = hash_byte(hash, bytes[next]);
            next += 1;
            while next < bytes.len() && continues(bytes[next]) {
                hash = hash_byte(hash, bytes[next]);
                next += 1;
            }
            let bracket_alone = length == 1 && (start == 0 || next == bytes.len());
            if length >= shortest && !bracket_alone {
                each(hash);
            }
        }
    }
}

/// The hash of a run of words, one word longer. fastText keeps word hashes as signed 32-bit numbers, hence the sign
/// extension, and multiplies in 64 bits.
pub(super) fn extend_run(run: u64, word: u32) -> u64 {
    run.wrapping_mul(116_049_371).wrapping_add(signed(word))
}

/// A word hash as the start of a run.
pub(super) fn signed(word: u32) -> u64 {
    i64::from(word as i32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts_of(word: &str, shortest: usize, longest: usize) -> Vec<u32> {
        let mut hashes = Vec::new();
        parts(word.as_bytes(), shortest, longest, &mut Vec::new(), |hash| hashes.push(hash));
        hashes
    }

    fn hashes(words: &[&str]) -> Vec<u32> {
        words.iter().map(|word| hash(word.as_bytes())).collect()
    }

    #[test]
    fn hash_is_fnv_1a_with_signed_bytes() {
        // Published FNV-1a test vectors; the last one by the definition, since FNV itself takes bytes unsigned.
        assert_eq!(hashes(&["", "a", "foobar"]), [0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968]);
        let sign_extended = (SEED ^ 0xffff_ffc3).wrapping_mul(16_777_619);
        assert_eq!(hash("é".as_bytes()), (sign_extended ^ 0xffff_ffa9).wrapping_mul(16_777_619));
    }

    #[test]
    fn parts_come_by_start_then_length_and_skip_lone_brackets() {
        assert_eq!(parts_of("ab", 1, 3), hashes(&["<a", "<ab", "a", "ab", "ab>", "b", "b>"]));
        assert_eq!(parts_of("ab", 2, 2), hashes(&["<a", "ab", "b>"]));
        assert_eq!(parts_of("ab", 3, 9), hashes(&["<ab", "<ab>", "ab>"]));
        assert!(parts_of("ab", 0, 0).is_empty());
        assert_eq!(parts_of("", 1, 4), hashes(&["<>"]));
    }

    #[test]
    fn a_part_never_splits_a_character() {
        assert_eq!(parts_of("éß", 1, 2), hashes(&["<é", "é", "éß", "ß", "ß>"]));
        assert_eq!(parts_of("漢", 2, 4), hashes(&["<漢", "<漢>", "漢>"]));
    }
}
