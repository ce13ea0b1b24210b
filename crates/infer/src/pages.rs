//! The keys and values of all sequences, in pages of a fixed number of positions that any sequence can take.

use kernels::half;
use model::Config;
use std::ops::Range;

/// Positions of a page.
pub(crate) use kernels::attend::PAGE;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// as computed
    F32,
    /// binary16: half the memory, values rounded to 11 bits and to ±65504
    F16,
}

/// Bytes of one sequence of full length that are worth keeping as computed.
const EXACT_BYTES_MAX: usize = 256 << 20;

impl KvType {
    /// As computed where a sequence of full length is small, else binary16.
    pub fn for_network(config: &Config) -> Self {
        let elements = 2 * config.layers * config.kv_width() * config.context;
        if elements * size_of::<f32>() <= EXACT_BYTES_MAX { Self::F32 } else { Self::F16 }
    }
}

/// All pages. A page holds, for each layer, keys `(K, D, PAGE)` and then values `(K, PAGE, D)`: both as attention reads them.
pub(crate) struct Pages {
    data: Data,
    /// elements of one page, all layers
    page: usize,
    /// K
    kv_heads: usize,
    /// D
    size: usize,
    free: Vec<u32>,
    /// sequences that read a page
    users: Vec<u32>,
}

enum Data {
    F32(Vec<f32>),
    F16(Vec<u16>),
}

/// One head of one layer of a page.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub page: u32,
    pub layer: usize,
    pub head: usize,
}

impl Pages {
    /// `pages` empty pages; the system hands out the memory as it is first written.
    pub(crate) fn new(kind: KvType, pages: usize, layers: usize, kv_heads: usize, size: usize) -> Self {
        let page = 2 * layers * kv_heads * PAGE * size;
        let data = match kind {
            KvType::F32 => Data::F32(vec![0.0; pages * page]),
            KvType::F16 => Data::F16(vec![0; pages * page]),
        };
        let free = (0..pages as u32).rev().collect();
        Self { data, page, kv_heads, size, free, users: vec![0; pages] }
    }

    /// Pages that nobody uses.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a page; there is one, because admission counted.
    pub(crate) fn take(&mut self) -> u32 {
        let page = self.free.pop().expect("admission leaves a page for every position");
        self.users[page as usize] = 1;
        page
    }

    /// Adds a reader.
    pub(crate) fn share(&mut self, page: u32) {
        self.users[page as usize] += 1;
    }

    /// Takes a reader away; the last one frees the page.
    pub(crate) fn release(&mut self, page: u32) {
        let users = &mut self.users[page as usize];
        *users -= 1;
        if *users == 0 {
            self.free.push(page);
        }
    }

    /// Stores `key` and `value` (K·D) of one position of a page.
    pub(crate) fn write(&mut self, page: u32, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        let size = self.size;
        for (head, (key, value)) in key.chunks_exact(size).zip(value.chunks_exact(size)).enumerate() {
            let block = Block { page, layer, head };
            let (keys, values) = (self.range(block, 0), self.range(block, 1));
            let values = values.start + position * size..values.start + (position + 1) * size;
            match &mut self.data {
                Data::F32(data) => {
                    let column = data[keys].iter_mut().skip(position).step_by(PAGE);
                    column.zip(key).for_each(|(kept, key)| *kept = *key);
                    data[values].copy_from_slice(value);
                }
                Data::F16(data) => {
                    let column = data[keys].iter_mut().skip(position).step_by(PAGE);
                    column
                        .zip(key)
                        .for_each(|(kept, key)| half::narrow_f16(&[*key], std::slice::from_mut(kept)));
                    half::narrow_f16(value, &mut data[values]);
                }
            }
        }
    }

    /// The keys (D, PAGE) of a block, widened into `wide` where they are kept narrower.
    pub(crate) fn keys<'a>(&'a self, block: Block, wide: &'a mut [f32]) -> &'a [f32] {
        self.widened(self.range(block, 0), wide)
    }

    /// The values (`positions`, D) of a block, as [`Pages::keys`].
    pub(crate) fn values<'a>(&'a self, block: Block, positions: usize, wide: &'a mut [f32]) -> &'a [f32] {
        let start = self.range(block, 1).start;
        self.widened(start..start + positions * self.size, wide)
    }

    fn widened<'a>(&'a self, range: Range<usize>, wide: &'a mut [f32]) -> &'a [f32] {
        match &self.data {
            Data::F32(data) => &data[range],
            Data::F16(data) => {
                let wide = &mut wide[..range.len()];
                half::widen_f16(&data[range], wide);
                wide
            }
        }
    }

    /// Where the keys (`kind` 0) or values (1) of a block lie.
    fn range(&self, block: Block, kind: usize) -> Range<usize> {
        let len = PAGE * self.size;
        let number = (2 * block.layer + kind) * self.kv_heads + block.head;
        let start = block.page as usize * self.page + number * len;
        start..start + len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_as_attention_reads_them() {
        for kind in [KvType::F32, KvType::F16] {
            let mut pages = Pages::new(kind, 2, 2, 2, 2);
            let page = pages.take();
            pages.write(page, 1, 0, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
            pages.write(page, 1, 1, &[11.0, 12.0, 13.0, 14.0], &[15.0, 16.0, 17.0, 18.0]);
            let block = Block { page, layer: 1, head: 1 };
            let mut wide = [0.0; 2 * PAGE];
            let keys = pages.keys(block, &mut wide);
            assert_eq!(
                (keys[..2].to_vec(), keys[PAGE..PAGE + 2].to_vec()),
                (vec![3.0, 13.0], vec![4.0, 14.0])
            );
            assert_eq!(pages.values(block, 2, &mut wide), [7.0, 8.0, 17.0, 18.0]);
        }
    }

    #[test]
    fn a_shared_page_is_free_when_its_last_reader_leaves() {
        let mut pages = Pages::new(KvType::F16, 1, 1, 1, 2);
        let page = pages.take();
        pages.share(page);
        pages.release(page);
        assert_eq!(pages.free(), 0);
        pages.release(page);
        assert_eq!(pages.free(), 1);
    }
}
