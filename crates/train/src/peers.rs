//! Data-parallel training: every rank computes the gradients of its rows of the batch, and the ranks share the rest (ZeRO stage 1,
//! Rajbhandari et al. 2020).
//!
//! The arena is cut into buckets from its end, because the backward goes down it, and every bucket into one contiguous share a
//! rank. As soon as a bucket's gradients are final they are on their way, while the backward goes on: each rank receives the sum
//! of its share, updates that with the moments which only it holds, and gives the new weights to all.

use crate::optim::adam::{Adam, Part, Update};
use crate::optim::squared_norm;
use cluster::group::UNDER_WAY_MAX;
use cluster::{Group, Op, piece};
use kernels::pool::Pool;
use model::{Layout, Weights};
use std::ops::Range;

/// Elements of a bucket: 4 MB, enough to be worth a message, few enough that the last one is soon done.
pub(crate) const BUCKET: usize = 1 << 20;

/// Which elements of the arena belong to whom.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    len: usize,
    rank: usize,
    size: usize,
}

impl Shares {
    /// Of an arena of `len` elements among `size` ranks, seen by `rank`.
    pub fn new(len: usize, rank: usize, size: usize) -> Self {
        Self { len, rank, size }
    }

    /// Number of buckets.
    pub fn buckets(&self) -> usize {
        self.len.div_ceil(BUCKET)
    }

    /// Elements of the arena in bucket number `index`, counted from the end of the arena.
    pub fn bucket(&self, index: usize) -> Range<usize> {
        let end = self.len - index * BUCKET;
        end.saturating_sub(BUCKET)..end
    }

    /// This rank's share of a bucket, and where its moments begin: shares lie one after the other in the order of the buckets.
    pub fn own(&self, index: usize) -> Part {
        let bucket = self.bucket(index);
        let own = piece(bucket.len(), self.rank, self.size);
        let moments = index * piece(BUCKET, self.rank, self.size).len();
        Part { range: bucket.start + own.start..bucket.start + own.end, moments }
    }

    /// Elements of all of this rank's shares.
    pub fn own_len(&self) -> usize {
        (0..self.buckets()).map(|index| self.own(index).range.len()).sum()
    }
}

/// The other ranks, and what is on its way to and from them.
pub struct Peers {
    /// this rank's end of the job
    pub group: Group,
    /// who updates what
    pub shares: Shares,
    spare: Vec<Vec<f32>>,
    buffers: usize,
    buffers_max: usize,
    sent: usize,
    returned: usize,
    batches_left: usize,
}

impl Peers {
    /// For the network of `layout`. As many buckets may be under way as a block has, and two.
    pub fn new(group: Group, layout: &Layout) -> Self {
        let shares = Shares::new(layout.len(), group.rank(), group.size());
        let starts = layout.blocks.iter().map(|block| block.start()).chain([layout.final_norm.start]);
        let block = starts.clone().zip(starts.skip(1)).map(|(start, end)| end - start).max().unwrap_or(0);
        let buffers_max = (block.div_ceil(BUCKET) + 2).min(UNDER_WAY_MAX);
        Self {
            group,
            shares,
            spare: Vec::new(),
            buffers: 0,
            buffers_max,
            sent: 0,
            returned: 0,
            batches_left: 0,
        }
    }

    /// A step of `batches` micro-batches begins.
    pub fn begin(&mut self, batches: usize) {
        assert_eq!(self.sent, self.returned, "buckets under way between two steps");
        (self.sent, self.returned, self.batches_left) = (0, 0, batches);
    }

    /// To be asked once before each micro-batch: whether nothing is added to its gradients.
    pub fn is_last_batch(&mut self) -> bool {
        self.batches_left -= 1;
        self.batches_left == 0
    }

    /// The gradients from index `from` upwards are final: sends as many buckets as there is room for, and takes in what has
    /// come back. Does not wait.
    pub fn reduce(&mut self, gradients: &mut [f32], from: usize) {
        while let Some(bucket) = self.group.try_take() {
            self.take_sum(bucket, gradients);
        }
        while self.sent < self.shares.buckets() && self.shares.bucket(self.sent).start >= from {
            let Some(buffer) = self.buffer() else { return };
            self.send_gradients(buffer, gradients);
        }
    }

    /// Waits until all sums are there. The norm is that of the sum over all ranks, the same bits at each.
    pub fn gradient_norm(&mut self, pool: &Pool, gradients: &mut [f32], partial: &mut Vec<f64>) -> f64 {
        let buckets = self.shares.buckets();
        while self.returned < buckets {
            self.reduce(gradients, 0);
            if self.returned < buckets {
                let bucket = self.group.take();
                self.take_sum(bucket, gradients);
            }
        }
        (self.sent, self.returned) = (0, 0);
        let shares = (0..buckets).map(|index| self.shares.own(index).range);
        let own: f64 = shares.map(|range| squared_norm(pool, &gradients[range], partial)).sum();
        let [sum] = self.group.sum([own]);
        sum.sqrt()
    }

