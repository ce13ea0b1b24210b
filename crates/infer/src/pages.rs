//! The keys and values of all sequences, in pages of a fixed number of positions that any sequence can take.

use kernels::{attend, half, quantize};
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
    /// int8: a quarter of the memory, the values of a position and head rounded to 1/127 of the largest
    I8,
}

/// Bytes of one sequence of full length that are worth keeping as computed.
const EXACT_BYTES_MAX: usize = 256 << 20;

impl KvType {
    /// As computed where a sequence of full length is small, else binary16.
    pub fn for_network(config: &Config) -> Self {
        let bytes = Self::F32.bytes_per_position(config).saturating_mul(config.context);
        if bytes <= EXACT_BYTES_MAX { Self::F32 } else { Self::F16 }
    }

    /// Bytes of the keys and values of one position in all layers.
    pub(crate) fn bytes_per_position(self, config: &Config) -> usize {
        let vector = match self {
            Self::F32 => size_of::<f32>() * config.head_size,
            Self::F16 => size_of::<u16>() * config.head_size,
            Self::I8 => config.head_size + size_of::<f32>(),
        };
        2 * config.layers * config.kv_heads * vector
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
    /// codes as the elements lie, and for each block of them (PAGE) units: a value is code · unit of its position
    I8 {
        codes: Vec<i8>,
        units: Vec<f32>,
    },
}

/// Greatest code of int8.
const CODE_MAX: f32 = 127.0;

/// What code 1 stands for; NaN where a value is not finite, so that it is not lost.
fn unit(values: &[f32]) -> f32 {
    match values.iter().all(|value| value.is_finite()) {
        true => quantize::largest_magnitude(values) / CODE_MAX,
        false => f32::NAN,
    }
}

/// `1 / unit`, 0 where all values are too small to have one.
fn inverse(unit: f32) -> f32 {
    if unit >= f32::MIN_POSITIVE { unit.recip() } else { 0.0 }
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
            KvType::I8 => Data::I8 { codes: vec![0; pages * page], units: vec![0.0; pages * page / size] },
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

    /// Whether more than one sequence reads a page.
    pub(crate) fn is_shared(&self, page: u32) -> bool {
        self.users[page as usize] > 1
    }

    /// Makes page `to` equal to page `from`.
    pub(crate) fn copy(&mut self, from: u32, to: u32) {
        fn copy<T: Copy>(elements: &mut [T], len: usize, from: u32, to: u32) {
            let from = from as usize * len;
            elements.copy_within(from..from + len, to as usize * len);
        }
        match &mut self.data {
            Data::F32(data) => copy(data, self.page, from, to),
            Data::F16(data) => copy(data, self.page, from, to),
            Data::I8 { codes, units } => {
                copy(codes, self.page, from, to);
                copy(units, self.page / self.size, from, to);
            }
        }
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
            let places = [&keys, &values].map(|range| range.start / size + position);
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
                Data::I8 { codes, units } => {
                    let (key_unit, value_unit) = (unit(key), unit(value));
                    (units[places[0]], units[places[1]]) = (key_unit, value_unit);
                    let column = codes[keys].iter_mut().skip(position).step_by(PAGE);
                    let scale = inverse(key_unit);
                    column.zip(key).for_each(|(kept, key)| {
                        quantize::round_to_i8(&[*key], scale, std::slice::from_mut(kept))
                    });
                    quantize::round_to_i8(value, inverse(value_unit), &mut codes[values]);
                }
            }
        }
    }

    /// The keys (D, PAGE) of a block, widened into `wide` where they are kept narrower.
    pub(crate) fn keys<'a>(&'a self, block: Block, wide: &'a mut [f32]) -> &'a [f32] {
        let range = self.range(block, 0);
        let wide = &mut wide[..range.len()];
        match &self.data {
            Data::F32(data) => return &data[range],
            Data::F16(data) => half::widen_f16(&data[range], wide),
            Data::I8 { codes, units } => {
                let units = units[range.start / self.size..].first_chunk().expect("a page has PAGE units");
                attend::widen_keys(&codes[range], units, wide);
            }
        }
        wide
    }

    /// The values (`positions`, D) of a block, as [`Pages::keys`].
    pub(crate) fn values<'a>(&'a self, block: Block, positions: usize, wide: &'a mut [f32]) -> &'a [f32] {
        let start = self.range(block, 1).start;
        let range = start..start + positions * self.size;
        let wide = &mut wide[..range.len()];
        match &self.data {
            Data::F32(data) => return &data[range],
            Data::F16(data) => half::widen_f16(&data[range], wide),
            Data::I8 { codes, units } => {
                let units = &units[start / self.size..][..positions];
                attend::widen_values(&codes[range], units, wide);
            }
        }
        wide
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
    fn a_copy_is_the_page_and_changes_no_other() {
        for kind in [KvType::F32, KvType::F16, KvType::I8] {
            let mut pages = Pages::new(kind, 3, 2, 1, 2);
            let [other, from, to] = [(); 3].map(|()| pages.take());
            pages.write(other, 1, 0, &[8.0, 9.0], &[6.0, 7.0]);
            pages.write(from, 1, 5, &[1.0, 2.0], &[3.0, 4.0]);
            pages.copy(from, to);
            let read = |page, layer| {
                let (mut keys, mut values) = ([0.0; 2 * PAGE], [0.0; 2 * PAGE]);
                let block = Block { page, layer, head: 0 };
                (pages.keys(block, &mut keys).to_vec(), pages.values(block, PAGE, &mut values).to_vec())
            };
            assert_eq!((read(to, 0), read(to, 1)), (read(from, 0), read(from, 1)));
            assert!((read(to, 1).0[5] - 1.0).abs() < 0.01 && read(other, 1).0[5] == 0.0);
            assert!((read(other, 1).0[0] - 8.0).abs() < 0.05);
        }
    }

    #[test]
    fn eight_bits_are_within_half_a_step_of_each_position_and_keep_what_is_not_finite() {
        let mut pages = Pages::new(KvType::I8, 1, 1, 1, 3);
        let page = pages.take();
        let rows =
            [[1.0, -0.3, 0.01], [1e-3, 2e-3, -7e-4], [0.0; 3], [f32::NAN, 1.0, 2.0], [1e-45, 0.0, 0.0]];
        for (position, row) in rows.iter().enumerate() {
            pages.write(page, 0, position, row, row);
        }
        let block = Block { page, layer: 0, head: 0 };
        let (mut wide, mut other) = ([0.0; 3 * PAGE], [0.0; 3 * PAGE]);
        let keys = pages.keys(block, &mut wide);
        let values = pages.values(block, rows.len(), &mut other);
        for (p, row) in rows.iter().enumerate() {
            let step = row.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / 127.0;
            for d in 0..3 {
                let (key, value) = (keys[d * PAGE + p], values[p * 3 + d]);
                assert!(key == value || key.is_nan() && value.is_nan());
                match row.iter().all(|x| x.is_finite()) {
                    true => assert!((key - row[d]).abs() <= 0.501 * step + 1e-44, "{key} for {}", row[d]),
                    false => assert!(key.is_nan()),
                }
            }
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
