//! From a path to a patient: what the files say becomes a [`Subject`], and the model, where it opens, stays open for probes.

mod companions;
mod foreign;
mod logs;
mod own;
mod parse;

use crate::recipe::Recipe;
use crate::subject::{Form, Subject};
use crate::tensors;
use checkpoint::{Dialect, Loaded, OpenOptions};
use formats::{FileError, Kind};
use journal::Run;
use std::path::{Path, PathBuf};
use text::Tokenizer;

/// A subject, and the model it is about.
pub struct Patient {
    /// as it was called
    pub path: PathBuf,
    /// what a file does not say itself
    pub options: OpenOptions,
    /// what is known
    pub subject: Subject,
    /// the model, where it opens and its tensors can be read
    pub model: Option<Loaded>,
    /// its tokenizer, where it has one that loads
    pub tokenizer: Option<Tokenizer>,
}

/// Reads everything about `path`. Each tensor is read once; `progress` is told how many of how many.
///
/// # Errors
/// There is nothing there, or nothing that is known here. A model that is there and sick is no error: [`Subject::trouble`] says
/// what is wrong with it.
pub fn open(
    path: &Path,
    options: &OpenOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Patient, FileError> {
    let mut patient = Patient {
        path: path.to_owned(),
        options: options.clone(),
        subject: Subject { form: form(path)?, ..Subject::default() },
        model: None,
        tokenizer: None,
    };
    let subject = &mut patient.subject;
    match subject.form {
        Form::Run => own::run(subject, &Run::open(path)?)?,
        Form::HuggingFace => {
            foreign::hugging_face(subject, path);
            companions::read(subject, path);
        }
        Form::Gguf => foreign::gguf(subject, path, options.i2s),
        Form::Recipe if path.is_file() => recipe(subject, path)?,
        Form::Log if path.is_file() => subject.series = logs::read(path)?,
        Form::Recipe | Form::Log => companions::read(subject, path),
        Form::Checkpoint | Form::Llama2c => (),
    }
    if !matches!(subject.form, Form::Recipe | Form::Log) {
        patient.open_model(progress);
    }
    complete(&mut patient.subject);
    Ok(patient)
}

impl Patient {
    fn open_model(&mut self, progress: &mut dyn FnMut(usize, usize)) {
        let subject = &mut self.subject;
        let adapter = own::adapter(&self.path);
        let model = adapter.as_ref().map_or(&self.path, |adapter| &adapter.base);
        let loaded = match checkpoint::open_with(model, &self.options) {
            Ok(loaded) => loaded,
            Err(error) => {
                subject.trouble = Some(error.to_string());
                return;
            }
        };
        let used = match &adapter {
            Some(adapter) => Some(&adapter.checkpoint),
            None => Some(&loaded.path).filter(|_| loaded.dialect == Dialect::Native),
        };
        if let Some(used) = used {
            own::checkpoint(subject, used);
            if subject.form == Form::Run {
                own::newer(subject, &self.path, used);
            }
        }
        subject.config = Some(loaded.config().clone());
        subject.text.end_ids = loaded.end_ids.clone();
        subject.text.has_chat_template = loaded.chat_template.is_some();
        match infer::tokenizer(&loaded) {
            Ok(tokenizer) => self.tokenizer = tokenizer,
            Err(error) => subject.trouble = Some(error.to_string()),
        }
        if let Some(tokenizer) = &self.tokenizer {
            subject.text.size = Some(tokenizer.vocabulary_size());
            let named = tokenizer.end_ids().into_iter();
            subject.text.named_ends = named.filter_map(|id| Some((tokenizer.id_to_token(id)?, id))).collect();
        }
        match tensors::measure(&*loaded.source, progress) {
            Ok(tensors) => {
                subject.tensors = tensors;
                self.model = Some(loaded);
            }
            Err(error) => subject.trouble = Some(error.to_string()),
        }
    }
}

/// What `path` is.
fn form(path: &Path) -> Result<Form, FileError> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if path.is_dir() {
        return Ok(match () {
            () if Run::is_run(path) => Form::Run,
            () if checkpoint::hf::is_folder(path) => Form::HuggingFace,
            () if checkpoint::candidates(path).is_ok() => Form::Checkpoint,
            () if companions::any(path) => Form::Log,
            () => return Err(stranger(path)),
        });
    }
    if path.is_file() {
        return Ok(match ending.as_str() {
            _ if checkpoint::gguf::is_file(path) => Form::Gguf,
            "gguf" => Form::Gguf,
            "bin" => Form::Llama2c,
            "csv" | "jsonl" | "ndjson" => Form::Log,
            "json" if logs::read(path).is_ok() => Form::Log,
            "toml" | "yaml" | "yml" | "json" => Form::Recipe,
            _ => return Err(stranger(path)),
        });
    }
    // `random:PRESET` is on no disk
    match path.to_str().is_some_and(|path| path.starts_with("random:")) {
        true => Ok(Form::Checkpoint),
        false => Err(FileError::new(path, Kind::Missing, "there is no such file or folder", KNOWN)),
    }
}

