//! Title case where it is not upper case.
//!
//! The first letter of a capitalised word is written in title case, which differs from upper case for letters that are
//! two in one ("ǆ" becomes "ǅ", "ß" becomes "Ss") and for letters that only have capitals for headlines (Georgian).
//! Unicode's SpecialCasing and UnicodeData files list them; the standard library knows upper case only.

/// The title case of `letter`; `None` where it is its upper case.
pub fn titlecase(letter: char) -> Option<String> {
    let own = |text: &str| Some(text.to_owned());
    match letter {
        'ß' => own("Ss"),
        'Ǆ'..='ǆ' => own("ǅ"),
        'Ǉ'..='ǉ' => own("ǈ"),
        'Ǌ'..='ǌ' => own("ǋ"),
        'Ǳ'..='ǳ' => own("ǲ"),
        'և' => own("Եւ"),
        // Mtavruli capitals are for whole words only.
        '\u{10d0}'..='\u{10fa}' | '\u{10fd}'..='\u{10ff}' => Some(letter.to_string()),
        // Greek with iota below: the capital with iota beside it stands eight places on.
        '\u{1f80}'..='\u{1faf}' => char::from_u32(letter as u32 | 8).map(String::from),
        '\u{1fb3}' | '\u{1fbc}' => own("\u{1fbc}"),
        '\u{1fc3}' | '\u{1fcc}' => own("\u{1fcc}"),
        '\u{1ff3}' | '\u{1ffc}' => own("\u{1ffc}"),
        '\u{1fb2}' => own("\u{1fba}\u{345}"),
        '\u{1fb4}' => own("\u{386}\u{345}"),
        '\u{1fb7}' => own("\u{391}\u{342}\u{345}"),
        '\u{1fc2}' => own("\u{1fca}\u{345}"),
        '\u{1fc4}' => own("\u{389}\u{345}"),
        '\u{1fc7}' => own("\u{397}\u{342}\u{345}"),
        '\u{1ff2}' => own("\u{1ffa}\u{345}"),
        '\u{1ff4}' => own("\u{38f}\u{345}"),
        '\u{1ff7}' => own("\u{3a9}\u{342}\u{345}"),
        'ﬀ' => own("Ff"),
        'ﬁ' => own("Fi"),
        'ﬂ' => own("Fl"),
        'ﬃ' => own("Ffi"),
        'ﬄ' => own("Ffl"),
        'ﬅ' | 'ﬆ' => own("St"),
        'ﬓ' => own("Մն"),
        'ﬔ' => own("Մե"),
        'ﬕ' => own("Մի"),
        'ﬖ' => own("Վն"),
        'ﬗ' => own("Մխ"),
        _ => None,
    }
}
