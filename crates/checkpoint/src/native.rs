//! The native checkpoint: a folder that is complete or not there, every file under a checksum.

use crate::arena;
use crate::hf::peft;
use crate::table::Table;
use formats::safetensors::{self, Dtype, File};
use formats::{FileError, Kind, atomic, bounded, folder, limits, manifest};
use manifest::Manifest;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The resolved run configuration, `[model]` included.
pub const CONFIG: &str = "config.toml";
/// Latent weights, f32, under our tensor names.
pub const WEIGHTS: &str = "weights.safetensors";
/// The tokenizer, where the run has one.
pub const TOKENIZER: &str = "tokenizer.json";
/// The optimiser's moments, where training can go on.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// The ternary codes that the next flip rate is counted from, i8.
pub const RECORDED: &str = "recorded.safetensors";
/// Everything else the trainer needs to go on.
pub const STATE: &str = "state.json";

/// The chat template, where an imported model has one.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// Key of the state: ids that end an answer.
pub const END_IDS: &str = "end_ids";
/// Key of the state: a list of the one id that begins a text, or of none.
pub const BOS: &str = "bos_ids";
/// Key of the state: share of quantisation that training has reached.
pub const LAMBDA: &str = "lambda";
/// What the name of a tensor's scale adds to its own, where it is stored as ternary codes (I8).
pub const SCALE_SUFFIX: &str = ".scale";

pub(crate) const ABOUT_KIND: &str = "checkpoint";

/// A named tensor to save: row-major, f32 unless said otherwise.
#[derive(Debug, Clone)]
pub struct Tensor<'a, T = f32> {
    /// Unique in its file.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// As many elements as `shape` says.
    pub data: &'a [T],
}

/// What a checkpoint is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// TOML of the resolved run configuration.
    pub config: &'a str,
    /// Bytes of tokenizer.json.
    pub tokenizer: Option<&'a [u8]>,
    /// Jinja source of the chat template.
    pub chat_template: Option<&'a str>,
    /// Latent weights, see [`arena::tensors`]; none where an adapter is what was learned.
    pub weights: &'a [Tensor<'a>],
    /// The optimiser's tensors; none for a checkpoint that is not trained on.
    pub optimizer: &'a [Tensor<'a>],
    /// The codes that the next flip rate is counted from; none where it counts from the weights themselves.
    pub recorded: &'a [Tensor<'a, i8>],
    /// A JSON object; `step`, `tokens` and `lambda` in it are shown by `checkpoint inspect`.
    pub state: &'a Value,
}

/// Writes the checkpoint folder `dir`, which must not exist. A kill at any moment leaves all of it or nothing.
///
/// # Panics
/// When a tensor's data is not as long as its shape says.
pub fn save(dir: &Path, parts: &Parts) -> Result<(), FileError> {
    save_with(dir, parts, |dir| match parts.optimizer {
        [] => Ok(()),
        tensors => save_tensors(&dir.join(OPTIMIZER), Dtype::F32, tensors),
    })
}

/// [`save`], where `more` writes into the folder what `parts` does not hold: the optimiser's file, whose tensors may not be in
/// this process's memory as a whole and are not looked at in `parts`, and an adapter.
pub fn save_with(
    dir: &Path,
    parts: &Parts,
    more: impl FnOnce(&Path) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let about = Map::from_iter([("kind".to_owned(), ABOUT_KIND.into())]);
    folder::commit(dir, &about, |dir| {
        atomic::write_bytes(&dir.join(CONFIG), parts.config.as_bytes())?;
        if let Some(tokenizer) = parts.tokenizer {
            atomic::write_bytes(&dir.join(TOKENIZER), tokenizer)?;
        }
        if let Some(template) = parts.chat_template {
            atomic::write_bytes(&dir.join(CHAT_TEMPLATE), template.as_bytes())?;
        }
        if !parts.weights.is_empty() {
            save_tensors(&dir.join(WEIGHTS), Dtype::F32, parts.weights)?;
        }
        more(dir)?;
        if !parts.recorded.is_empty() {
            save_tensors(&dir.join(RECORDED), Dtype::I8, parts.recorded)?;
        }
        let mut state = serde_json::to_vec_pretty(parts.state).expect("a JSON value becomes JSON");
        state.push(b'\n');
        atomic::write_bytes(&dir.join(STATE), &state)
    })
}

