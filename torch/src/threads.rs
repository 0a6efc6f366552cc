//! How many threads libtorch computes with.

/// Does `work` on a thread of its own, and with it whatever threads its operations start.
///
/// Each thread that computes gets a team from OpenMP and keeps it until it ends. With two teams there are more threads
/// than cores, and OpenMP then lets idle ones sleep instead of spin: waking them costs more than a small product does. A
/// thread that only prepares what another one computes with should be gone by then.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Threads of one operation.
pub fn get() -> usize {
    tch::get_num_threads() as usize
}

/// Sets the threads of one operation, at least one.
pub fn set(threads: usize) {
    tch::set_num_threads(threads.max(1) as i32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_apart_is_done_on_a_thread_of_its_own_that_is_gone_behind_it() {
        let here = std::thread::current().id();
        let there = apart(|| std::thread::current().id());
        assert_ne!(here, there);
        assert_ne!(there, apart(|| std::thread::current().id()), "each time another one");
    }

    #[test]
    fn a_panic_apart_is_the_callers() {
        let panic = std::panic::catch_unwind(|| apart(|| panic!("out of memory"))).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"out of memory"));
    }
}
