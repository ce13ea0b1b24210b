//! Batches from one or several data sets, or from conversations, in an order that is a function of the seed, with an exact cursor.
//!
//! A split of T tokens has ⌊(T−1)/sequence⌋ windows of `sequence + 1` tokens that overlap by one, so each token is a
//! target once a pass. Training draws, for each window of a batch, first the data set (by weight, from a counter) and
//! then that set's next window in the shuffled order of its current pass; validation reads everything once in order.

use crate::chats::Chats;
use crate::dataset::Dataset;
use crate::manifest::sha256_hex;
use crate::random::{self, Permutation};
use crate::{DataError, Split};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A target that is not scored: the first token of the next document, and padding.
pub const IGNORE: u32 = u32::MAX;
/// Longest window and largest batch; far above what memory allows, so that sizes cannot overflow.
const SIZE_MAX: usize = 1 << 24;
/// Streams of random draws: which data set, and (plus its index) in which order.
const STREAM_MIXTURE: u64 = 0;
const STREAM_ORDER: u64 = 1;

/// A data set with its weight in the mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// A folder of `trilobit data prepare`.
    pub path: PathBuf,
    /// Share of the training windows, relative to the other weights; above zero. Validation ignores it.
    pub weight: f64,
}

/// The size and order of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Windows in a batch, B.
    pub batch: usize,
    /// Positions in a window, T.
    pub sequence: usize,
    /// Determines mixture and order.
    pub seed: u64,
    /// Whether a token sees its own document only; else all that is before it in the window.
    pub document_mask: bool,
}

/// Inputs and targets of one step, all (B, T) row-major.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// (B, T) inputs.
    pub tokens: Vec<u32>,
    /// (B, T) the token after each input, or [`IGNORE`].
    pub targets: Vec<u32>,
    /// (B, T) index inside the window of the first token of position i's document: i attends to `starts[i]..=i`.
    pub starts: Vec<u32>,
}

/// Where a loader stands. Small, and part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Data, weights, split, sequence and seed, as a hash: a cursor fits only the loader it came from.
    pub identity: String,
    /// Windows given out.
    pub windows: u64,
    /// Windows given out by data set.
    pub drawn: Vec<u64>,
}

/// Gives out batches. See the module.
#[derive(Debug)]
pub struct Loader {
    members: Vec<Member>,
    split: Split,
    options: LoaderOptions,
    /// Rows of each batch that are read.
    rows: Range<usize>,
    cursor: Cursor,
}

#[derive(Debug)]
struct Member {
    content: Content,
    /// A draw up to here, and above the member before, chooses this one.
    threshold: u64,
    /// In one pass.
    windows: u64,
}

/// What windows are made from.
#[derive(Debug)]
enum Content {
    Tokens(Box<Dataset>),
    Conversations(Arc<Chats>),
}

impl Loader {
    /// Opens and verifies the data sets.
    ///
    /// # Errors
    /// A data set that cannot be opened, is shorter than one window, or has another tokenizer than the first; a weight
    /// that is not above zero; a batch or sequence of zero.
    pub fn open(sources: &[Source], split: Split, options: LoaderOptions) -> Result<Self, DataError> {
        check(sources, &options)?;
        let total: f64 = sources.iter().map(|s| s.weight).sum();
        let (mut datasets, mut members, mut sum) = (Vec::<Dataset>::new(), Vec::new(), 0.0);
        for source in sources {
            let dataset = Dataset::open(&source.path)?;
            if let Some(first) = datasets.first() {
                same_tokenizer(first, &dataset)?;
            }
            datasets.push(dataset);
        }
        let fingerprints = datasets.iter().map(|dataset| dataset.fingerprint().to_owned());
        let identity =
            identity(fingerprints.zip(sources.iter().map(|source| source.weight)), split, &options);
        for (dataset, source) in datasets.into_iter().zip(sources) {
            sum += source.weight;
            members.push(Member {
                windows: windows(&dataset, split, options.sequence)?,
                content: Content::Tokens(Box::new(dataset)),
                threshold: (sum / total * u64::MAX as f64) as u64,
            });
        }
        // Rounding must not leave a draw without a member.
        members.last_mut().expect("checked above").threshold = u64::MAX;
        Ok(Self::of_members(members, identity, split, options))
    }

