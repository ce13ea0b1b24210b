//! The keys and values of the tokens seen, of one layer.

/// One allocation: keys `(K, C, D)`, then values transposed `(K, D, C)`, C places of the context. Both lie as attention
/// reads them: a score is the product of two rows of D, a mixed value that of two rows of positions.
pub(crate) struct Cache {
    data: Vec<f32>,
    context: usize,
    head_size: usize,
}

impl Cache {
    /// Zeros; the system hands out the memory as it is first written.
    pub(crate) fn new(context: usize, kv_heads: usize, head_size: usize) -> Self {
        Self { data: vec![0.0; 2 * kv_heads * context * head_size], context, head_size }
    }

    /// Stores `key` and `value` `(K·D)` of one position.
    pub(crate) fn write(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let (context, size) = (self.context, self.head_size);
        let (keys, values) = self.data.split_at_mut(key.len() * context);
        for (head, key) in key.chunks_exact(size).enumerate() {
            keys[(head * context + position) * size..][..size].copy_from_slice(key);
        }
        for (row, value) in value.iter().enumerate() {
            values[row * context + position] = *value;
        }
    }

    /// Keys of the first `positions` positions `(positions, D)`.
    pub(crate) fn keys(&self, head: usize, positions: usize) -> &[f32] {
        &self.data[head * self.context * self.head_size..][..positions * self.head_size]
    }

    /// Element `index` of the values of the first `positions` positions.
    pub(crate) fn values(&self, head: usize, index: usize, positions: usize) -> &[f32] {
        let row = head * self.head_size + index;
        &self.data[self.data.len() / 2 + row * self.context..][..positions]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_attention_reads_them() {
        let mut cache = Cache::new(3, 2, 2);
        cache.write(0, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
        cache.write(1, &[11.0, 12.0, 13.0, 14.0], &[15.0, 16.0, 17.0, 18.0]);
        assert_eq!(cache.keys(0, 2), [1.0, 2.0, 11.0, 12.0]);
        assert_eq!(cache.keys(1, 1), [3.0, 4.0]);
        assert_eq!(cache.values(0, 1, 2), [6.0, 16.0]);
        assert_eq!(cache.values(1, 0, 2), [7.0, 17.0]);
    }
}