fn save_tensors<T: bytemuck::NoUninit>(
    path: &Path,
    dtype: Dtype,
    tensors: &[Tensor<T>],
) -> Result<(), FileError> {
    let entry = |tensor| -> safetensors::Entry {
        let tensor: &Tensor<T> = tensor;
        (tensor.name.clone(), dtype, tensor.shape.clone(), bytemuck::cast_slice(tensor.data))
    };
    let entries: Vec<_> = tensors.iter().map(entry).collect();
    safetensors::write(path, &entries, &BTreeMap::new())
}

/// A checkpoint folder whose every file has been compared with its manifest.
#[derive(Debug)]
pub struct Opened {
    dir: PathBuf,
    manifest: Manifest,
    config: String,
    state: Value,
}

impl Opened {
    /// Opens `dir` and verifies it: every file present, of its length, of its content. The error names the file that
    /// is cut, missing or changed, and the checkpoint to use instead.
    pub fn open(dir: &Path) -> Result<Self, FileError> {
        Self::verify(dir).map_err(|mut error| {
            // A folder without a manifest was never finished: to its reader the same as damage.
            if error.kind == Kind::Missing && dir.is_dir() {
                error.kind = Kind::Damaged;
            }
            if error.kind == Kind::Damaged {
                error.remedy = match crate::locate::previous(dir) {
                    Some(previous) => format!("use the previous checkpoint, {}", previous.display()),
                    None => "take the checkpoint from a backup, or train again".to_owned(),
                };
            }
            error
        })
    }

