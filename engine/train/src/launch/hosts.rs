//! Slurm's shorthand for lists of hosts: `gpu[001-003,7],login` means five names.
//!
//! Slurm tells a job where it runs in this form only, and the tool that spells it out (`scontrol show hostnames`) is not
//! there inside many containers. Brackets hold numbers and ranges; a range is padded to the width of its first number;
//! of several brackets in a name the last one runs fastest.

use psann_core::{Error, Result};

/// More than the largest cluster has, so that a damaged list cannot fill the memory.
const MOST_HOSTS: usize = 1 << 16;

/// All hosts of `list`, in its order.
///
/// # Errors
/// When the list is empty, a bracket is not closed, a range is none, or there are more than 65,536 hosts.
pub fn expand(list: &str) -> Result<Vec<String>> {
    let mut hosts = Vec::new();
    for name in split(list).map_err(|reason| malformed(list, &reason))? {
        let names = expand_name(name).map_err(|reason| malformed(list, &reason))?;
        hosts.extend(names);
        if hosts.len() > MOST_HOSTS {
            return Err(malformed(list, &too_many()));
        }
    }
    Ok(hosts)
}

/// Cuts at the commas outside of brackets.
fn split(list: &str) -> Result<Vec<&str>, String> {
    let (mut names, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, character) in list.char_indices() {
        match character {
            '[' if inside => return Err("a bracket stands inside another".into()),
            ']' if !inside => return Err("`]` closes nothing".into()),
            '[' | ']' => inside = !inside,
            ',' if !inside => {
                names.push(&list[start..at]);
                start = at + 1;
            }
            _ if character.is_whitespace() => return Err("it contains a blank".into()),
            _ => {}
        }
    }
    if inside {
        return Err("`[` is not closed".into());
    }
    names.push(&list[start..]);
    if names.contains(&"") {
        return Err("a name is empty".into());
    }
    Ok(names)
}

fn expand_name(name: &str) -> Result<Vec<String>, String> {
    let mut names = vec![String::new()];
    let mut rest = name;
    while let Some((literal, after)) = rest.split_once('[') {
        // `split` saw to it that every bracket is closed.
        let (inner, behind) = after.split_once(']').unwrap_or((after, ""));
        let numbers = numbers(inner)?;
        if names.len() * numbers.len() > MOST_HOSTS {
            return Err(too_many());
        }
        names = names
            .iter()
            .flat_map(|name| numbers.iter().map(move |number| format!("{name}{literal}{number}")))
            .collect();
        rest = behind;
    }
    Ok(names.into_iter().map(|name| name + rest).collect())
}

/// `001-003,7` as `001`, `002`, `003`, `7`.
fn numbers(inner: &str) -> Result<Vec<String>, String> {
    let mut numbers = Vec::new();
    for part in inner.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Some(low), Some(high)) = (number(first), number(last)) else {
            return Err(format!("`{part}` is no number and no range of numbers"));
        };
        if high < low {
            return Err(format!("the range `{part}` runs backwards"));
        }
        if high - low >= MOST_HOSTS as u64 || numbers.len() > MOST_HOSTS {
            return Err(too_many());
        }
        let width = first.len();
        numbers.extend((low..=high).map(|value| format!("{value:0width$}")));
    }
    Ok(numbers)
}

fn number(text: &str) -> Option<u64> {
    // `parse` would also take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn too_many() -> String {
    format!("it names more than {MOST_HOSTS} hosts")
}

