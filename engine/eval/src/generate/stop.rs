//! Finds stop strings in text that comes in pieces. Text that may be the beginning of one is held back, so that nothing
//! of a stop string is ever shown.

/// Looks for stop strings.
#[derive(Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

impl StopMatcher {
    /// A matcher of any of `stops`; empty ones are ignored, they would stop everything.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Adds a piece; gives what can be shown now, and whether a stop string was found right behind it.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        if let Some(start) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), true);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back.
    pub fn finish(self) -> String {
        self.held
    }
}

/// Bytes of the longest end of `text` that is a beginning of `stop`, but not all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(at, _)| at).rev();
    lengths.into_iter().find(|length| text.ends_with(&stop[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_earliest_stop_string_wins() {
        let mut matcher = StopMatcher::new(&["cd".into(), "bcx".into(), String::new()]);
        assert_eq!(matcher.push("abc"), ("a".into(), false));
        assert_eq!(matcher.push("de"), ("b".into(), true));
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_text_gives(
            pieces in prop::collection::vec("[abé]{0,4}", 0..8),
            stops in prop::collection::vec("[abé]{1,3}", 0..3),
        ) {
            let whole = pieces.concat();
            let expected = stops.iter().filter_map(|stop| whole.find(stop.as_str())).min();
            let mut matcher = StopMatcher::new(&stops);
            let mut shown = String::new();
            let mut stopped = false;
            for piece in &pieces {
                let (text, found) = matcher.push(piece);
                shown.push_str(&text);
                if found {
                    stopped = true;
                    break;
                }
            }
            if !stopped {
                shown.push_str(&matcher.finish());
            }
            prop_assert_eq!(stopped, expected.is_some());
            // A stop string may end before an earlier-starting, longer one does: then it is the one found.
            prop_assert!(shown.len() >= expected.unwrap_or(whole.len()));
            prop_assert!(whole.starts_with(&shown));
            prop_assert!(stops.iter().all(|stop| !shown.contains(stop.as_str())));
        }
    }
}