    /// One step: updates this rank's shares, and passes all weights on. `gradients` are those that `gradient_norm` left.
    pub fn update(
        &mut self,
        pool: &Pool,
        optimizer: &mut Adam,
        weights: &mut Weights,
        gradients: &[f32],
        update: Update,
    ) {
        optimizer.steps += 1;
        let buckets = self.shares.buckets();
        for index in 0..buckets {
            optimizer.step_part(pool, weights, gradients, update, self.shares.own(index));
            let mut buffer = match self.buffer() {
                Some(buffer) => buffer,
                None => self.take_weights(weights),
            };
            let bucket = self.shares.bucket(index);
            let Range { start, end } = self.shares.own(index).range;
            buffer.resize(bucket.len(), 0.0);
            buffer[start - bucket.start..end - bucket.start].copy_from_slice(&weights.data[start..end]);
            self.group.submit(Op::Gather, buffer);
            self.sent += 1;
        }
        while self.returned < buckets {
            let buffer = self.take_weights(weights);
            self.spare.push(buffer);
        }
        (self.sent, self.returned) = (0, 0);
    }

    fn send_gradients(&mut self, mut buffer: Vec<f32>, gradients: &[f32]) {
        buffer.clear();
        buffer.extend_from_slice(&gradients[self.shares.bucket(self.sent)]);
        self.group.submit(Op::Reduce, buffer);
        self.sent += 1;
    }

    fn take_sum(&mut self, buffer: Vec<f32>, gradients: &mut [f32]) {
        let start = self.shares.bucket(self.returned).start;
        let Range { start: from, end } = self.shares.own(self.returned).range;
        gradients[from..end].copy_from_slice(&buffer[from - start..end - start]);
        self.returned += 1;
        self.spare.push(buffer);
    }

    /// Waits for the oldest bucket of weights under way.
    fn take_weights(&mut self, weights: &mut Weights) -> Vec<f32> {
        let buffer = self.group.take();
        weights.data[self.shares.bucket(self.returned)].copy_from_slice(&buffer);
        self.returned += 1;
        buffer
    }

    /// A buffer to send in, while fewer than the most are under way.
    fn buffer(&mut self) -> Option<Vec<f32>> {
        if let Some(buffer) = self.spare.pop() {
            return Some(buffer);
        }
        let is_more = self.buffers < self.buffers_max;
        self.buffers += usize::from(is_more);
        is_more.then(|| Vec::with_capacity(BUCKET.min(self.shares.len)))
    }

    /// Every rank calls this with its moments `own`: calls `visit` at rank 0 with the whole of
    /// each bucket, from the beginning of the arena. One bucket is in memory at a time.
    pub fn collect<E>(
        &mut self,
        own: &[f32],
        mut visit: impl FnMut(Range<usize>, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        for index in (0..self.shares.buckets()).rev() {
            let (bucket, part) = (self.shares.bucket(index), self.shares.own(index));
            let mut buffer = self.buffer().expect("none is under way");
            buffer.resize(bucket.len(), 0.0);
            let moments = &own[part.moments..][..part.range.len()];
            buffer[part.range.start - bucket.start..][..moments.len()].copy_from_slice(moments);
            self.group.submit(Op::Collect, buffer);
            let buffer = self.group.take();
            if self.group.is_root() {
                visit(bucket, &buffer)?;
            }
            self.spare.push(buffer);
        }
        Ok(())
    }

    /// The way back of [`Self::collect`]: `fill` is called at rank 0 for each bucket, and every rank keeps its shares in `own`.
    pub fn distribute<E>(
        &mut self,
        own: &mut [f32],
        mut fill: impl FnMut(Range<usize>, &mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        for index in (0..self.shares.buckets()).rev() {
            let (bucket, part) = (self.shares.bucket(index), self.shares.own(index));
            let mut buffer = self.buffer().expect("none is under way");
            buffer.resize(bucket.len(), 0.0);
            if self.group.is_root() {
                fill(bucket.clone(), &mut buffer)?;
            }
            self.group.submit(Op::Distribute, buffer);
            let buffer = self.group.take();
            let share = &buffer[part.range.start - bucket.start..][..part.range.len()];
            own[part.moments..][..share.len()].copy_from_slice(share);
            self.spare.push(buffer);
        }
        Ok(())
    }

    /// Rank 0's weights at every rank.
    pub fn broadcast(&mut self, weights: &mut Weights) {
        for index in 0..self.shares.buckets() {
            let bucket = self.shares.bucket(index);
            let mut buffer = self.buffer().expect("none is under way");
            buffer.clear();
            buffer.extend_from_slice(&weights.data[bucket.clone()]);
            self.group.submit(Op::Broadcast, buffer);
            let buffer = self.group.take();
            weights.data[bucket].copy_from_slice(&buffer);
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_ranks_are_the_arena() {
        for (len, size) in [(5, 1), (BUCKET, 3), (3 * BUCKET + 17, 2), (2 * BUCKET + 1, 4)] {
            let mut owners = vec![0u8; len];
            for rank in 0..size {
                let shares = Shares::new(len, rank, size);
                let mut moments = 0;
                for index in 0..shares.buckets() {
                    let part = shares.own(index);
                    assert_eq!(part.moments, moments, "bucket {index} of rank {rank}");
                    moments += part.range.len();
                    owners[part.range].iter_mut().for_each(|count| *count += 1);
                }
                assert_eq!(moments, shares.own_len());
            }
            assert!(owners.iter().all(|count| *count == 1), "{len} elements, {size} ranks");
        }
    }
}
