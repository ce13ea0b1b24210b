//! The keys and values of all sequences, in pages of a fixed number of positions that any sequence can take.

use kernels::{attend, half};

/// Positions of a page.
pub(crate) const PAGE: usize = 32;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KvType {
    /// as computed
    F32,
    /// binary16: half the memory, values rounded to 11 bits and to ±65504
    #[default]
    F16,
}

/// All pages. A page holds, for each layer, keys `(K, PAGE, D)` and then values `(K, PAGE, D)`.
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
        for (kind, row) in [key, value].into_iter().enumerate() {
            for (head, row) in row.chunks_exact(self.size).enumerate() {
                let at = self.at(page, layer, kind, head) + position * self.size;
                match &mut self.data {
                    Data::F32(data) => data[at..at + row.len()].copy_from_slice(row),
                    Data::F16(data) => half::narrow_f16(row, &mut data[at..at + row.len()]),
                }
            }
        }
    }

    /// `scores[g][p] = queries[g] · keys[p] · factor` of the first `positions` of a page; rows of `stride`.
    pub(crate) fn scores(&self, run: Run, queries: &[f32], factor: f32, scores: &mut [f32], stride: usize) {
        let at = self.at(run.page, run.layer, 0, run.head);
        let keys = at..at + run.positions * self.size;
        match &self.data {
            Data::F32(data) => attend::scores_f32(queries, &data[keys], self.size, factor, scores, stride),
            Data::F16(data) => attend::scores_f16(queries, &data[keys], self.size, factor, scores, stride),
        }
    }

    /// `mixed[g] += Σ_p weights[g][p] · values[p]`.
    pub(crate) fn mix(&self, run: Run, weights: &[f32], stride: usize, mixed: &mut [f32]) {
        let at = self.at(run.page, run.layer, 1, run.head);
        let values = at..at + run.positions * self.size;
        match &self.data {
            Data::F32(data) => attend::mix_f32(weights, stride, &data[values], self.size, mixed),
            Data::F16(data) => attend::mix_f16(weights, stride, &data[values], self.size, mixed),
        }
    }

    /// Where the keys (`kind` 0) or values (1) of a head begin.
    fn at(&self, page: u32, layer: usize, kind: usize, head: usize) -> usize {
        let block = ((2 * layer + kind) * self.kv_heads + head) * PAGE * self.size;
        page as usize * self.page + block
    }
}

/// The first `positions` positions of one head of a page.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub page: u32,
    pub layer: usize,
    pub head: usize,
    pub positions: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_attention_reads_them() {
        for kind in [KvType::F32, KvType::F16] {
            let mut pages = Pages::new(kind, 2, 2, 2, 2);
            let page = pages.take();
            pages.write(page, 1, 0, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
            pages.write(page, 1, 1, &[11.0, 12.0, 13.0, 14.0], &[15.0, 16.0, 17.0, 18.0]);
            let run = Run { page, layer: 1, head: 1, positions: 2 };
            let mut scores = [0.0; 2];
            pages.scores(run, &[1.0, 10.0], 0.5, &mut scores, 2);
            assert_eq!(scores, [21.5, 76.5]);
            let mut mixed = [1.0, 0.0];
            pages.mix(run, &[1.0, 0.5], 2, &mut mixed);
            assert_eq!(mixed, [16.5, 17.0]);
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
