//! [`Last`]: tables that all blocks of a model share, and all micro-batches of a training.

use std::sync::{Mutex, PoisonError};

/// The last value that was made, with what it was made from.
#[derive(Debug)]
pub struct Last<K, T>(Mutex<Option<(K, T)>>);

impl<K: Copy + PartialEq, T> Last<K, T> {
    /// Nothing has been made.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The value for `key`: shared with the last one if its key is the same, made otherwise.
    pub fn get(&self, key: K, share: impl Fn(&T) -> T, make: impl FnOnce() -> T) -> T {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, value)) if *of == key => share(value),
            _ => share(&last.insert((key, make())).1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_value_is_not_made_again() {
        let last = Last::new();
        let mut made = 0;
        for key in [1, 1, 2, 1] {
            let value = last.get(key, Clone::clone, || {
                made += 1;
                format!("of {key}")
            });
            assert_eq!(value, format!("of {key}"));
        }
        assert_eq!(made, 3);
    }
}
