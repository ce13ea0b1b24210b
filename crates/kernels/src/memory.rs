//! Large blocks of bytes that are written once and read at every token.

use std::ops::{Deref, DerefMut};

/// Zeroed bytes at a page boundary, on huge pages where the system grants them: a walk through gigabytes then misses the
/// address cache five hundred times less often. Memory is taken as it is first written.
pub struct Memory(memmap2::MmapMut);

impl Memory {
    /// `len` zeros.
    ///
    /// # Errors
    /// The system has no room for them.
    pub fn zeroed(len: usize) -> std::io::Result<Self> {
        let map = memmap2::MmapMut::map_anon(len)?;
        // A wish: a system without huge pages serves as well, only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self(map))
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_zero_and_can_be_written() {
        for len in [0, 1, 5 << 20] {
            let mut memory = Memory::zeroed(len).unwrap();
            assert!(memory.len() == len && memory.iter().all(|byte| *byte == 0));
            memory.fill(7);
            assert!(memory.iter().all(|byte| *byte == 7));
        }
    }
}
