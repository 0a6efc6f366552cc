//! Names of result files.

/// A model's name as the name of a folder: runs of what file systems dislike become two underlines.
pub fn sanitize(name: &str) -> String {
    let mut sanitized = String::new();
    let mut inside = false;
    for letter in name.chars() {
        let disliked = "\"<>:/|\\?*[]".contains(letter);
        if !disliked {
            sanitized.push(letter);
        } else if !inside {
            sanitized.push_str("__");
        }
        inside = disliked;
    }
    sanitized
}

/// A time (`2026-11-25T09:41:57.123456`) as part of a file's name.
pub fn file_time(iso: &str) -> String {
    iso.replace(':', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_file_systems() {
        assert_eq!(sanitize("runs/a//b:[c]"), "runs__a__b__c__");
        assert_eq!(file_time("2026-11-25T09:41:57.5"), "2026-11-25T09-41-57.5");
    }
}
