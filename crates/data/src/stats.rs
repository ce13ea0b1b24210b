//! Measures of a token stream: what a loss can be compared with, and whether the text is varied.

use crate::manifest::SplitFacts;
use crate::shard::Stream;
use serde::{Deserialize, Serialize};

/// Tokens that the n-gram measures look at: a share of distinct n-grams depends on how many are counted, so it is
/// always taken over about as many.
const SAMPLE_TOKENS: u64 = 1 << 20;
/// The sample is taken in runs of this many tokens, evenly spaced over the split.
const RUN_TOKENS: u64 = 1 << 10;
/// Below this many sampled tokens nothing is said about variety.
const JUDGED_TOKENS_MIN: u64 = 10_000;
/// See [`warnings`].
const NARROW_TRIGRAMS: f64 = 0.15;
/// Most token kinds' worth of the vocabulary that a healthy text leaves unused.
const UNUSED_SHARE_MAX: f64 = 0.5;

/// Measures of the train split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Bytes of text per token, end-of-text tokens counted.
    pub bytes_per_token: f64,
    /// Entropy of the token frequencies, nats per token: the loss of a model that knows these and nothing else.
    pub unigram_entropy: f64,
    /// The same in bits per byte of text.
    pub unigram_bits_per_byte: f64,
    /// Ids that occur.
    pub types: u64,
    /// Tokens in the sample for the next measure.
    pub sampled_tokens: u64,
    /// Distinct n-grams per n-gram of the sample, n = 1, 2, 3.
    pub distinct: [f64; 3],
}

/// (V) how often each id occurs in a stream.
pub(crate) fn count(stream: &Stream, vocabulary: usize) -> Vec<u64> {
    let mut counts = vec![0; vocabulary];
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    while at < stream.tokens() {
        let len = (stream.tokens() - at).min(buffer.len() as u64);
        let ids = &mut buffer[..len as usize];
        stream.read(at, ids);
        for &id in &*ids {
            counts[id as usize] += 1;
        }
        at += len;
    }
    counts
}

/// Entropy of a distribution given by counts, in nats; 0 for no counts.
pub fn entropy(counts: &[u64]) -> f64 {
    let total = counts.iter().sum::<u64>() as f64;
    let term = |&count: &u64| {
        let p = count as f64 / total;
        -p * p.ln()
    };
    counts.iter().filter(|&&c| c > 0).map(term).sum()
}

/// Measures a stream whose ids were counted.
pub(crate) fn measure(stream: &Stream, counts: &[u64], facts: &SplitFacts) -> Statistics {
    let unigram_entropy = entropy(counts);
    let (tokens, bytes) = (facts.tokens as f64, facts.bytes as f64);
    let (sampled_tokens, distinct) = distinct_ngrams(stream);
    Statistics {
        bytes_per_token: bytes / tokens,
        unigram_entropy,
        unigram_bits_per_byte: unigram_entropy / std::f64::consts::LN_2 * tokens / bytes,
        types: counts.iter().filter(|&&c| c > 0).count() as u64,
        sampled_tokens,
        distinct,
    }
}

/// Size of the sample, and distinct n-grams per n-gram for n = 1, 2, 3.
fn distinct_ngrams(stream: &Stream) -> (u64, [f64; 3]) {
    let runs = (stream.tokens().min(SAMPLE_TOKENS) / RUN_TOKENS).max(1);
    let len = stream.tokens().min(RUN_TOKENS);
    let mut sample = vec![vec![0; len as usize]; runs as usize];
    for (run, ids) in sample.iter_mut().enumerate() {
        let begin = (stream.tokens() - len) as u128 * run as u128 / runs as u128;
        stream.read(begin as u64, ids);
    }
    // Ids have at most 20 bits (the largest vocabulary a tokenizer may have), so three fit into one word.
    let word = |ids: &[u32]| ids.iter().fold(0, |word, &id| word << 21 | u64::from(id));
    let distinct = [1, 2, 3].map(|n| {
        let mut grams: Vec<u64> = sample.iter().flat_map(|ids| ids.windows(n)).map(word).collect();
        let all = grams.len().max(1);
        grams.sort_unstable();
        grams.dedup();
        grams.len() as f64 / all as f64
    });
    (runs * len, distinct)
}

