//! The C interface of `csrc/distributed.cpp`, made safe: stores, groups and work as owned handles.

use std::ffi::{CString, c_char, c_int};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

use psann_core::{Error, Result};
use tch::Tensor;

use crate::ffi::{Raw, check};

#[repr(C)]
struct RawStore {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct RawBackend {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawWork {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn psann_store_connect(
        address: *const c_char,
        port: u16,
        listener: c_int,
        timeout_ms: i64,
        result: *mut *mut RawStore,
    ) -> c_int;
    fn psann_store_prefixed(store: *const RawStore, prefix: *const c_char, result: *mut *mut RawStore) -> c_int;
    fn psann_store_clone(store: *const RawStore, result: *mut *mut RawStore) -> c_int;
    fn psann_store_free(store: *mut RawStore);
    fn psann_store_set(store: *const RawStore, key: *const c_char, bytes: *const u8, count: usize) -> c_int;
    fn psann_store_get(store: *const RawStore, key: *const c_char, bytes: *mut *mut u8, count: *mut usize) -> c_int;
    fn psann_bytes_free(bytes: *mut u8);
    fn psann_store_add(store: *const RawStore, key: *const c_char, amount: i64, sum: *mut i64) -> c_int;
    fn psann_store_delete(store: *const RawStore, key: *const c_char, existed: *mut c_int) -> c_int;
    fn psann_store_check(store: *const RawStore, key: *const c_char, exists: *mut c_int) -> c_int;
    fn psann_store_wait(store: *const RawStore, key: *const c_char, timeout_ms: i64) -> c_int;
    fn psann_gloo(
        store: *const RawStore,
        rank: c_int,
        size: c_int,
        timeout_ms: i64,
        address: *const c_char,
        threads: c_int,
        result: *mut *mut RawBackend,
    ) -> c_int;
    fn psann_backend_free(backend: *mut RawBackend);
    fn psann_send(
        backend: *const RawBackend,
        tensor: *const Raw,
        peer: c_int,
        tag: c_int,
        result: *mut *mut RawWork,
    ) -> c_int;
    fn psann_receive(
        backend: *const RawBackend,
        tensor: *const Raw,
        peer: c_int,
        tag: c_int,
        result: *mut *mut RawWork,
    ) -> c_int;
    #[cfg(feature = "cuda")]
    fn psann_nccl(
        store: *const RawStore,
        rank: c_int,
        size: c_int,
        timeout_ms: i64,
        device: c_int,
        result: *mut *mut RawBackend,
    ) -> c_int;
    #[cfg(feature = "cuda")]
    fn psann_start_coalescing(backend: *const RawBackend) -> c_int;
    #[cfg(feature = "cuda")]
    fn psann_end_coalescing(backend: *const RawBackend, result: *mut *mut RawWork) -> c_int;
    #[cfg(feature = "cuda")]
    fn psann_gather_even(
        backend: *const RawBackend,
        wholes: *const *const Raw,
        owns: *const *const Raw,
        count: usize,
        result: *mut *mut RawWork,
    ) -> c_int;
    #[cfg(feature = "cuda")]
    fn psann_work_completed(work: *const RawWork, completed: *mut c_int) -> c_int;
    fn psann_work_wait(work: *const RawWork, timeout_ms: i64) -> c_int;
    fn psann_work_abort(work: *const RawWork) -> c_int;
    fn psann_work_free(work: *mut RawWork);
}

/// What an argument of the C interface is made from.
fn text(value: &str) -> Result<CString> {
    CString::new(value).map_err(|_| Error::new(format!("`{}` contains a zero byte", value.escape_debug())))
}

/// c10d takes zero for "no time limit", which no caller here wants.
fn milliseconds(timeout: Duration) -> i64 {
    i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX).clamp(1, i64::from(i32::MAX))
}

/// Takes over a handle that the C interface made.
fn made<T>(status: c_int, handle: *mut T) -> Result<NonNull<T>> {
    check(status)?;
    NonNull::new(handle).ok_or_else(|| Error::new("libtorch returned nothing"))
}

/// A key-value store of c10d.
pub struct StoreHandle(NonNull<RawStore>);

// SAFETY: TCPStore holds a lock during each operation and PrefixStore has no state beyond the store it wraps, so any
// thread may call any operation at any time; the last owner's thread frees it.
unsafe impl Send for StoreHandle {}
// SAFETY: as above.
unsafe impl Sync for StoreHandle {}

impl StoreHandle {
    /// A connection to the store at `address`; with a listener, which is a bound socket, this process serves it too.
    pub fn connect(address: &str, port: u16, listener: Option<OwnedFd>, timeout: Duration) -> Result<Self> {
        let address = text(address)?;
        let listener = listener.map_or(-1, IntoRawFd::into_raw_fd);
        let mut handle = std::ptr::null_mut();
        // SAFETY: the text lives during the call; the socket is ours to give away, and c10d takes it over at once.
        let status =
            unsafe { psann_store_connect(address.as_ptr(), port, listener, milliseconds(timeout), &raw mut handle) };
        made(status, handle).map(Self)
    }

