//! The system calls about processes that the standard library lacks.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::Command;
use std::time::Duration;

/// Makes the program die with the thread that starts it, however that ends.
///
/// The signal comes when the *thread* ends that called `spawn`, not the process: whoever starts a program so has to do it
/// on a thread that lives as long as the program.
#[cfg(target_os = "linux")]
pub(super) fn die_with_this_thread(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let psann = std::process::id();
    let ask = move || {
        // SAFETY: `prctl` with this option reads two integers and touches no memory; `getppid` has no preconditions.
        let (asked, parent) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong), libc::getppid()) };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        // psann died before the signal was asked for: nobody would send it any more.
        if parent.cast_unsigned() == psann { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: between fork and exec other threads of psann may have left any lock locked, the allocator's among them. The
    // closure makes two system calls and errors that are made of a number; it neither allocates nor locks.
    unsafe { command.pre_exec(ask) };
}

/// Elsewhere the system has nothing of the kind; a program ends there when it writes to a pipe that nobody reads.
#[cfg(not(target_os = "linux"))]
pub(super) fn die_with_this_thread(_: &mut Command) {}

/// Waits until a child has ended, and leaves it unreaped: its number stays its own, and that of its group.
pub(super) fn wait_unreaped(child: u32) {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: `info` is valid for writing; all else are integers.
        let done = unsafe { libc::waitid(libc::P_PID, child, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
        // Any other error says that there is no such child any more.
        if done == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Kills the processes of the group that `leader` leads. `leader` must be an unreaped child that leads a group: else the
/// number may be another's.
pub(super) fn kill_group(leader: u32) {
    // SAFETY: two integers. It fails only where nobody is left to be killed, and then there is nothing to do.
    unsafe { libc::killpg(leader.cast_signed(), libc::SIGKILL) };
}

/// Whether reading would not block: there are bytes, or the end. Waits for that, but not longer than `patience`.
pub(super) fn is_readable(pipe: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = patience.as_millis().try_into().unwrap_or(libc::c_int::MAX);
    // SAFETY: one entry, valid for reading and writing; the descriptor is borrowed, and so it is open.
    match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
        ready => Ok(ready > 0),
    }
}