    /// Gives out windows of conversations.
    ///
    /// # Errors
    /// A batch of zero.
    ///
    /// # Panics
    /// When they were packed for windows of another length.
    pub fn of_chats(chats: Arc<Chats>, split: Split, options: LoaderOptions) -> Result<Self, DataError> {
        check_sizes(&options)?;
        assert_eq!(chats.sequence(), options.sequence, "windows as they were packed");
        let identity = identity([(chats.fingerprint().to_owned(), 1.0)].into_iter(), split, &options);
        let windows = chats.windows(split);
        let member = Member { content: Content::Conversations(chats), threshold: u64::MAX, windows };
        Ok(Self::of_members(vec![member], identity, split, options))
    }

    fn of_members(members: Vec<Member>, identity: String, split: Split, options: LoaderOptions) -> Self {
        let cursor = Cursor { identity, windows: 0, drawn: vec![0; members.len()] };
        Self { members, split, rows: 0..options.batch, options, cursor }
    }

    /// From now on gives out only these rows of each batch; the cursor moves over all of them. So ranks that keep different
    /// rows read together what one process would read alone, and their cursors are the same.
    ///
    /// # Panics
    /// When a batch has no such rows.
    pub fn keep_rows(&mut self, rows: Range<usize>) {
        assert!(
            rows.start < rows.end && rows.end <= self.options.batch,
            "{rows:?} of {}",
            self.options.batch
        );
        self.rows = rows;
    }

    /// Fills `batch` with the next windows. The first call sizes it; later ones do not allocate.
    ///
    /// Training never ends. Validation returns false, and leaves `batch` as it is, when every window was given out; its
    /// last batch is padded with rows whose targets are all [`IGNORE`].
    pub fn next(&mut self, batch: &mut Batch) -> bool {
        if self.split == Split::Valid && self.cursor.windows == self.windows() {
            return false;
        }
        let sequence = self.options.sequence;
        for buffer in [&mut batch.tokens, &mut batch.targets, &mut batch.starts] {
            buffer.resize(self.rows.len() * sequence, 0);
        }
        for row in 0..self.options.batch {
            let window = self.draw();
            if !self.rows.contains(&row) {
                continue;
            }
            let row = row - self.rows.start;
            let range = row * sequence..(row + 1) * sequence;
            let tokens = &mut batch.tokens[range.clone()];
            let targets = &mut batch.targets[range.clone()];
            let starts = &mut batch.starts[range];
            match window {
                Some((member, window)) => self.fill(member, window, tokens, targets, starts),
                None => {
                    tokens.fill(0);
                    targets.fill(IGNORE);
                    starts.fill(0);
                }
            }
        }
        if !self.options.document_mask {
            batch.starts.fill(0);
        }
        true
    }

    /// The next window: index of its data set, and its number there.
    fn draw(&mut self) -> Option<(usize, u64)> {
        let next = match self.split {
            Split::Train => self.draw_shuffled(),
            Split::Valid => self.draw_in_order()?,
        };
        self.cursor.windows += 1;
        self.cursor.drawn[next.0] += 1;
        Some(next)
    }

    fn draw_shuffled(&self) -> (usize, u64) {
        let seed = self.options.seed;
        let choice = random::draw(seed, STREAM_MIXTURE, self.cursor.windows);
        let member = self.members.partition_point(|m| m.threshold < choice);
        let windows = self.members[member].windows;
        let (pass, index) = (self.cursor.drawn[member] / windows, self.cursor.drawn[member] % windows);
        let key = random::draw(seed, STREAM_ORDER + member as u64, pass);
        (member, Permutation::new(windows, key).at(index))
    }

    fn draw_in_order(&self) -> Option<(usize, u64)> {
        let member = self.members.iter().zip(&self.cursor.drawn).position(|(m, &drawn)| drawn < m.windows)?;
        Some((member, self.cursor.drawn[member]))
    }

    /// Copies one window. All slices are (T).
    fn fill(&self, member: usize, window: u64, tokens: &mut [u32], targets: &mut [u32], starts: &mut [u32]) {
        let stream = match &self.members[member].content {
            Content::Tokens(dataset) => dataset.stream(self.split),
            Content::Conversations(chats) => return chats.fill(self.split, window, tokens, targets, starts),
        };
        let begin = window * self.options.sequence as u64;
        stream.read(begin, tokens);
        stream.read(begin + 1, targets);
        starts.fill(0);
        let end = begin + tokens.len() as u64;
        for first in stream.document_starts(begin + 1, end + 1) {
            // Position i's target is the token at begin + i + 1.
            let at = (first - begin) as usize;
            targets[at - 1] = IGNORE;
            starts[at.min(tokens.len())..].fill(at as u32);
        }
    }