    /// A view of this store whose keys all begin with `prefix/`.
    pub fn prefixed(&self, prefix: &str) -> Result<Self> {
        let prefix = text(prefix)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live store and text; the view shares ownership of the store.
        let status = unsafe { psann_store_prefixed(self.0.as_ptr(), prefix.as_ptr(), &raw mut handle) };
        made(status, handle).map(Self)
    }

    /// The same store through a connection of its own.
    pub fn reconnected(&self) -> Result<Self> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live store.
        let status = unsafe { psann_store_clone(self.0.as_ptr(), &raw mut handle) };
        made(status, handle).map(Self)
    }

    pub fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        let key = text(key)?;
        // SAFETY: a live store, text and bytes, which are copied during the call.
        check(unsafe { psann_store_set(self.0.as_ptr(), key.as_ptr(), value.as_ptr(), value.len()) })
    }

    pub fn get(&self, key: &str) -> Result<Vec<u8>> {
        let key = text(key)?;
        let (mut bytes, mut count) = (std::ptr::null_mut(), 0);
        // SAFETY: a live store and text.
        check(unsafe { psann_store_get(self.0.as_ptr(), key.as_ptr(), &raw mut bytes, &raw mut count) })?;
        // SAFETY: on success the pointer is to `count` bytes that nobody else knows of, even when there are none.
        let value = unsafe { std::slice::from_raw_parts(bytes, count) }.to_vec();
        // SAFETY: the bytes were allocated by the call above and are freed once.
        unsafe { psann_bytes_free(bytes) };
        Ok(value)
    }

    pub fn add(&self, key: &str, amount: i64) -> Result<i64> {
        let key = text(key)?;
        let mut sum = 0;
        // SAFETY: a live store and text.
        check(unsafe { psann_store_add(self.0.as_ptr(), key.as_ptr(), amount, &raw mut sum) })?;
        Ok(sum)
    }

    pub fn delete(&self, key: &str) -> Result<bool> {
        let key = text(key)?;
        let mut existed = 0;
        // SAFETY: a live store and text.
        check(unsafe { psann_store_delete(self.0.as_ptr(), key.as_ptr(), &raw mut existed) })?;
        Ok(existed != 0)
    }

    pub fn contains(&self, key: &str) -> Result<bool> {
        let key = text(key)?;
        let mut exists = 0;
        // SAFETY: a live store and text.
        check(unsafe { psann_store_check(self.0.as_ptr(), key.as_ptr(), &raw mut exists) })?;
        Ok(exists != 0)
    }

    pub fn wait(&self, key: &str, timeout: Duration) -> Result<()> {
        let key = text(key)?;
        // SAFETY: a live store and text.
        check(unsafe { psann_store_wait(self.0.as_ptr(), key.as_ptr(), milliseconds(timeout)) })
    }
}

impl Drop for StoreHandle {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is freed once; views and groups share ownership of what it points to.
        unsafe { psann_store_free(self.0.as_ptr()) }
    }
}

/// A process group of c10d.
pub struct Backend(NonNull<RawBackend>);

// SAFETY: posting sends and receives goes through locks of the transport; only the order of posts matters, and that is
// the caller's to keep. The last owner's thread frees it.
unsafe impl Send for Backend {}
// SAFETY: as above.
unsafe impl Sync for Backend {}

impl Backend {
    /// A group over Gloo; blocks until all ranks are connected. `address` is this machine's own on the network to use.
    pub fn gloo(
        store: &StoreHandle,
        rank: usize,
        size: usize,
        timeout: Duration,
        address: Option<&str>,
    ) -> Result<Self> {
        let address = address.map(text).transpose()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live store, which the group shares ownership of, and text or null. One worker thread: sends and
        // receives use none, and c10d refuses to have none.
        let status = unsafe {
            psann_gloo(
                store.0.as_ptr(),
                rank as c_int,
                size as c_int,
                milliseconds(timeout),
                address.as_ref().map_or(std::ptr::null(), |text| text.as_ptr()),
                1,
                &raw mut handle,
            )
        };
        made(status, handle).map(Self)
    }

