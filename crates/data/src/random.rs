//! Randomness without state: every draw is a function of a seed and a counter, so any position can be returned to.

/// SplitMix64's finaliser (Steele, Lea & Flood 2014, with Stafford's variant 13 of the constants): a bijection of u64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Draw number `counter` of the stream that `seed` and `stream` name.
pub(crate) fn draw(seed: u64, stream: u64, counter: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let key = mix(mix(seed.wrapping_add(GOLDEN)) ^ stream.wrapping_mul(GOLDEN));
    mix(key.wrapping_add(counter.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// A number below `bound` (not zero), by multiplication (Lemire 2019; the bias is below `bound`/2⁶⁴).
pub(crate) fn below(draw: u64, bound: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}

/// A pseudo-random permutation of `0..len` in constant memory: a balanced Feistel network over the next power of four,
/// walked along its cycles until it lands inside (Black & Rogaway 2002).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permutation {
    len: u64,
    half_bits: u32,
    key: u64,
}

impl Permutation {
    const ROUNDS: u64 = 6;

    /// The permutation that `key` names. `len` must not be zero.
    pub(crate) fn new(len: u64, key: u64) -> Self {
        assert!(len > 0, "a permutation of nothing");
        let bits = u64::BITS - (len - 1).leading_zeros();
        Self { len, half_bits: bits.div_ceil(2).max(1), key }
    }

    /// Where `index` (below `len`) goes.
    pub(crate) fn at(&self, index: u64) -> u64 {
        assert!(index < self.len, "index {index} of a permutation of {}", self.len);
        let mut value = self.scramble(index);
        // The network permutes at most 4·len values, so a cycle leaves the range for few steps.
        while value >= self.len {
            value = self.scramble(value);
        }
        value
    }

    fn scramble(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for round in 0..Self::ROUNDS {
            let turned = left ^ (draw(self.key, round, right) & mask);
            (left, right) = (right, turned);
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_permutation_visits_each_index_once(len in 1u64..3000, key: u64) {
            let permutation = Permutation::new(len, key);
            let mut seen = vec![false; len as usize];
            for index in 0..len {
                let to = permutation.at(index) as usize;
                prop_assert!(!std::mem::replace(&mut seen[to], true));
            }
        }

        #[test]
        fn large_permutations_stay_inside(len in 1u64..=u64::MAX, key: u64, index: u64) {
            prop_assert!(Permutation::new(len, key).at(index % len) < len);
        }

        #[test]
        fn below_is_below(value: u64, bound in 1u64..) {
            prop_assert!(below(value, bound) < bound);
        }
    }

    #[test]
    fn permutations_differ_by_key_and_mix() {
        let order = |key| (0..1000).map(|i| Permutation::new(1000, key).at(i)).collect::<Vec<_>>();
        assert_ne!(order(1), order(2));
        let fixed = order(1).iter().enumerate().filter(|&(i, &to)| i as u64 == to).count();
        assert!(fixed < 10, "{fixed} of 1000 stay in place");
        // Neighbours in order must not stay neighbours: the mean distance of a random order is len/3.
        let distance: u64 = order(1).windows(2).map(|w| w[0].abs_diff(w[1])).sum();
        assert!((280..390).contains(&(distance / 999)), "{}", distance / 999);
    }

    #[test]
    fn draws_are_even_and_streams_independent() {
        let mean = |stream| {
            (0..10_000).map(|n| (draw(7, stream, n) >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() / 1e4
        };
        assert!((mean(0) - 0.5).abs() < 0.02 && (mean(1) - 0.5).abs() < 0.02);
        assert_ne!(draw(7, 0, 0), draw(7, 1, 0));
        assert_ne!(draw(7, 0, 0), draw(8, 0, 0));
    }
}