    /// Windows in one pass over all data sets.
    pub fn windows(&self) -> u64 {
        self.members.iter().map(|m| m.windows).sum()
    }

    /// Back to the first window.
    pub fn rewind(&mut self) {
        self.cursor.windows = 0;
        self.cursor.drawn.fill(0);
    }

    /// The data sets, in the order given; none of conversations.
    pub fn datasets(&self) -> impl Iterator<Item = &Dataset> {
        self.members.iter().filter_map(|member| match &member.content {
            Content::Tokens(dataset) => Some(&**dataset),
            Content::Conversations(_) => None,
        })
    }

    /// Where the loader stands: before the window that the next batch begins with.
    pub fn cursor(&self) -> Cursor {
        self.cursor.clone()
    }

    /// Returns to a cursor: the batches that follow are those that followed then, also with another batch size.
    ///
    /// # Errors
    /// A cursor of other data, weights, split, sequence or seed.
    pub fn seek(&mut self, cursor: &Cursor) -> Result<(), DataError> {
        let sum = cursor.drawn.iter().try_fold(0u64, |sum, &n| sum.checked_add(n));
        if cursor.identity != self.cursor.identity {
            return Err(DataError::unfit(
                "the position in the data was recorded with other data sets, weights, sequence length or seed",
                "resume with the data and options of the run, or start a new run",
            ));
        }
        if cursor.drawn.len() != self.members.len() || sum != Some(cursor.windows) {
            let remedy = "resume from an older checkpoint";
            return Err(DataError::unfit("the recorded position in the data contradicts itself", remedy));
        }
        self.cursor.clone_from(cursor);
        Ok(())
    }
}

fn check(sources: &[Source], options: &LoaderOptions) -> Result<(), DataError> {
    if sources.is_empty() {
        return Err(DataError::unfit("no data set is given", "name a folder of 'trilobit data prepare'"));
    }
    check_sizes(options)?;
    for source in sources {
        if !(source.weight > 0.0 && source.weight.is_finite()) {
            let what = format!("the weight {} of {}", source.weight, source.path.display());
            return Err(DataError::unfit(what, "give a finite number above zero"));
        }
    }
    Ok(())
}

fn check_sizes(options: &LoaderOptions) -> Result<(), DataError> {
    for (name, size) in [("batch", options.batch), ("sequence", options.sequence)] {
        if size == 0 || size > SIZE_MAX {
            return Err(DataError::unfit(format!("a {name} of {size}"), format!("choose 1 to {SIZE_MAX}")));
        }
    }
    Ok(())
}

fn same_tokenizer(first: &Dataset, other: &Dataset) -> Result<(), DataError> {
    if first.manifest().tokenizer == other.manifest().tokenizer {
        return Ok(());
    }
    let what = format!("its tokenizer is not that of {}", first.folder().display());
    Err(DataError::content(other.folder(), what, "prepare both with the same tokenizer.json"))
}

fn windows(dataset: &Dataset, split: Split, sequence: usize) -> Result<u64, DataError> {
    let tokens = dataset.tokens(split);
    let windows = tokens.saturating_sub(1) / sequence as u64;
    if windows > 0 {
        return Ok(windows);
    }
    let name = split.name();
    let what = match tokens {
        0 => format!("it has no {name} split"),
        _ => format!(
            "its {name} split has {tokens} tokens; a window of sequence {sequence} needs {}",
            sequence + 1
        ),
    };
    let remedy = match split {
        Split::Train => "add text or choose a shorter sequence",
        Split::Valid => {
            "prepare it with more validation text (--valid or --valid-share), or choose a shorter sequence"
        }
    };
    Err(DataError::content(dataset.folder(), what, remedy))
}

/// Of what is read, by fingerprint and weight.
fn identity(read: impl Iterator<Item = (String, f64)>, split: Split, options: &LoaderOptions) -> String {
    let mut text = format!("{} {} {}", split.name(), options.sequence, options.seed);
    for (fingerprint, weight) in read {
        text.push_str(&format!(" {fingerprint} {:016x}", weight.to_bits()));
    }
    sha256_hex(text.as_bytes())
}
