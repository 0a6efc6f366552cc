//! What single bytes tell of a word, one table look-up or eight bytes at a time.

/// What a byte is to the fast paths.
pub const LETTER: u8 = 1;
pub const DIGIT: u8 = 2;
pub const BLANK: u8 = 4;
pub const BEYOND: u8 = 8;
/// Comes off the end of a word, whatever the word is.
pub const MARK: u8 = 16;
pub const STOP: u8 = 32;

/// ASCII marks that are words of their own at either end of a piece, as quotes and brackets are.
pub const fn is_mark(byte: u8) -> bool {
    matches!(byte, b'!'..=b'#' | b'&'..=b'*' | b',' | b':'..=b'<' | b'>' | b'?' | b'[' | b']' | b'_' | b'`' | b'{' | b'}')
}

const BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'0'..=b'9' => DIGIT,
            b'\t'..=b'\r' | 0x1c..=b' ' => BLANK,
            mark if is_mark(mark) => MARK,
            b'.' => STOP,
            0x80.. => BEYOND,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// The class of the byte at `at`; a blank after the end.
#[inline]
pub fn byte_class(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).map_or(BLANK, |&byte| BYTES[byte as usize])
}

/// How many of 8 bytes, from the first on, are ASCII letters.
#[inline]
pub fn letters(bytes: u64) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    // In small letters and without the high bit; then sums that reach the high bit from `a` and from after `z` on.
    let small = (bytes | (0x20 * EACH)) & !HIGH;
    let letters = (small + (0x80 - 0x61) * EACH) & !(small + (0x80 - 0x7b) * EACH) & !bytes;
    (!letters & HIGH).trailing_zeros() as usize / 8
}

/// First bytes of what [`super::affixes::infix`] may find.
pub const MAY_BE_INFIX: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'*'..=b'/' | b':' | b'<'..=b'>' | b'^' | b'~' | 0xc2..);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::super::affixes::suffix;
    use super::super::classes::{CAPITAL, SMALL, class};
    use super::*;

    #[test]
    fn letters_are_counted_up_to_the_first_other_byte() {
        for byte in 0..=255u8 {
            for at in 0..8 {
                let mut bytes = *b"azAZmnop";
                bytes[at] = byte;
                let expect = bytes.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(8);
                assert_eq!(letters(u64::from_le_bytes(bytes)), expect, "{bytes:?}");
            }
        }
    }

    #[test]
    fn marks_at_the_end_of_a_word_are_suffixes_of_the_general_rules() {
        for byte in 0..=127u8 {
            if BYTES[byte as usize] & MARK != 0 {
                assert_eq!(suffix(&format!("word{}", byte as char)), 1, "{}", byte as char);
            }
            let letter = class(byte as char) & (CAPITAL | SMALL) != 0;
            assert_eq!(letter, BYTES[byte as usize] & LETTER != 0);
        }
    }
}
