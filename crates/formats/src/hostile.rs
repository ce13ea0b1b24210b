//! Damaged copies of good files, for the tests of every parser.
//!
//! `FORMATS_HOSTILE_CASES` says how many (default 20000 a parser); the count, the parser and the time are printed.

use std::hint::black_box;
use std::time::Instant;

/// Numbers that overflow something when they are a length, a count or a place.
const EXTREMES: [u64; 12] = [
    0,
    1,
    u64::MAX,
    u64::MAX - 7,
    u64::MAX - 31,
    1 << 63,
    (1 << 63) - 1,
    1 << 61,
    1 << 32,
    u32::MAX as u64,
    1 << 31,
    200_001,
];

/// SplitMix64: small, seeded, the same everywhere.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// One to four times: a bit, a byte, a number near the end of its type, a cut, a piece removed or repeated.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        let end = bytes.len().min(at + 1 + random.below(16));
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes[at] = random.next() as u8,
            2 | 3 => bytes[at] ^= 1 << random.below(8),
            4 | 5 => {
                let extreme = EXTREMES[random.below(EXTREMES.len())].to_le_bytes();
                let width = [4, 8][random.below(2)];
                bytes[at..].iter_mut().zip(&extreme[..width]).for_each(|(byte, new)| *byte = *new);
            }
            6 => drop(bytes.drain(at..end)),
            _ => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// How many cases a parser gets.
pub(crate) fn cases() -> usize {
    let named = std::env::var("FORMATS_HOSTILE_CASES").ok();
    named.map_or(20_000, |text| text.parse().expect("FORMATS_HOSTILE_CASES is a number"))
}

/// Gives damaged copies of the `good` files in turn to `check`, which says whether it took one.
///
/// The first bytes, where the counts are, are damaged more often: every second case leaves what follows byte 96 alone.
pub(crate) fn run(parser: &str, good: &[Vec<u8>], mut check: impl FnMut(&[u8]) -> bool) {
    let (mut random, begin, cases) = (Random(7), Instant::now(), cases());
    let mut taken = 0;
    for case in 0..cases {
        let whole = &good[case % good.len()];
        let (head, rest) =
            whole.split_at(if random.below(2) == 0 { whole.len().min(96) } else { whole.len() });
        let mut bytes = head.to_vec();
        damage(&mut bytes, &mut random);
        bytes.extend(rest);
        taken += usize::from(black_box(check(&bytes)));
    }
    println!("{parser}: {cases} damaged files, {taken} taken, {:.1} s", begin.elapsed().as_secs_f64());
}
