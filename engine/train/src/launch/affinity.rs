//! Gives each rank cores of its own: what is started while a thread is pinned inherits its cores.

use psann_core::{Error, Result};

/// The cores of this process cut into `parts` equal runs; the last ones may be left over. `None` when there are fewer
/// cores than parts.
fn shares(cores: &[usize], parts: usize) -> Option<Vec<&[usize]>> {
    let each = cores.len() / parts.max(1);
    (each > 0).then(|| cores.chunks(each).take(parts).collect())
}

/// Runs `start` with the calling thread pinned to share `part` of `parts`.
///
/// # Errors
/// When there are fewer cores than parts, or the system refuses.
#[cfg(target_os = "linux")]
pub fn pinned<T>(part: usize, parts: usize, start: impl FnOnce() -> T) -> Result<T> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let refused = |e: rustix::io::Errno| Error::new("cannot pin a rank to cores").because(e);
    let before = sched_getaffinity(None).map_err(refused)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core)).collect();
    let shares = shares(&cores, parts).ok_or_else(|| {
        Error::usage(format!("{parts} ranks cannot have cores of their own: there are {}", cores.len()))
    })?;
    let mut share = CpuSet::new();
    for core in shares[part] {
        share.set(*core);
    }
    sched_setaffinity(None, &share).map_err(refused)?;
    let started = start();
    sched_setaffinity(None, &before).map_err(refused)?;
    Ok(started)
}

/// Only Linux lets a process choose its cores.
#[cfg(not(target_os = "linux"))]
pub fn pinned<T>(_: usize, _: usize, _: impl FnOnce() -> T) -> Result<T> {
    Err(Error::usage("ranks can be pinned to cores on Linux only"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_and_do_not_overlap() {
        let cores = [0, 1, 4, 5, 6];
        assert_eq!(shares(&cores, 2), Some(vec![&cores[0..2], &cores[2..4]]));
        assert_eq!(shares(&cores, 5).map(|shares| shares.len()), Some(5));
        assert_eq!(shares(&cores, 6), None);
    }
}
