//! Which partitions a sample reads.

use psann_core::source::Partition;

/// A partition of the sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// Position in the list of partitions.
    pub partition: usize,
    /// Its weight among the chosen ones; their sum is 1.
    pub weight: f64,
}

/// The partitions to read, in the order in which to read them: shuffled, so that those read before time runs out stand
/// for the whole source.
///
/// All of them when there are no more than `most`. Else the source is laid out byte by byte and met at `most` evenly
/// spaced places from a first one that `seed` gives: a partition's chance, and its weight when it is met more than once,
/// is its size. Partitions without a size are left out.
pub fn choose(partitions: &[Partition], most: usize, seed: u64) -> Vec<Chosen> {
    let most = most.max(1);
    let total: u64 = partitions.iter().map(|partition| partition.bytes).sum();
    let sized = partitions.iter().filter(|partition| partition.bytes > 0).count();
    let mut chosen = Vec::new();
    if sized <= most {
        for (index, partition) in partitions.iter().enumerate().filter(|(_, partition)| partition.bytes > 0) {
            chosen.push(Chosen { partition: index, weight: partition.bytes as f64 / total as f64 });
        }
    } else {
        let step = total as f64 / most as f64;
        let first = (mixed(seed) >> 11) as f64 / (1_u64 << 53) as f64;
        let (mut met, mut end) = (0, 0.0);
        for (index, partition) in partitions.iter().enumerate() {
            end += partition.bytes as f64;
            let before = met;
            while met < most && (met as f64 + first) * step < end {
                met += 1;
            }
            if met > before {
                chosen.push(Chosen { partition: index, weight: (met - before) as f64 / most as f64 });
            }
        }
    }
    chosen.sort_by_key(|one| mixed(seed ^ mixed(one.partition as u64)));
    chosen
}

fn mixed(number: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(sizes: &[u64]) -> Vec<Partition> {
        let one = |(index, bytes): (usize, &u64)| Partition {
            index,
            location: index.to_string(),
            start: 0,
            end: None,
            bytes: *bytes,
        };
        sizes.iter().enumerate().map(one).collect()
    }

    fn indices(chosen: &[Chosen]) -> Vec<usize> {
        let mut indices: Vec<usize> = chosen.iter().map(|one| one.partition).collect();
        indices.sort_unstable();
        indices
    }

    #[test]
    fn few_partitions_are_all_read_and_many_are_met_evenly() {
        let few = choose(&partitions(&[10, 0, 30]), 4, 0);
        assert_eq!(indices(&few), [0, 2]);
        assert!((few.iter().map(|one| one.weight).sum::<f64>() - 1.0).abs() < 1e-12);
        for seed in 0..20 {
            let chosen = choose(&partitions(&[5; 100]), 10, seed);
            let indices = indices(&chosen);
            assert!(indices.windows(2).all(|pair| pair[1] - pair[0] == 10), "{indices:?}");
            assert_eq!(chosen, choose(&partitions(&[5; 100]), 10, seed));
        }
        assert!(choose(&[], 4, 0).is_empty());
    }

    #[test]
    fn a_large_partition_is_met_as_often_as_its_size_says() {
        let mut sizes = vec![1; 50];
        sizes[20] = 50;
        let chosen = choose(&partitions(&sizes), 10, 3);
        let large = chosen.iter().find(|one| one.partition == 20).unwrap();
        assert!((0.4..=0.6).contains(&large.weight), "{chosen:?}");
        assert!((chosen.iter().map(|one| one.weight).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
