//! The phrases C4 looks for, in any case.
//!
//! Nearly no page has any, so the page is searched once for all of them, by the rarest letters of each, and its lines
//! only if one was there.

/// Which phrases a text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each kind of phrase")]
pub struct Phrases {
    pub lorem_ipsum: bool,
    pub javascript: bool,
    pub policy: bool,
    pub curly_bracket: bool,
}

const POLICY: [&str; 6] =
    ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];

impl Phrases {
    /// Any of them may be there.
    pub const ANY: Self = Self { lorem_ipsum: true, javascript: true, policy: true, curly_bracket: true };

    /// Those in `text`.
    pub fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let curly_bracket = memchr::memchr(b'{', bytes).is_some();
        // Of all characters only the Kelvin sign becomes a letter of these phrases in lower case (`İ` becomes two).
        if memchr::memmem::find(bytes, "\u{212a}".as_bytes()).is_some() {
            return Self { curly_bracket, ..Self::of(&text.replace('\u{212a}', "k")) };
        }
        let mut found = Self { lorem_ipsum: false, javascript: false, policy: false, curly_bracket };
        let mut at = 0;
        while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            if has_anchor(block) {
                (at..at + STEP).for_each(|at| found.look_at(bytes, at));
            }
            at += STEP;
        }
        (at..bytes.len()).for_each(|at| found.look_at(bytes, at));
        found
    }

    /// Looks for phrases whose anchor is at `at`.
    fn look_at(&mut self, bytes: &[u8], at: usize) {
        let is = |before: usize, phrase: &str| {
            at.checked_sub(before)
                .and_then(|start| bytes.get(start..start + phrase.len()))
                .is_some_and(|found| found.eq_ignore_ascii_case(phrase.as_bytes()))
        };
        match bytes[at] | 0x20 {
            b'j' => self.javascript |= is(0, "javascript"),
            b'p' => self.lorem_ipsum |= is(7, "lorem ipsum"),
            b'r' => self.policy |= is(2, POLICY[0]),
            b'v' => self.policy |= is(3, POLICY[1]),
            b'k' => {
                self.policy |= is(3, POLICY[2]) || is(8, POLICY[3]) || is(10, POLICY[4]) || is(7, POLICY[5]);
            }
            _ => {}
        }
    }
}

const STEP: usize = 64;

/// Whether the three letters that are the rarest of a phrase begin in the first [`STEP`] bytes: `jav`, `psu`, `rms`, `vac`
/// or `kie`, in any case. Without branches, so that the compiler looks at many bytes at once.
fn has_anchor(block: &[u8; STEP + 2]) -> bool {
    let mut found = 0;
    for at in 0..STEP {
        let [one, two, three] = [block[at] | 0x20, block[at + 1] | 0x20, block[at + 2] | 0x20];
        let is =
            |anchor: &[u8; 3]| u8::from(one == anchor[0]) & u8::from(two == anchor[1]) & u8::from(three == anchor[2]);
        found |= is(b"jav") | is(b"psu") | is(b"rms") | is(b"vac") | is(b"kie");
    }
    found != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> Phrases {
        let lower = text.to_lowercase();
        Phrases {
            lorem_ipsum: lower.contains("lorem ipsum"),
            javascript: lower.contains("javascript"),
            policy: POLICY.iter().any(|phrase| lower.contains(phrase)),
            curly_bracket: lower.contains('{'),
        }
    }

    proptest! {
        #[test]
        fn phrases_are_found_as_in_the_text_in_lower_case(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "lorem", "IPSUM", " ", "javaScript", "java", "Terms Of", "use", "uses", "privacy", "Cookie", "policy",
                    "coo\u{212a}ies", "cookies", "of", "{", "M", "j", "\u{130}", "x x x x x x x x x x x x x x x", "\u{e9}",
                ]),
                0..30,
            )
        ) {
            let text = parts.concat();
            prop_assert_eq!(Phrases::of(&text), plain(&text));
        }
    }

    #[test]
    fn phrases_are_found_at_every_place_of_a_block() {
        for phrase in POLICY.iter().chain(&["lorem ipsum", "JavaScript", "{"]) {
            for before in 0..140 {
                let text = format!("{}{phrase}", ".".repeat(before));
                assert_eq!(Phrases::of(&text), plain(&text), "{text}");
            }
        }
    }
}
