//! Addresses are one word each, whatever punctuation they hold.
//!
//! spaCy's pattern (after Diego Perini's), matched by hand: a scheme and a user may come first, then an IPv4 address that
//! is not private or a domain name, then a port and a path.

use super::classes::{SMALL, class, word_character};

/// Whether all of `word`, which has no blanks, is an address.
pub fn is_url(word: &str) -> bool {
    if !word.bytes().any(|byte| byte == b'.') {
        return false;
    }
    if from_host(word) || after_scheme(word).is_some_and(from_host) {
        return true;
    }
    // Whatever stands before an `@` counts as the user.
    word.bytes().enumerate().any(|(at, byte)| byte == b'@' && at > 0 && from_host(&word[at + 1..]))
}

fn after_scheme(word: &str) -> Option<&str> {
    let (scheme, rest) = word.split_once(':')?;
    let rest = rest.strip_prefix("//")?;
    let fits = |c: char| word_character(c) || matches!(c, '+' | '-' | '.');
    (scheme.chars().nth(1).is_some() && scheme.chars().all(fits)).then_some(rest)
}

fn from_host(text: &str) -> bool {
    let end = text.bytes().position(|byte| matches!(byte, b':' | b'/' | b'?' | b'#' | b'@')).unwrap_or(text.len());
    let (host, rest) = text.split_at(end);
    after_host(rest) && (is_address(host) || is_domain(host))
}

/// `:port`, 2 to 5 digits, and a path, both optional.
fn after_host(rest: &str) -> bool {
    let path = match rest.strip_prefix(':') {
        None => rest,
        Some(port) => {
            let end = port.find(|c: char| !c.is_ascii_digit()).unwrap_or(port.len());
            if !(2..=5).contains(&end) {
                return false;
            }
            &port[end..]
        }
    };
    path.is_empty() || path.starts_with(['/', '?', '#'])
}

/// Four numbers of a public network. Leading zeros are fine inside, as in the pattern.
fn is_address(host: &str) -> bool {
    let mut numbers = [0u32; 4];
    let mut parts = host.split('.');
    for (index, number) in numbers.iter_mut().enumerate() {
        let Some(part) = parts.next() else { return false };
        if part.is_empty() || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return false;
        }
        *number = part.parse().unwrap_or(u32::MAX);
        let outer = index == 0 || index == 3;
        let leading_zero = part.starts_with('0') && (outer || part.len() == 3);
        let most = [223, 255, 255, 254][index];
        if leading_zero || *number > most {
            return false;
        }
    }
    let private = match numbers {
        [10 | 127, ..] | [169, 254, ..] | [192, 168, ..] => true,
        [172, second, ..] => (16..=31).contains(&second),
        _ => false,
    };
    parts.next().is_none() && !private
}

/// Labels of up to 64 characters, then a name of 2 to 63 small letters.
fn is_domain(host: &str) -> bool {
    let Some((labels, top)) = host.rsplit_once('.') else { return false };
    let (mut length, mut small) = (0, true);
    for c in top.chars() {
        length += 1;
        small &= class(c) & SMALL != 0;
    }
    small && (2..=63).contains(&length) && labels.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let outer = |c: char| c.is_ascii_alphanumeric() || matches!(c, '\u{a1}'..='\u{ffff}');
    let mut length = 0;
    for c in label.chars() {
        length += 1;
        if !outer(c) && c != '-' && c != '_' {
            return false;
        }
    }
    (1..=64).contains(&length) && label.starts_with(outer) && label.ends_with(outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_words() {
        for word in [
            "example.com",
            "www.a-b.org/x?y=1#z",
            "http://example.com",
            "https://user:pw@example.com:8080/",
            "me@example.com",
            "http://@example.com",
            "8.8.8.8",
            "1.2.3.4:80",
            "x.y.z.museum",
            "http://\u{2713}.com",
        ] {
            assert!(is_url(word), "{word}");
        }
        for word in [
            "",
            ".",
            "a.b",
            "example.",
            "lower.Upper",
            "Example.COM",
            "-a.com",
            "a-.com",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "0.1.2.3",
            "1.2.3.255",
            "1.2.3",
            "example.com:1",
            "example.com:",
            "@example.com",
            "a..com",
            "http//example.com:x",
            "1.2.3.4.5",
        ] {
            assert!(!is_url(word), "{word}");
        }
    }
}