fn malformed(list: &str, reason: &str) -> Error {
    Error::usage(format!("`{list}` is no list of hosts: {reason}")).hint("Slurm writes them like `gpu[01-04,7],login`")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(list: &str, expect: &str) {
        assert_eq!(expand(list).unwrap().join(" "), expect, "{list}");
    }

    #[test]
    fn lists_are_spelled_out_as_slurm_does() {
        check("login", "login");
        check("a,b", "a b");
        check("gpu[1-3]", "gpu1 gpu2 gpu3");
        check("gpu[001-003,7],login", "gpu001 gpu002 gpu003 gpu7 login");
        check("n[08-11]", "n08 n09 n10 n11");
        check("n[8-11].cluster.example", "n8 n9 n10 n11.cluster.example".replace(' ', ".cluster.example ").as_str());
        check("r[1-2]n[01-02]", "r1n01 r1n02 r2n01 r2n02");
        check("a[1,3],b-[2]-c", "a1 a3 b-2-c");
    }

    #[test]
    fn what_is_no_list_says_why() {
        let message = |list: &str| expand(list).unwrap_err().to_string();
        assert_eq!(message(""), "`` is no list of hosts: a name is empty");
        assert_eq!(message("a,,b"), "`a,,b` is no list of hosts: a name is empty");
        assert_eq!(message("a[1-2"), "`a[1-2` is no list of hosts: `[` is not closed");
        assert_eq!(message("a1]"), "`a1]` is no list of hosts: `]` closes nothing");
        assert_eq!(message("a[1[2]]"), "`a[1[2]]` is no list of hosts: a bracket stands inside another");
        assert_eq!(message("a[x]"), "`a[x]` is no list of hosts: `x` is no number and no range of numbers");
        assert_eq!(message("a[]"), "`a[]` is no list of hosts: `` is no number and no range of numbers");
        assert_eq!(message("a[+1]"), "`a[+1]` is no list of hosts: `+1` is no number and no range of numbers");
        assert_eq!(message("a[3-1]"), "`a[3-1]` is no list of hosts: the range `3-1` runs backwards");
        assert_eq!(message("a b"), "`a b` is no list of hosts: it contains a blank");
        for endless in ["a[0-999999999999]", "a[0-65535]b[0-65535]", "a[0-18446744073709551615]", "a[0-65535],b"] {
            assert!(message(endless).ends_with("it names more than 65536 hosts"), "{endless}");
        }
    }

    /// A bracket's text and the numbers it means.
    fn bracket() -> impl Strategy<Value = (String, Vec<String>)> {
        let part = (0_u32..1200, 0_u32..12, 1_usize..5).prop_map(|(low, more, width)| {
            let text = format!("{low:0width$}");
            let numbers: Vec<String> = (low..=low + more).map(|value| format!("{value:0w$}", w = text.len())).collect();
            (if more == 0 { text } else { format!("{text}-{}", low + more) }, numbers)
        });
        prop::collection::vec(part, 1..4).prop_map(|parts| {
            let text: Vec<String> = parts.iter().map(|(text, _)| text.clone()).collect();
            (format!("[{}]", text.join(",")), parts.into_iter().flat_map(|(_, numbers)| numbers).collect())
        })
    }

    /// A name with brackets, and the hosts it means.
    fn name() -> impl Strategy<Value = (String, Vec<String>)> {
        let tail = prop::collection::vec((bracket(), "[a-z.-]{0,4}"), 0..3);
        ("[a-z][a-z0-9.-]{0,6}", tail).prop_map(|(head, tail)| {
            let (mut text, mut hosts) = (head.clone(), vec![head]);
            for ((bracket, numbers), literal) in tail {
                text += &format!("{bracket}{literal}");
                let longer = |host: &String| numbers.iter().map(|n| format!("{host}{n}{literal}")).collect::<Vec<_>>();
                hosts = hosts.iter().flat_map(longer).collect();
            }
            (text, hosts)
        })
    }

    proptest! {
        #[test]
        fn a_list_made_of_parts_means_what_its_parts_mean(names in prop::collection::vec(name(), 1..4)) {
            let list: Vec<&str> = names.iter().map(|(text, _)| text.as_str()).collect();
            let hosts: Vec<&String> = names.iter().flat_map(|(_, hosts)| hosts).collect();
            let expanded = expand(&list.join(",")).unwrap();
            prop_assert_eq!(expanded.iter().collect::<Vec<_>>(), hosts);
        }

        #[test]
        fn plain_names_stay_as_they_are(names in prop::collection::vec("[a-z][a-z0-9.-]{0,8}", 1..6)) {
            prop_assert_eq!(expand(&names.join(",")).unwrap(), names);
        }

        #[test]
        fn no_text_is_too_strange_to_be_refused(list in "[a-c0-9,\\[\\]\\- é]{0,24}") {
            drop(expand(&list));
        }
    }
}
