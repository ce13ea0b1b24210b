//! Hugging Face folders: `config.json`, safetensors in one file or in shards, and what stands beside them.

mod config;
mod describe;
mod export;
mod extras;
mod names;
pub mod peft;

pub use describe::Storing;
pub use export::{Options, SHARD_BYTES_MAX, export};
pub use extras::Extras;

use crate::table::{Form, Place, Table};
use config::{Described, Storage};
use formats::safetensors::File;
use formats::{FileError, Kind, bounded, limits, nearest};
use names::Family;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path};

/// The architecture, sizes and storage of the weights.
pub const CONFIG: &str = "config.json";
/// All weights in one file.
pub const WEIGHTS: &str = "model.safetensors";
/// Which shard holds which tensor.
pub const INDEX: &str = "model.safetensors.index.json";
/// Most shards of one model.
const SHARDS_MAX: usize = 4096;

/// A Hugging Face folder, its tensors under our names.
#[derive(Debug)]
pub struct Folder {
    /// the tensors
    pub table: Table,
    /// tokenizer, chat template, special ids
    pub extras: Extras,
    /// what was passed over or taken for granted, a sentence each
    pub warnings: Vec<String>,
}

/// Opens the folder `dir` and checks that every tensor of the network is there, in its shape, and no other.
///
/// # Errors
/// The architecture is unknown, a choice in `config.json` is not supported here, a tensor is missing, too many, or of
/// another type or shape.
pub fn open(dir: &Path) -> Result<Folder, FileError> {
    let json = object(&dir.join(CONFIG))?;
    let Described { mut config, family, storage, tied_is_said, mut warnings } =
        config::describe(&dir.join(CONFIG), &json)?;
    let stored = Stored::open(dir)?;
    if !tied_is_said && !stored.place.contains_key(names::HEAD) {
        config.tied = true;
        warnings.push(format!(
            "{}: it does not say tie_word_embeddings, and there is no {}: taken as tied",
            dir.join(CONFIG).display(),
            names::HEAD
        ));
    }
    let places = stored.places(&config, family, storage)?;
    let extras = Extras::read(dir, &json)?;
    Ok(Folder { table: Table::new(config, stored.files, places)?, extras, warnings })
}

/// Whether `dir` looks like such a folder.
pub fn is_folder(dir: &Path) -> bool {
    dir.join(CONFIG).is_file()
}

/// The JSON object in `path`.
fn object(path: &Path) -> Result<serde_json::Map<String, Value>, FileError> {
    let bytes = bounded::read(path, limits::CONFIG_BYTES_MAX)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| FileError::damaged(path, format!("it is no JSON object: {e}"), "get the file again"))
}

/// The tensors as they are named in the folder.
struct Stored {
    files: Vec<File>,
    /// file of each tensor
    place: HashMap<String, usize>,
}

impl Stored {
    fn open(dir: &Path) -> Result<Self, FileError> {
        let index = dir.join(INDEX);
        if index.is_file() {
            return Self::shards(dir, &index);
        }
        let path = dir.join(WEIGHTS);
        if !path.is_file() {
            let pickled =
                dir.join("pytorch_model.bin").exists() || dir.join("pytorch_model.bin.index.json").exists();
            let (what, remedy) = match pickled {
                true => (
                    "its weights are pickled (pytorch_model.bin), which runs code when read",
                    "save the model again with safe_serialization=True",
                ),
                false => ("it has neither model.safetensors nor its index", "download the weights too"),
            };
            return Err(FileError::new(dir, Kind::Missing, what, remedy));
        }
        let file = File::open(&path)?;
        let place = file.tensors().map(|tensor| (tensor.name.clone(), 0)).collect();
        Ok(Self { files: vec![file], place })
    }

