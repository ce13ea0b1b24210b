//! From sources to a folder of token shards: scan, split, tokenise, write, measure.
//!
//! Killed at any moment and started again with the same inputs, it keeps the finished shards and ends with the same
//! bytes as an uninterrupted run. `dataset.json` is written last.

use crate::manifest::{self, Manifest, SplitFacts, TokenizerFacts, Unigrams};
use crate::scan::{self, Fate, Plan};
use crate::source::{self, SourceOptions};
use crate::stats;
use crate::writer::{Layout, Writer};
use crate::{DataError, Split, shard};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, sync_channel};
use text::Tokenizer;

/// Text tokenised at a time by one thread, bytes; a batch ends with the document that reaches it.
const BATCH_BYTES: usize = 128 << 10;
/// Batches read and not yet written: what one long document holds up.
const BATCHES_MAX: usize = 64;
/// Smallest and largest shard file that can be asked for. Offsets inside a shard are u32.
const SHARD_BYTES: std::ops::RangeInclusive<usize> = 256..=1 << 30;
/// Largest share of the bytes that can be held out.
const VALID_SHARE_MAX: f64 = 0.5;

/// What to prepare.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareOptions {
    /// Files, folders and globs.
    pub inputs: Vec<PathBuf>,
    /// Sources of the validation split; where empty, documents of the inputs are held out.
    pub valid: Vec<PathBuf>,
    /// Share of the bytes to hold out, 0 to 0.5; without meaning where `valid` is given.
    pub valid_share: f64,
    /// A `tokenizer.json` that has an end-of-text token.
    pub tokenizer: PathBuf,
    /// The folder to write; created, or continued where a run of the same inputs was interrupted.
    pub out: PathBuf,
    /// How to read the sources.
    pub source: SourceOptions,
    /// Largest shard file.
    pub shard_bytes: usize,
}

impl Default for PrepareOptions {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            valid: Vec::new(),
            valid_share: 0.01,
            tokenizer: PathBuf::from("tokenizer.json"),
            out: PathBuf::new(),
            source: SourceOptions::default(),
            shard_bytes: 64 << 20,
        }
    }
}

/// The steps of [`prepare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading everything once: duplicates and the split.
    Scan,
    /// Reading again, tokenising and writing.
    Tokenise,
    /// Counting over the shards.
    Measure,
}

/// Hears how far [`prepare`] is. Calls come from several threads.
pub trait Progress: Sync {
    /// A phase begins; `bytes` is the sum of what [`Progress::advance`] will report, where it is known.
    fn begin(&self, phase: Phase, bytes: Option<u64>);

    /// Documents and bytes of text done since the last call.
    fn advance(&self, documents: u64, bytes: u64);
}

/// Silence.
impl Progress for () {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn advance(&self, _: u64, _: u64) {}
}

/// What [`prepare`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// As written.
    pub manifest: Manifest,
    /// Shards that an earlier run had finished.
    pub shards_kept: usize,
}

/// Prepares a data set.
///
/// # Errors
/// Inputs that cannot be read (see [`source::documents`]) or change while they are read; a document that the tokenizer
/// cannot encode, with its file; a tokenizer without end-of-text token; a folder that holds another data set; a full
/// disk. What was finished stays, and the same call goes on from there.
pub fn prepare(options: &PrepareOptions, progress: &dyn Progress) -> Result<Summary, DataError> {
    check(options)?;
    let json = formats::bounded::read(&options.tokenizer, text::limits::TOKENIZER_BYTES_MAX)?;
    let tokenizer = Tokenizer::load(&options.tokenizer)?;
    let end_of_text = tokenizer.end_of_text().ok_or_else(|| {
        let remedy = "train one with 'trilobit tokenizer train'";
        DataError::content(
            &options.tokenizer,
            "it has no end-of-text token, which has to end each document",
            remedy,
        )
    })?;
    let facts = TokenizerFacts {
        fingerprint: tokenizer.fingerprint(),
        vocabulary: tokenizer.vocabulary_size(),
        end_of_text,
    };
    let plan = Plan::scan(options, progress)?;
    let context = format!(
        "trilobit data {} {} {} {} {}",
        manifest::VERSION,
        facts.fingerprint,
        facts.vocabulary,
        end_of_text,
        options.shard_bytes
    );
    let layout = Layout {
        folder: options.out.clone(),
        vocabulary: facts.vocabulary,
        plan: plan.fingerprint(&context),
        shard_bytes: options.shard_bytes,
    };
    if let Some(summary) = finished(&layout)? {
        return Ok(summary);
    }
    create_folder(&options.out, &options.tokenizer)?;
    let mut writers = [Writer::open(&layout, Split::Train)?, Writer::open(&layout, Split::Valid)?];
    let shards_kept = writers.iter().map(Writer::shards).sum();
    let job =
        Job { options, plan: &plan, resume: [writers[0].resume_document(), writers[1].resume_document()] };
    job.run(&tokenizer, end_of_text, &mut writers, progress)?;
    let shards = [writers[0].finish()?, writers[1].finish()?];
    formats::atomic::write_bytes(&options.out.join(manifest::TOKENIZER_FILE), &json)?;
    let manifest = conclude(&layout, &plan, facts, shards, &tokenizer, progress)?;
    Ok(Summary { manifest, shards_kept })
}

