//! LoRA adapters as PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors` beside each other.
//!
//! The matrices of q and k belong to a network with RoPE by halves, as everything in Hugging Face folders; beside a network
//! that pairs (2i, 2i + 1) the rows of their B are reordered.

use super::names::{self, Family};
use super::object;
use crate::adapt::other_row;
use bytemuck::cast_slice;
use formats::safetensors::{self, Dtype, File};
use formats::{FileError, Kind, atomic, bounded, limits, nearest};
use model::adapter::{Adapter, Pair, Rank};
use model::{Config, Projection, RopeStyle};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What kind of adapter it is, and beside what.
pub const CONFIG: &str = "adapter_config.json";
/// Its matrices.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT's names begin with.
const PREFIX: &str = "base_model.model.";
/// What the names of A and B end with.
const SIDES: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];
/// Largest r.
const RANK_MAX: u64 = 1 << 16;
/// Keys that change what an adapter computes, and have to be null, false or empty.
const NEUTRAL: [&str; 18] = [
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "lora_ga_config",
    "monteclora_config",
    "velora_config",
    "loftq_config",
];
/// Beginnings for which PEFT changes the weights of the model.
const CHANGES_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// An adapter that was read.
#[derive(Debug)]
pub struct Opened {
    /// its matrices
    pub adapter: Adapter,
    /// what its configuration calls the model that it was trained beside
    pub base: Option<String>,
    /// Jinja source of the chat template that lies beside it
    pub chat_template: Option<String>,
}

/// The name of our projection `ours` without its ending, as `model.layers.0.self_attn.q_proj`.
fn module(layer: usize, projection: Projection) -> String {
    let stored = names::stored(&format!("layers.{layer}.{}", projection.name()), Family::Llama);
    stored.strip_suffix(".weight").expect("a matrix is called so").to_owned()
}

/// The name of a projection among `target_modules`.
fn target(projection: Projection) -> String {
    let module = module(0, projection);
    module.rsplit('.').next().expect("a name has parts").to_owned()
}

/// Writes both files into `folder`: `adapter`, made beside the same projections of every layer of the network of `config`,
/// which other programs find as `base`.
///
/// # Errors
/// A file cannot be written.
pub fn write(folder: &Path, adapter: &Adapter, config: &Config, base: &str) -> Result<(), FileError> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for (layer, projection, pair) in pairs(adapter) {
        for (side, slot) in SIDES.into_iter().zip([pair.a, pair.b]) {
            let name = format!("{PREFIX}{}{side}", module(layer, projection));
            tensors.push((name, vec![slot.rows, slot.cols], slot.of(&adapter.data).to_vec()));
        }
        if is_turned(config, projection) {
            let (_, _, values) = tensors.last_mut().expect("B came last");
            reorder(values, pair.b.cols, |row| other_row(RopeStyle::RotateHalf, config.head_size, row));
        }
    }
    let entries: Vec<safetensors::Entry> = tensors
        .iter()
        .map(|(name, shape, values)| (name.clone(), Dtype::F32, shape.clone(), cast_slice(values)))
        .collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::write(&folder.join(WEIGHTS), &entries, &metadata)?;
    let mut text = serde_json::to_vec_pretty(&described(adapter, base)).expect("a JSON value becomes JSON");
    text.push(b'\n');
    atomic::write_bytes(&folder.join(CONFIG), &text)
}

/// The keys that every version of PEFT knows.
fn described(adapter: &Adapter, base: &str) -> Value {
    let Rank { rank, alpha, stabilised } = adapter.rank;
    let is_target = |projection: &Projection| pairs(adapter).any(|(_, other, _)| other == *projection);
    let targets: Vec<String> = Projection::ALL.into_iter().filter(is_target).map(target).collect();
    let alpha = if alpha.fract() == 0.0 { json!(alpha as i64) } else { json!(alpha) };
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": stabilised,
    })
}

fn pairs(adapter: &Adapter) -> impl Iterator<Item = (usize, Projection, Pair)> {
    let places = (0..adapter.layers()).flat_map(|layer| Projection::ALL.map(|p| (layer, p)));
    places.filter_map(|(layer, p)| Some((layer, p, adapter.pair(layer, p)?)))
}

fn is_turned(config: &Config, projection: Projection) -> bool {
    config.rope_style == RopeStyle::Interleaved && matches!(projection, Projection::Q | Projection::K)
}