/// What a model trained on this text will suffer from.
///
/// *Narrow domain*: of a million tokens, fewer than 15 of 100 trigrams are distinct. Measured with a BPE of 8192: novels
/// 68, Shakespeare's plays 56, the built-in generated corpus 3. Templates and logs are like the latter: a model fits
/// such text to a loss that says nothing about language. A shorter sample repeats less, so a small corpus is judged
/// mildly, and one below 10,000 tokens not at all.
pub(crate) fn warnings(statistics: &Statistics) -> Vec<String> {
    let trigrams = statistics.distinct[2];
    if statistics.sampled_tokens < JUDGED_TOKENS_MIN || trigrams >= NARROW_TRIGRAMS {
        return Vec::new();
    }
    vec![format!(
        "a single narrow domain: {:.1} of 100 trigrams are distinct (below {:.0}); add text of other kinds, or \
         expect a model that knows only these phrases",
        trigrams * 100.0,
        NARROW_TRIGRAMS * 100.0
    )]
}

/// What says that tokenizer and text do not fit.
pub(crate) fn doubts(
    counts: &[u64],
    token_bytes: &[u16],
    facts: &SplitFacts,
    end_of_text: u32,
) -> Vec<String> {
    let mut doubts = Vec::new();
    let inner = counts[end_of_text as usize].saturating_sub(facts.documents);
    if inner > 0 {
        doubts.push(format!(
            "the end-of-text token is spelled out {inner} times inside documents; part them there (a line of its own \
             in text files, a row of its own elsewhere)"
        ));
    }
    let spelled: u64 = counts.iter().zip(token_bytes).map(|(&c, &b)| c * u64::from(b)).sum();
    let lost = spelled.abs_diff(facts.bytes);
    if inner == 0 && lost * 1000 > facts.bytes {
        doubts.push(format!(
            "the tokens spell {spelled} bytes where the text has {}: the tokenizer changes text, and bits per byte \
             are of the changed one",
            facts.bytes
        ));
    }
    let unused = counts.iter().filter(|&&c| c == 0).count() as f64 / counts.len() as f64;
    if unused > UNUSED_SHARE_MAX {
        doubts.push(format!(
            "{:.0} % of the vocabulary of {} never occurs; a smaller one of this text's own saves parameters",
            unused * 100.0,
            counts.len()
        ));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_known_distributions() {
        assert_eq!(entropy(&[]), 0.0);
        assert_eq!(entropy(&[0, 5]), 0.0);
        assert!((entropy(&[3; 8]) - 8f64.ln()).abs() < 1e-12);
        assert!((entropy(&[1, 3]) - 0.562_335_144_6).abs() < 1e-9);
    }

    #[test]
    fn warnings_fire_and_keep_silent() {
        let facts = SplitFacts { documents: 2, bytes: 1000, ..SplitFacts::default() };
        let mut statistics = Statistics {
            sampled_tokens: JUDGED_TOKENS_MIN,
            distinct: [0.1, 0.3, NARROW_TRIGRAMS],
            ..Statistics::default()
        };
        assert!(warnings(&statistics).is_empty());
        statistics.distinct[2] = 0.1;
        assert!(warnings(&statistics)[0].contains("narrow domain: 10.0 of 100"));
        statistics.sampled_tokens -= 1;
        assert!(warnings(&statistics).is_empty());

        let sound = [2, 500, 0];
        let token_bytes = [0, 2, 1];
        assert!(doubts(&sound, &token_bytes, &facts, 0).is_empty());
        assert!(doubts(&[5, 500, 0], &token_bytes, &facts, 0)[0].contains("spelled out 3 times"));
        assert!(doubts(&[2, 400, 0], &token_bytes, &facts, 0)[0].contains("changes text"));
        assert!(
            doubts(&[2, 500, 0, 0, 0], &[0, 2, 1, 1, 1], &facts, 0)[0].contains("60 % of the vocabulary")
        );
    }
}