fn check(options: &PrepareOptions) -> Result<(), DataError> {
    if !(0.0..=VALID_SHARE_MAX).contains(&options.valid_share) {
        let what = format!("the validation share is {}", options.valid_share);
        return Err(DataError::unfit(what, format!("give --valid-share between 0 and {VALID_SHARE_MAX}")));
    }
    if !SHARD_BYTES.contains(&options.shard_bytes) {
        let what = format!("shards of {} bytes", options.shard_bytes);
        return Err(DataError::unfit(what, format!("choose {SHARD_BYTES:?} bytes")));
    }
    if options.inputs.is_empty() {
        return Err(DataError::unfit("no input is given", "name files, folders or globs with --input"));
    }
    Ok(())
}

/// The summary of a folder that is finished already; an error where it holds another data set.
fn finished(layout: &Layout) -> Result<Option<Summary>, DataError> {
    if !layout.folder.join(manifest::FILE).exists() {
        return Ok(None);
    }
    let manifest = Manifest::read(&layout.folder)?;
    if manifest.fingerprint != manifest::hex(&layout.plan) {
        return Err(DataError::content(
            &layout.folder,
            "it holds another data set (other sources, options or tokenizer)",
            "choose another --out, or remove the folder",
        ));
    }
    let shards_kept = manifest.train.shards + manifest.valid.shards;
    Ok(Some(Summary { manifest, shards_kept }))
}

/// Makes the folder, or takes one in which a data set was begun; in any other, files of the same names would be replaced.
fn create_folder(folder: &Path, tokenizer: &Path) -> Result<(), DataError> {
    let failed = |action| move |e| formats::FileError::io(folder, action, &e);
    std::fs::create_dir_all(folder).map_err(failed("create the folder"))?;
    let entries = std::fs::read_dir(folder).map_err(failed("read the folder"))?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    let is_begun = names.iter().any(|name| shard::is_name(name));
    let is_its_tokenizer =
        || folder.join(manifest::TOKENIZER_FILE).canonicalize().ok() == tokenizer.canonicalize().ok();
    let is_part = |name: &&String| match name.as_str() {
        manifest::UNIGRAMS_FILE => is_begun,
        manifest::TOKENIZER_FILE => is_begun || is_its_tokenizer(),
        _ => shard::is_name(name),
    };
    match names.iter().find(|name| !is_part(name)) {
        None => Ok(()),
        Some(name) => {
            let what = format!("it holds '{name}', which is no part of a data set");
            Err(DataError::content(folder, what, "choose an empty folder with --out"))
        }
    }
}

/// A document to tokenise.
struct Work {
    text: String,
    split: Split,
    /// The file that it is in.
    file: PathBuf,
}

/// A document's ids.
struct Encoded {
    ids: Vec<u32>,
    split: Split,
    /// Of its text.
    bytes: u64,
}

/// The second pass.
struct Job<'a> {
    options: &'a PrepareOptions,
    plan: &'a Plan,
    /// By split: the documents before this one are in finished shards.
    resume: [u64; 2],
}

