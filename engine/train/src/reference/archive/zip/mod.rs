//! Zip archives without compression, small and large (zip64), as torch reads and writes them.
//!
//! Torch aligns the numbers of each entry to 64 bytes by an extra field, and checks CRCs on reading; so do we.

mod directory;
mod writer;

pub use directory::Directory;
pub use writer::ZipWriter;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
/// Extra field of 64-bit sizes.
const EXTRA_64: u16 = 1;

/// An entry of an archive.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Place of the local header.
    header: u64,
    size: u64,
    crc: u32,
}