const KNOWN: &str = "name a run folder, a checkpoint, a Hugging Face folder, a GGUF or llama2.c file, a training configuration \
                     (TOML, YAML, JSON) or a log (CSV, JSON lines, trainer_state.json)";

fn stranger(path: &Path) -> FileError {
    FileError::new(path, Kind::Unfit, "nothing here is known to the doctor", KNOWN)
}

fn recipe(subject: &mut Subject, path: &Path) -> Result<(), FileError> {
    let text = formats::bounded::read_text(path, formats::limits::CONFIG_BYTES_MAX)?;
    let mut own = None;
    if path.extension().is_some_and(|ending| ending == "toml") {
        match train::RunConfig::from_toml(&text) {
            Ok(config) => {
                subject.recipe = Recipe::of_run(&config);
                return Ok(());
            }
            // a configuration of ours that is none: its sentence is the finding, and the keys are looked at all the same
            Err(error) if text.contains("[model]") => subject.trouble = Some(error.to_string()),
            // a part of one, to be laid over a preset: everything but the network is known
            Err(_) => match train::RunConfig::resolve(Some(PRESET), Some(path), &[]) {
                Ok(config) => {
                    subject.recipe = Recipe { own: None, ..Recipe::of_run(&config) };
                    return Ok(());
                }
                Err(error) => own = Some(error),
            },
        }
    }
    subject.recipe = companions::recipe(&text, path).ok_or_else(|| {
        FileError::damaged(
            path,
            "it is neither TOML, JSON nor YAML with keys",
            "check that this is the file you meant",
        )
    })?;
    if subject.recipe == Recipe::default() && subject.trouble.is_none() {
        let what = match own {
            Some(error) => {
                format!("no key of a training recipe is known here, and as a configuration of ours: {error}")
            }
            None => "no key of a training recipe is known here".to_owned(),
        };
        return Err(FileError::new(path, Kind::Unfit, what, KNOWN));
    }
    Ok(())
}

/// A configuration without a network is tried over this one.
const PRESET: &str = "tiny";

/// What a log says about its recipe where no configuration does.
fn complete(subject: &mut Subject) {
    let rates = subject.column(|point| point.lr);
    let highest = rates
        .iter()
        .copied()
        .filter(|(_, lr)| lr.is_finite())
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
    if let Some((step, lr)) = highest
        && subject.recipe.own.is_none()
    {
        subject.recipe.peak = subject.recipe.peak.or(Some(lr));
        subject.recipe.warmup = subject.recipe.warmup.or(Some(step));
    }
    // a rate that has come down to where schedules end: the log is that of a whole run
    if let (None, Some(peak), Some((step, last))) =
        (subject.recipe.steps, subject.recipe.peak, rates.last().copied())
        && rates.len() >= 50
        && last < 0.03 * peak
    {
        subject.recipe.steps = Some(step + 1);
        subject.recipe.steps_guessed = true;
    }
    if subject.progress.lambda.is_none() {
        subject.progress.lambda = subject.column(|point| point.lambda).last().map(|(_, lambda)| *lambda);
    }
    let step = subject.steps_done();
    if let (None, Some(step), Some((tokens, _))) =
        (subject.progress.tokens, step, subject.recipe.tokens_per_step())
    {
        subject.progress.tokens = Some(step as f64 * tokens);
    }
}
