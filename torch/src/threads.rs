//! How many threads libtorch computes with.

/// Threads of one operation.
pub fn get() -> usize {
    tch::get_num_threads() as usize
}

/// Sets the threads of one operation, at least one.
pub fn set(threads: usize) {
    tch::set_num_threads(threads.max(1) as i32);
}
