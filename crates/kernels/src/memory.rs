//! Large blocks of memory, on huge pages where the system grants them: of bytes that are written once and read at every token, and
//! of floats that a training step walks through.

use crate::pool::{PerWorker, Pool};
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

/// `vec![0.0; len]` on huge pages where the system grants them.
pub fn zeros(len: usize) -> Vec<f32> {
    let mut floats = vec![0.0; len];
    wish_for_huge_pages(&mut floats);
    floats
}

/// Asks the system for huge pages for memory that is not written yet. A wish: without them it serves as well, only slower.
pub(crate) fn wish_for_huge_pages<T>(memory: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        let range = memory.as_mut_ptr_range();
        let first = range.start.cast::<u8>().map_addr(|addr| addr.next_multiple_of(PAGE));
        let len = range.end.addr().saturating_sub(first.addr()) / PAGE * PAGE;
        if len >= HUGE_PAGE {
            // SAFETY: whole pages inside memory that is borrowed for writing; what they hold does not change.
            let _ = unsafe { rustix::mm::madvise(first.cast(), len, rustix::mm::Advice::LinuxHugepage) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// What the addresses of pages are multiples of on every machine; a multiple of what they are on most.
#[cfg(target_os = "linux")]
const PAGE: usize = 64 << 10;
/// Less than a huge page has nothing to wish for.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Bytes of a task of [`read`]: four streams of a quarter each.
const READ_BYTES: usize = 1 << 20;

/// Reads a word of each cache line once, which brings in the line, in four streams at a time on each thread: what memory gives at most
/// to a walk over weights. Returns the sum of the words, so that nothing is left out.
pub fn read(pool: &Pool, bytes: &[u8]) -> u64 {
    let mut sums = PerWorker::new(pool.threads(), || 0u64);
    pool.for_rows_with(bytes.len() / READ_BYTES, 1, &mut sums, (), |sum, range, ()| {
        *sum = sum.wrapping_add(read_streams(&bytes[range.start * READ_BYTES..range.end * READ_BYTES]));
    });
    sums.iter_mut().fold(0, |total, sum| total.wrapping_add(*sum))
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// The sum of the first words of all lines. No more is done with a line: work on all of its words would let fewer lines be under way
/// at once.
fn read_streams(bytes: &[u8]) -> u64 {
    let (lines, _) = bytes.as_chunks::<LINE>();
    let (first, second) = lines.split_at(lines.len() / 2);
    let [(a, b), (c, d)] = [first, second].map(|half| half.split_at(half.len() / 2));
    let word = |line: &[u8; LINE]| u64::from_le_bytes(*line.first_chunk().expect("a line has eight words"));
    let streams = a.iter().zip(b).zip(c.iter().zip(d));
    streams.fold(0u64, |sum, ((a, b), (c, d))| {
        [a, b, c, d].into_iter().fold(sum, |sum, line| sum.wrapping_add(word(line)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_reads_every_line() {
        let mut memory = Memory::zeroed(3 * READ_BYTES).unwrap();
        let lines = memory.len() as u64 / 64;
        memory.chunks_exact_mut(64).for_each(|line| line[0] = 3);
        assert_eq!(read(&Pool::new(2), &memory), 3 * lines);
    }

    #[test]
    fn vectors_of_any_length_are_zero() {
        for len in [0, 1, 1000, (5 << 20) + 3] {
            let floats = zeros(len);
            assert!(floats.len() == len && floats.iter().all(|float| float.to_bits() == 0));
        }
    }

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
