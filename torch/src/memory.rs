//! What the process and its device use, and how freed memory is kept.

use std::fs;

use tch::Device;

/// Bytes resident now; 0 where the system does not tell (only Linux does).
pub fn resident() -> u64 {
    field("VmRSS")
}

/// Most bytes ever resident, or since [`reset_peak`]; 0 where the system does not tell.
pub fn peak_resident() -> u64 {
    field("VmHWM")
}

/// Makes the peak start anew at what is resident now; false where the system does not allow it.
pub fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn field(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Memory that a device's tensors use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Bytes in tensors now.
    pub used: u64,
    /// Most bytes so far.
    pub peak: u64,
}

/// Memory of `device`. On the CPU it is the process's; other devices are not counted yet and give `None`.
pub fn device(device: Device) -> Option<DeviceMemory> {
    match device {
        Device::Cpu => Some(DeviceMemory { used: resident(), peak: peak_resident() }),
        _ => None,
    }
}

/// What becomes of freed memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freed {
    /// Big blocks are kept for the next allocation. A training step allocates and frees the same hundreds of megabytes
    /// each time; getting them back page by page costs a fifth of a small model's step.
    Kept,
    /// Big blocks go back to the system at once: nothing is held in the gaps between blocks that stay.
    Returned,
}

/// Says what becomes of freed memory from now on. Settings of the user's own (`MALLOC_…_`) win; other C libraries than
/// glibc do as they do.
pub fn set_freed(freed: Freed) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_MMAP_THRESHOLD_").is_none() && std::env::var_os("MALLOC_TRIM_THRESHOLD_").is_none() {
        let bytes: libc::c_int = match freed {
            Freed::Kept => 1 << 30,
            Freed::Returned => 1 << 20,
        };
        // SAFETY: mallopt changes two parameters of the allocator under its own lock and touches no memory of ours.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
            libc::mallopt(libc::M_TRIM_THRESHOLD, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_follows_an_allocation() {
        let before = super::resident();
        let block = vec![1_u8; 64 << 20];
        assert!(super::resident() >= before + (60 << 20), "{}", block[block.len() / 2]);
        assert!(super::peak_resident() >= super::resident());
    }
}
