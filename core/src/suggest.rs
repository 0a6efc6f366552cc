//! "Did you mean": the nearest of the known names.

/// The candidate nearest to `word`, if it is near enough to be a slip of the fingers.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let lower = candidate.to_lowercase();
        // A prefix counts as near: `learn` for `learning_rate`.
        let prefix = word.len() >= 3 && lower.starts_with(&word);
        let score = if prefix { 0.9 } else { strsim::normalized_damerau_levenshtein(&word, &lower) };
        if score >= 0.6 && best.is_none_or(|(top, _)| score > top) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_slips_and_ignores_strangers() {
        let names = ["schedule", "steps", "seed"];
        assert_eq!(nearest("schedul", names), Some("schedule"));
        assert_eq!(nearest("stpes", names), Some("steps"));
        assert_eq!(nearest("banana", names), None);
    }
}