    fn shards(dir: &Path, index: &Path) -> Result<Self, FileError> {
        let damaged = |what: String| FileError::damaged(index, what, "get the file again");
        let json = object(index)?;
        let Some(map) = json.get("weight_map").and_then(Value::as_object) else {
            return Err(damaged("it has no \"weight_map\"".into()));
        };
        let mut shards: BTreeMap<&str, usize> = BTreeMap::new();
        for (tensor, shard) in map {
            let Some(shard) = shard.as_str().filter(|name| is_plain(name)) else {
                return Err(damaged(format!("the shard of '{tensor}' is {shard}, which is no file name")));
            };
            let next = shards.len();
            shards.entry(shard).or_insert(next);
        }
        if shards.is_empty() || shards.len() > SHARDS_MAX {
            return Err(damaged(format!("it names {} shards, not 1 to {SHARDS_MAX}", shards.len())));
        }
        let mut files = Vec::with_capacity(shards.len());
        let mut place = HashMap::new();
        for (number, shard) in shards.into_keys().enumerate() {
            let file = File::open(&dir.join(shard))?;
            for tensor in file.tensors() {
                if let Some(other) = place.insert(tensor.name.clone(), number) {
                    let other: &File = &files[other];
                    let what = format!("tensor '{}' is also in {}", tensor.name, other.path().display());
                    return Err(FileError::damaged(file.path(), what, "remove the file that is left over"));
                }
            }
            files.push(file);
        }
        if let Some(absent) = map.keys().find(|name| !place.contains_key(*name)) {
            return Err(damaged(format!("it lists tensor '{absent}', which its shard does not hold")));
        }
        Ok(Self { files, place })
    }

    /// The place of every tensor of the network; a tensor that none of them uses is an error.
    fn places(
        &self,
        config: &model::Config,
        family: Family,
        storage: Storage,
    ) -> Result<HashMap<String, Place>, FileError> {
        let mut used: HashSet<String> = HashSet::new();
        let mut places = HashMap::new();
        for named in model::Layout::new(config).tensors() {
            let stored = names::stored(&named.name, family);
            let Some(&file) = self.place.get(&stored) else {
                return Err(self.absent(&stored));
            };
            let form = match storage {
                Storage::Packed { inverted } if named.is_projection() => {
                    let name = names::scale(&stored);
                    let scale = self.scale(&name)?;
                    used.insert(name);
                    Form::Packed { scale: if inverted { scale.recip() } else { scale } }
                }
                _ => Form::Float,
            };
            let place =
                Place { file, stored: stored.clone(), rows: named.slot.rows, cols: named.slot.cols, form };
            places.insert(named.name.clone(), place);
            used.insert(stored);
        }
        let spare = |name: &str| {
            used.contains(name)
                || name.ends_with(".rotary_emb.inv_freq")
                || (config.tied && name == names::HEAD)
        };
        match self.place.iter().filter(|(name, _)| !spare(name)).min() {
            None => Ok(places),
            Some((name, file)) => {
                let hint = nearest::hint(name, used.iter().map(String::as_str));
                let kind = family.name();
                let what = match name.ends_with(names::SCALE) {
                    true => format!(
                        "tensor '{name}' says that weights are packed, and no quantization_config says how"
                    ),
                    false => format!(
                        "tensor '{name}' has no place in this {kind} network{hint}; without it the answers would be wrong"
                    ),
                };
                let remedy = "check that config.json belongs to these weights";
                Err(FileError::new(self.files[*file].path(), Kind::Unfit, what, remedy))
            }
        }
    }

    fn scale(&self, name: &str) -> Result<f32, FileError> {
        let Some(&file) = self.place.get(name) else {
            return Err(self.absent(name));
        };
        let file = &self.files[file];
        let info = file.info(name)?;
        let elements: usize = info.shape.iter().product();
        if elements != 1 {
            let what = format!("tensor '{name}' has shape {:?}, and a scale is one number", info.shape);
            return Err(FileError::new(file.path(), Kind::Unfit, what, "get the file again"));
        }
        let mut scale = [0.0];
        file.f32_into(name, 0, &mut scale)?;
        Ok(scale[0])
    }

    fn absent(&self, name: &str) -> FileError {
        let file = &self.files[0];
        let hint = nearest::hint(name, self.place.keys().map(String::as_str));
        let (what, remedy) = match name {
            _ if name.contains("sub_norm") || name.contains("_ln.") || name.contains("ffn_layernorm") => (
                format!("tensor '{name}' is missing: the norm before a projection (SubLN){hint}"),
                "a model without sub-norms is LlamaForCausalLM in config.json, not a BitNet architecture",
            ),
            _ if name.ends_with(names::SCALE) => (
                format!("tensor '{name}' is missing: config.json says that the weights are packed{hint}"),
                "set quantization_mode to online if the weights are latent ones",
            ),
            _ => (
                format!("tensor '{name}' is missing{hint}"),
                "check that config.json belongs to these weights",
            ),
        };
        let path =
            if self.files.len() == 1 { file.path() } else { file.path().parent().unwrap_or(file.path()) };
        FileError::new(path, Kind::Unfit, what, remedy)
    }
}

/// Whether `name` is one file name, not a path.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains('\\')
}