    /// A group over NCCL with one GPU a rank; blocks until all ranks are connected.
    #[cfg(feature = "cuda")]
    pub fn nccl(store: &StoreHandle, rank: usize, size: usize, timeout: Duration, device: usize) -> Result<Self> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live store, which the group shares ownership of.
        let status = unsafe {
            psann_nccl(
                store.0.as_ptr(),
                rank as c_int,
                size as c_int,
                milliseconds(timeout),
                device as c_int,
                &raw mut handle,
            )
        };
        made(status, handle).map(Self)
    }

    /// Makes one operation of what is posted until [`Backend::end_coalescing`], whose work must not be waited for.
    #[cfg(feature = "cuda")]
    pub fn start_coalescing(&self) -> Result<()> {
        // SAFETY: a live group.
        check(unsafe { psann_start_coalescing(self.0.as_ptr()) })
    }

    /// The work of all that was posted since [`Backend::start_coalescing`].
    #[cfg(feature = "cuda")]
    pub fn end_coalescing(&self) -> Result<Work> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live group.
        let status = unsafe { psann_end_coalescing(self.0.as_ptr(), &raw mut handle) };
        made(status, handle).map(Work)
    }

    /// Starts to gather tensors of which all ranks have equally large parts.
    #[cfg(feature = "cuda")]
    pub fn gather_even(&self, wholes: &[&Tensor], owns: &[&Tensor]) -> Result<Work> {
        let wholes: Vec<*const Raw> = wholes.iter().map(|tensor| tensor.as_ptr()).collect();
        let owns: Vec<*const Raw> = owns.iter().map(|tensor| tensor.as_ptr()).collect();
        let count = wholes.len().min(owns.len());
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live group and as many live tensors as told; the caller keeps them until the work is done.
        let status =
            unsafe { psann_gather_even(self.0.as_ptr(), wholes.as_ptr(), owns.as_ptr(), count, &raw mut handle) };
        made(status, handle).map(Work)
    }

    /// Starts to send a contiguous tensor, which the work keeps alive.
    pub fn send(&self, tensor: &Tensor, peer: usize, tag: i32) -> Result<Work> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live group and tensor; the work holds the tensor until it is freed.
        let status = unsafe { psann_send(self.0.as_ptr(), tensor.as_ptr(), peer as c_int, tag, &raw mut handle) };
        made(status, handle).map(Work)
    }

    /// Starts to receive into a contiguous tensor, which the work keeps alive.
    pub fn receive(&self, tensor: &Tensor, peer: usize, tag: i32) -> Result<Work> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: as in `send`. The memory is written behind Rust's back, which is what callers of a gather are told.
        let status = unsafe { psann_receive(self.0.as_ptr(), tensor.as_ptr(), peer as c_int, tag, &raw mut handle) };
        made(status, handle).map(Work)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is freed once.
        unsafe { psann_backend_free(self.0.as_ptr()) }
    }
}

/// One send or receive under way. It must be waited for by one thread only, since waiting takes the completion away.
pub struct Work(NonNull<RawWork>);

// SAFETY: c10d's work is made to be waited for on another thread than the one that posted it.
unsafe impl Send for Work {}
// SAFETY: waiting and aborting synchronise on the transport's own lock.
unsafe impl Sync for Work {}

impl Work {
    /// Blocks until the operation is over, at most for `timeout`; a timeout breaks the connections of the whole group.
    pub fn wait(&self, timeout: Duration) -> Result<()> {
        // SAFETY: live work.
        check(unsafe { psann_work_wait(self.0.as_ptr(), milliseconds(timeout)) })
    }

    /// Makes the device's current stream wait for the operation.
    #[cfg(feature = "cuda")]
    pub fn synchronize(&self) -> Result<()> {
        // SAFETY: live work.
        check(unsafe { psann_work_wait(self.0.as_ptr(), 0) })
    }

    /// Whether the device is done; work that failed is.
    #[cfg(feature = "cuda")]
    pub fn is_completed(&self) -> bool {
        let mut completed = 0;
        // SAFETY: live work.
        let status = unsafe { psann_work_completed(self.0.as_ptr(), &raw mut completed) };
        status != 0 || completed != 0
    }

    /// Makes the wait, present or future, return with an error.
    pub fn abort(&self) {
        // SAFETY: live work. A failure to abort leaves the wait to its timeout.
        let _ = unsafe { psann_work_abort(self.0.as_ptr()) };
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and is freed once. Freeing unfinished work is safe: the transport forgets the
        // memory before the tensor that owns it is released.
        unsafe { psann_work_free(self.0.as_ptr()) }
    }
}