    fn verify(dir: &Path) -> Result<Self, FileError> {
        let manifest = manifest::verify(dir)?;
        let unfit =
            |what: String| FileError::new(dir, Kind::Unfit, what, "name a run folder or a checkpoint folder");
        if manifest.about.get("kind").and_then(Value::as_str) != Some(ABOUT_KIND) {
            return Err(unfit("its manifest is not that of a checkpoint".into()));
        }
        let lists = |name: &str| manifest.files.iter().any(|entry| entry.name == name);
        let weights = if lists(peft::WEIGHTS) { peft::WEIGHTS } else { WEIGHTS };
        if let Some(name) = [CONFIG, weights, STATE].into_iter().find(|name| !lists(name)) {
            return Err(unfit(format!("its manifest lists no {name}")));
        }
        let config = bounded::read_text(&dir.join(CONFIG), limits::CONFIG_BYTES_MAX)?;
        let path = dir.join(STATE);
        let state = serde_json::from_slice(&bounded::read(&path, limits::CONFIG_BYTES_MAX)?)
            .map_err(|e| FileError::damaged(&path, format!("it is no JSON: {e}"), ""))?;
        Ok(Self { dir: dir.to_owned(), manifest, config, state })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Names, lengths and checksums of the files.
    pub fn files(&self) -> &[manifest::Entry] {
        &self.manifest.files
    }

    /// TOML of the run configuration, as it was saved.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// The network: the validated `[model]` table of the configuration.
    pub fn model(&self) -> Result<model::Config, FileError> {
        let path = self.dir.join(CONFIG);
        let unfit = |what: String| {
            FileError::new(
                &path,
                Kind::Unfit,
                what,
                "use the version of the program that wrote the checkpoint",
            )
        };
        let table: toml::Table = self.config.parse().map_err(|e| unfit(format!("it is no TOML: {e}")))?;
        let Some(table) = table.get("model") else {
            return Err(unfit("it has no [model] table".into()));
        };
        let config: model::Config =
            table.clone().try_into().map_err(|e| unfit(format!("its [model] table: {e}")))?;
        config.validate().map_err(|e| unfit(e.to_string()))?;
        Ok(config)
    }

    /// What the trainer saved beside the tensors.
    pub fn state(&self) -> &Value {
        &self.state
    }

    /// The token ids under a key of the state, [`END_IDS`] or [`BOS`].
    pub fn ids(&self, key: &str) -> Vec<u32> {
        let list = self.state.get(key).and_then(Value::as_array);
        let ids = list.into_iter().flatten().filter_map(Value::as_u64);
        ids.filter_map(|id| u32::try_from(id).ok()).collect()
    }

    /// Where the tokenizer is, if the checkpoint has one.
    pub fn tokenizer_path(&self) -> Option<PathBuf> {
        self.path_of(TOKENIZER)
    }

    /// Whether it holds an adapter instead of weights; [`peft::open`] reads that from its folder.
    pub fn is_adapter(&self) -> bool {
        self.path_of(peft::WEIGHTS).is_some()
    }

    /// The latent weights' file; an error where the checkpoint is that of an adapter.
    pub fn weights(&self) -> Result<File, FileError> {
        if self.is_adapter() {
            let what = "it holds an adapter, which is no model without the one that it was trained beside";
            let remedy = "name that model, and this folder with --adapter where a command has it";
            return Err(FileError::new(&self.dir, Kind::Unfit, what, remedy));
        }
        File::open(&self.dir.join(WEIGHTS))
    }

    /// The chat template, if the checkpoint has one.
    pub fn chat_template(&self) -> Result<Option<String>, FileError> {
        let path = self.path_of(CHAT_TEMPLATE);
        path.map(|path| bounded::read_text(&path, limits::CONFIG_BYTES_MAX)).transpose()
    }

    /// The tensors, read on demand: latent or dense values, or codes (I8) with a scale beside them (`NAME.scale`).
    ///
    /// # Errors
    /// A tensor is missing, too many, or of another type or shape.
    pub fn source(&self) -> Result<Table, FileError> {
        arena::table(self.model()?, self.weights()?)
    }

    /// The optimiser's file; an error where the checkpoint was saved without one.
    pub fn optimizer(&self) -> Result<File, FileError> {
        let path = self.path_of(OPTIMIZER).ok_or_else(|| {
            FileError::new(
                &self.dir,
                Kind::Unfit,
                "it holds no optimiser state, so training cannot go on from it",
                "start a new run from its weights",
            )
        })?;
        File::open(&path)
    }

    /// The file of the recorded codes; `None` where the checkpoint was saved without them.
    pub fn recorded(&self) -> Result<Option<File>, FileError> {
        self.path_of(RECORDED).map(|path| File::open(&path)).transpose()
    }

    /// The latent weights in the network's arena. A tensor that is missing, too many or of another shape is an error.
    pub fn load_weights(&self) -> Result<model::Weights, FileError> {
        let config = self.model()?;
        let layout = model::Layout::new(&config);
        let file = self.weights()?;
        if let Some(codes) = file.tensors().find(|tensor| tensor.dtype == Dtype::I8) {
            let what = format!("'{}' holds ternary codes, and training needs latent weights", codes.name);
            let remedy = "train from the model it was converted from";
            return Err(FileError::new(file.path(), Kind::Unfit, what, remedy));
        }
        arena::check(&file, layout.tensors(), &[""])?;
        // The check bounds this allocation by the length of the file.
        let mut weights = model::Weights::zeros(&config);
        arena::read(&file, &layout, "", &mut weights.data)?;
        Ok(weights)
    }

    fn path_of(&self, name: &str) -> Option<PathBuf> {
        let listed = self.manifest.files.iter().any(|entry| entry.name == name);
        listed.then(|| self.dir.join(name))
    }
}