/// Row `i` of `values (rows, cols)` becomes what was row `from(i)`.
fn reorder(values: &mut [f32], cols: usize, from: impl Fn(usize) -> usize) {
    let before = values.to_vec();
    for (row, out) in values.chunks_exact_mut(cols).enumerate() {
        out.copy_from_slice(&before[from(row) * cols..][..cols]);
    }
}

/// Reads the adapter in `folder` for a network of `config`.
///
/// # Errors
/// There is none; it is of another kind than plain LoRA beside the seven projections; a matrix is missing, of another
/// shape than the network needs, or holds a value that is not finite.
pub fn open(folder: &Path, config: &Config) -> Result<Opened, FileError> {
    let path = folder.join(CONFIG);
    if !path.is_file() {
        let what = format!("there is no {CONFIG}, which a folder with an adapter holds");
        let remedy =
            "name the folder of a run with '--adapter lora', or one that PEFT's save_pretrained wrote";
        return Err(FileError::new(folder, Kind::Missing, what, remedy));
    }
    if !folder.join(WEIGHTS).is_file() && folder.join("adapter_model.bin").is_file() {
        let what = "its matrices are a pickle of PyTorch, which can run code and is not read";
        return Err(FileError::new(folder, Kind::Unfit, what, "save it again with safe_serialization=True"));
    }
    let json = object(&path)?;
    let rank = rank(&path, &json)?;
    let file = File::open(&folder.join(WEIGHTS))?;
    let found = Found::of(&file, config)?;
    found.complete(&file, &json, config)?;
    found.check_shapes(&file, rank, config)?;
    let mut adapter = Adapter::zeros(config, rank, |layer, projection| found.has(layer, projection));
    let places: Vec<_> = pairs(&adapter).collect();
    for (layer, projection, pair) in places {
        for (side, slot) in SIDES.into_iter().zip([pair.a, pair.b]) {
            let name = format!("{PREFIX}{}{side}", module(layer, projection));
            let values = slot.of_mut(&mut adapter.data);
            file.f32_into(&name, 0, values)?;
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let what = format!("tensor '{name}' holds a value that is not finite (number {at})");
                return Err(FileError::damaged(file.path(), what, "take another checkpoint of the adapter"));
            }
        }
        if is_turned(config, projection) {
            let from = |row| other_row(RopeStyle::Interleaved, config.head_size, row);
            reorder(pair.b.of_mut(&mut adapter.data), pair.b.cols, from);
        }
    }
    let template = folder.join(crate::native::CHAT_TEMPLATE);
    let chat_template = template.is_file().then(|| bounded::read_text(&template, limits::CONFIG_BYTES_MAX));
    let base = json.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned);
    Ok(Opened { adapter, base, chat_template: chat_template.transpose()? })
}

/// r and s of a configuration that asks for nothing but plain LoRA.
fn rank(path: &Path, json: &Map<String, Value>) -> Result<Rank, FileError> {
    let unfit = |what: String, remedy: &str| Err(FileError::new(path, Kind::Unfit, what, remedy));
    let another = "train it again as plain LoRA, or merge it into its own model with PEFT";
    let kind = json.get("peft_type").and_then(Value::as_str).unwrap_or("nothing");
    if kind != "LORA" {
        return unfit(format!("its peft_type is {kind}, and LORA is the one that is known here"), another);
    }
    for key in NEUTRAL {
        let value = json.get(key).unwrap_or(&Value::Null);
        if !is_neutral(value) {
            return unfit(
                format!("it says {key} = {value}, and plain LoRA is all that is known here"),
                another,
            );
        }
    }
    if let Some(bias) = json.get("bias").filter(|bias| **bias != "none") {
        return unfit(
            format!("it says bias = {bias}: it changes biases, too, which is not known here"),
            another,
        );
    }
    let begun = json.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    if CHANGES_BASE.iter().any(|name| begun.starts_with(name)) {
        let what =
            format!("it was begun with init_lora_weights = \"{begun}\", which changed the model beside it");
        return unfit(
            what,
            "let PEFT convert it to plain LoRA (save_pretrained with path_initial_model_for_weight_conversion)",
        );
    }
    let r = json.get("r").and_then(Value::as_u64).filter(|r| (1..=RANK_MAX).contains(r));
    let alpha = json.get("lora_alpha").and_then(Value::as_f64).filter(|alpha| (*alpha as f32).is_finite());
    let (Some(r), Some(alpha)) = (r, alpha) else {
        let what = format!("it needs a rank r in 1..={RANK_MAX} and a number lora_alpha");
        return Err(FileError::damaged(path, what, "get the file again"));
    };
    let stabilised = json.get("use_rslora").and_then(Value::as_bool).unwrap_or(false);
    Ok(Rank { rank: r as usize, alpha: alpha as f32, stabilised })
}

fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_on) => !is_on,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

/// Which matrices a file has.
struct Found(HashMap<(usize, usize), [bool; 2]>);

impl Found {
    /// Every tensor of the file has to be A or B of a projection.
    fn of(file: &File, config: &Config) -> Result<Self, FileError> {
        let places = (0..config.layers).flat_map(|layer| Projection::ALL.map(|p| (layer, p)));
        let modules: HashMap<String, (usize, usize)> =
            places.map(|(layer, p)| (module(layer, p), (layer, p as usize))).collect();
        let mut found: HashMap<(usize, usize), [bool; 2]> = HashMap::new();
        for tensor in file.tensors() {
            let inside = tensor.name.strip_prefix(PREFIX).unwrap_or(&tensor.name);
            let split = SIDES
                .iter()
                .enumerate()
                .find_map(|(side, ending)| Some((inside.strip_suffix(ending)?, side)));
            let place = split.and_then(|(module, side)| Some((modules.get(module)?, side)));
            let Some((place, side)) = place.filter(|_| tensor.name.starts_with(PREFIX)) else {
                let hint = nearest::hint(inside, modules.keys().map(String::as_str));
                let what = format!(
                    "tensor '{}' is beside none of the seven projections of this model's {} layers{hint}",
                    tensor.name, config.layers
                );
                let remedy = "name the model that the adapter was made for; adapters of embeddings or heads are not known here";
                return Err(FileError::new(file.path(), Kind::Unfit, what, remedy));
            };
            found.entry(*place).or_default()[side] = true;
        }
        Ok(Self(found))
    }

    fn has(&self, layer: usize, projection: Projection) -> bool {
        self.0.contains_key(&(layer, projection as usize))
    }

    /// Both matrices everywhere, and beside every projection that the configuration names.
    fn complete(&self, file: &File, json: &Map<String, Value>, config: &Config) -> Result<(), FileError> {
        let damaged = |what: String| Err(FileError::damaged(file.path(), what, "get the file again"));
        if self.0.is_empty() {
            return damaged("it holds no matrix".into());
        }
        let named =
            json.get("target_modules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_everywhere = json.get("layers_to_transform").is_none_or(Value::is_null);
        for layer in 0..config.layers {
            for projection in Projection::ALL {
                let sides = self.0.get(&(layer, projection as usize));
                let is_named = is_everywhere && named.iter().any(|name| *name == target(projection));
                let sides = match sides {
                    Some(sides) => *sides,
                    None if is_named => [false; 2],
                    None => continue,
                };
                for (side, is_there) in SIDES.into_iter().zip(sides) {
                    if !is_there {
                        return damaged(format!(
                            "tensor '{PREFIX}{}{side}' is missing",
                            module(layer, projection)
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// As the network and the rank want them; what an adapter is read into is no larger than the file then.
    fn check_shapes(&self, file: &File, rank: Rank, config: &Config) -> Result<(), FileError> {
        let places = (0..config.layers).flat_map(|layer| Projection::ALL.map(|p| (layer, p)));
        for (layer, projection) in places.filter(|(layer, p)| self.has(*layer, *p)) {
            let (out, input) = projection.shape(config);
            for (side, needed) in SIDES.into_iter().zip([[rank.rank, input], [out, rank.rank]]) {
                let name = format!("{PREFIX}{}{side}", module(layer, projection));
                let shape = &file.info(&name)?.shape;
                if *shape != needed {
                    let what = format!(
                        "tensor '{name}' has shape {shape:?}, and beside this model it needs {needed:?}"
                    );
                    let remedy = "name the model that the adapter was made for";
                    return Err(FileError::new(file.path(), Kind::Unfit, what, remedy));
                }
            }
        }
        Ok(())
    }
}