impl Job<'_> {
    /// Reads on one thread, tokenises on all, writes in the order of reading on this one.
    fn run(
        &self,
        tokenizer: &Tokenizer,
        end_of_text: u32,
        writers: &mut [Writer; 2],
        progress: &dyn Progress,
    ) -> Result<(), DataError> {
        progress.begin(Phase::Tokenise, Some(Split::ALL.iter().map(|&s| self.plan.bytes(s)).sum()));
        std::thread::scope(|scope| {
            // The reader puts one in for each batch and waits while it is full; the writer takes one out.
            let (under_way, written) = sync_channel(BATCHES_MAX);
            let (done, results) = channel();
            scope.spawn(move || {
                rayon::in_place_scope(|pool| {
                    let mut number = 0;
                    let tokenise = |works: Vec<Work>| {
                        let (done, batch) = (done.clone(), number);
                        number += 1;
                        // Where the writer failed and left, its error is the one to report: the reader ends.
                        let goes_on = under_way.send(()).is_ok();
                        // A panic must reach the writer, which would wait for this batch for ever.
                        let encoded = move || catch_unwind(AssertUnwindSafe(|| encode(tokenizer, &works)));
                        pool.spawn(move |_| drop(done.send(Ok((batch, encoded())))));
                        goes_on
                    };
                    if let Err(error) = self.read(tokenise, progress) {
                        drop(done.send(Err(error)));
                    }
                });
            });
            let mut waiting: BTreeMap<u64, Result<Vec<Encoded>, DataError>> = BTreeMap::new();
            let mut next = 0;
            for result in results {
                let (number, batch) = result?;
                waiting.insert(number, batch.unwrap_or_else(|panic| resume_unwind(panic)));
                while let Some(batch) = waiting.remove(&next) {
                    for document in batch? {
                        writers[document.split as usize].push(&document.ids, end_of_text)?;
                        progress.advance(1, document.bytes);
                    }
                    written.recv().expect("one is put in before each batch");
                    next += 1;
                }
            }
            Ok(())
        })
    }

    /// Gives the documents that are to be tokenised to `tokenise`, in batches, until it returns false.
    fn read(
        &self,
        mut tokenise: impl FnMut(Vec<Work>) -> bool,
        progress: &dyn Progress,
    ) -> Result<(), DataError> {
        let paths = scan::paths(self.options);
        let changed = |path: &Path| {
            let what = "what is read there now is not what was read a moment ago";
            DataError::content(path, what, "leave the inputs unchanged and run again")
        };
        let mut entries = self.plan.entries.iter();
        let mut seen = [0; 2];
        let (mut batch, mut batch_bytes) = (Vec::new(), 0);
        let mut documents = source::documents(&paths, &self.options.source)?;
        while let Some(document) = documents.next() {
            let document = document?;
            let file = documents.file().expect("the document is in a file");
            let entry = entries.next().filter(|e| e.key == scan::key(&document.text));
            let entry = entry.ok_or_else(|| changed(&paths[document.source]))?;
            for work in works(document.text, entry.fate, file) {
                let number = &mut seen[work.split as usize];
                *number += 1;
                if *number <= self.resume[work.split as usize] {
                    progress.advance(1, work.text.len() as u64);
                    continue;
                }
                batch_bytes += work.text.len();
                batch.push(work);
            }
            if batch_bytes >= BATCH_BYTES {
                batch_bytes = 0;
                if !tokenise(std::mem::take(&mut batch)) {
                    return Ok(());
                }
            }
        }
        if entries.next().is_some() {
            return Err(changed(paths.last().expect("at least one input")));
        }
        tokenise(batch);
        Ok(())
    }
}

fn encode(tokenizer: &Tokenizer, works: &[Work]) -> Result<Vec<Encoded>, DataError> {
    let one = |work: &Work| {
        let ids = tokenizer.try_encode(&work.text, false);
        let ids = ids.map_err(|error| DataError::Document { file: work.file.clone(), error })?;
        Ok(Encoded { ids, split: work.split, bytes: work.text.len() as u64 })
    };
    works.iter().map(one).collect()
}

fn works(mut text: String, fate: Fate, file: &Path) -> Vec<Work> {
    let work = |text, split| Work { text, split, file: file.to_owned() };
    match fate {
        Fate::Drop => Vec::new(),
        Fate::Keep(split) => vec![work(text, split)],
        Fate::Cut(at) => {
            let held_out = text.split_off(at);
            vec![work(text, Split::Train), work(held_out, Split::Valid)]
        }
    }
}

/// Reads the shards back, measures them, and writes `unigrams.json` and `dataset.json`.
fn conclude(
    layout: &Layout,
    plan: &Plan,
    tokenizer_facts: TokenizerFacts,
    shards: [usize; 2],
    tokenizer: &Tokenizer,
    progress: &dyn Progress,
) -> Result<Manifest, DataError> {
    let facts = |split: Split| -> Result<_, DataError> {
        let stream = shard::Stream::open(&layout.folder, split, shards[split as usize], &layout.plan)?;
        let facts = SplitFacts {
            tokens: stream.tokens(),
            bytes: plan.bytes(split),
            documents: plan.documents(split),
            shards: shards[split as usize],
        };
        assert_eq!(stream.documents(), facts.documents, "each document begins in one shard");
        Ok((stream, facts))
    };
    let ((stream, train), (_, valid)) = (facts(Split::Train)?, facts(Split::Valid)?);
    progress.begin(Phase::Measure, Some(train.bytes));
    let token_bytes: Vec<u16> = (0..tokenizer_facts.vocabulary as u32)
        .map(|id| tokenizer.token_bytes(id).map_or(0, |bytes| bytes.len().try_into().unwrap_or(u16::MAX)))
        .collect();
    let counts = stats::count(&stream, tokenizer_facts.vocabulary);
    let statistics = stats::measure(&stream, &counts, &train);
    progress.advance(train.documents, train.bytes);
    let mut warnings = plan.warnings.clone();
    warnings.extend(stats::warnings(&statistics));
    warnings.extend(stats::doubts(&counts, &token_bytes, &train, tokenizer_facts.end_of_text));
    let unigrams = Unigrams { token_bytes, counts };
    let manifest = Manifest {
        version: manifest::VERSION,
        fingerprint: manifest::hex(&layout.plan),
        tokenizer: tokenizer_facts,
        train,
        valid,
        sources: plan.sources.clone(),
        duplicates: plan.duplicates,
        unigrams_sha256: unigrams.write(&layout.folder)?,
        statistics,
        warnings,
    };
    manifest.write(&layout.folder)?;
    Ok(manifest)
}
