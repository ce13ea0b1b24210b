//! Ways to make a model sick: through its tensors, its files, its logs.

use crate::base::{Base, copy, open};
use checkpoint::{Loaded, gguf as dialect, native};
use formats::gguf::{Declaration, File, Value as Metadata, Writer};
use formats::quant::{self, BlockFormat};
use formats::safetensors::{self, Dtype};
use formats::{FileError, manifest};
use model::{Config, Encoding, Source};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

type EditCodes = Box<dyn Fn(&str, usize, &mut [i8]) + Send + Sync>;
type EditScale = Box<dyn Fn(&str, f32) -> f32 + Send + Sync>;

/// A ternary network with other codes, scales or configuration.
struct Edited {
    inner: Box<dyn Source>,
    config: Config,
    codes: EditCodes,
    scale: EditScale,
}

impl Source for Edited {
    fn config(&self) -> &Config {
        &self.config
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        Ok(match self.inner.encoding(name)? {
            Encoding::Ternary { scale } => Encoding::Ternary { scale: (self.scale)(name, scale) },
            Encoding::Float => Encoding::Float,
        })
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        let Encoding::Ternary { scale } = self.encoding(name)? else {
            return self.inner.read(name, rows, out);
        };
        let mut codes = vec![0; out.len()];
        self.read_codes(name, rows, &mut codes)?;
        out.iter_mut().zip(codes).for_each(|(out, code)| *out = scale * f32::from(code));
        Ok(())
    }

    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError> {
        let cols = out.len() / rows.len().max(1);
        self.inner.read_codes(name, rows.clone(), out)?;
        rows.zip(out.chunks_exact_mut(cols)).for_each(|(row, out)| (self.codes)(name, row, out));
        Ok(())
    }
}

/// The base with other codes, as an I2_S file.
pub fn codes(
    base: &Base,
    out: &Path,
    edit: impl Fn(&str, usize, &mut [i8]) + Send + Sync + 'static,
) -> PathBuf {
    edited(base.ternary(), out, Box::new(edit), Box::new(|_, scale| scale))
}

/// The base with other scales, as an I2_S file.
pub fn scales(base: &Base, out: &Path, edit: impl Fn(&str, f32) -> f32 + Send + Sync + 'static) -> PathBuf {
    edited(base.ternary(), out, Box::new(|_, _, _| ()), Box::new(edit))
}

fn edited(mut loaded: Loaded, out: &Path, codes: EditCodes, scale: EditScale) -> PathBuf {
    let config = loaded.config().clone();
    loaded.source = Box::new(Edited { inner: loaded.source, config, codes, scale });
    let path = out.join("model.gguf");
    let options =
        dialect::Options { format: &quant::I2_S, embedding: &quant::F16, quantize: false, widen: false };
    dialect::export(&loaded, &path, &options, &mut ()).unwrap();
    path
}

/// The I2_S file with other metadata and other bytes of tensors.
pub fn gguf(
    base: &Base,
    out: &Path,
    metadata: impl Fn(&mut Vec<(String, Metadata)>),
    bytes: impl Fn(&str, &'static dyn BlockFormat, &mut Vec<u8>),
) -> PathBuf {
    let file = File::open(&base.gguf()).unwrap();
    let mut keys = file.metadata().to_vec();
    metadata(&mut keys);
    let tensors: Vec<_> = file.tensors().map(|info| file.tensor(&info.name).unwrap()).collect();
    let declare = |tensor: &formats::gguf::Tensor| Declaration {
        name: tensor.info.name.clone(),
        shape: tensor.info.shape.clone(),
        format: tensor.format,
    };
    let path = out.join("model.gguf");
    let mut writer = Writer::create(&path, &keys, &tensors.iter().map(declare).collect::<Vec<_>>()).unwrap();
    for tensor in tensors {
        let mut content = tensor.bytes.to_vec();
        bytes(&tensor.info.name, tensor.format, &mut content);
        writer.write(&tensor.info.name, &content).unwrap();
    }
    writer.finish().unwrap();
    path
}

/// A copy of a folder with another `config.json`.
pub fn config_json(from: &Path, out: &Path, edit: impl Fn(&mut Map<String, Value>)) -> PathBuf {
    let path = out.join("hf");
    copy(from, &path);
    let file = path.join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    edit(config.as_object_mut().unwrap());
    std::fs::write(&file, config.to_string()).unwrap();
    // others' folders have none
    std::fs::remove_file(path.join(manifest::NAME)).unwrap();
    path
}

/// One tensor of a safetensors file, owned.
pub type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

/// A copy of a folder with other tensors.
pub fn safetensors(from: &Path, out: &Path, edit: impl Fn(&mut Vec<Entry>)) -> PathBuf {
    let path = config_json(from, out, |_| ());
    let file = path.join("model.safetensors");
    let opened = safetensors::File::open(&file).unwrap();
    let entry = |info: &safetensors::TensorInfo| {
        (info.name.clone(), info.dtype, info.shape.clone(), opened.bytes(&info.name).unwrap().to_vec())
    };
    let mut entries: Vec<Entry> = opened.tensors().map(entry).collect();
    drop(opened);
    edit(&mut entries);
    let entries: Vec<safetensors::Entry> = entries
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.clone(), *dtype, shape.clone(), &bytes[..]))
        .collect();
    safetensors::write(&file, &entries, &BTreeMap::new()).unwrap();
    path
}

/// A checkpoint with other latent weights, configuration or state.
pub fn latent(
    base: &Base,
    out: &Path,
    edit: impl Fn(&mut model::Weights, &mut String, &mut Value),
) -> PathBuf {
    let opened = native::Opened::open(&base.checkpoint()).unwrap();
    let mut weights = opened.load_weights().unwrap();
    let (mut config, mut state) = (opened.config().to_owned(), opened.state().clone());
    edit(&mut weights, &mut config, &mut state);
    let tokenizer = std::fs::read(opened.tokenizer_path().unwrap()).unwrap();
    let path = out.join("checkpoint");
    let parts = native::Parts {
        config: &config,
        tokenizer: Some(&tokenizer),
        chat_template: None,
        weights: &checkpoint::arena::tensors(&weights.layout, "", &weights.data),
        optimizer: &[],
        recorded: &[],
        state: &state,
    };
    native::save(&path, &parts).unwrap();
    path
}

/// A copy of the run with another log.
pub fn log(base: &Base, out: &Path, edit: impl Fn(u64, &mut Map<String, Value>)) -> PathBuf {
    let path = out.join("run");
    copy(&base.run(), &path);
    let file = path.join("metrics.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let step = line["step"].as_u64().unwrap();
        edit(step, line.as_object_mut().unwrap());
        line.to_string() + "\n"
    });
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    path
}

/// A file with that text.
pub fn file(out: &Path, name: &str, text: &str) -> PathBuf {
    let path = out.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A Hugging Face folder of the base with a trainer's state beside it.
pub fn with_state(base: &Base, out: &Path, state: Value) -> PathBuf {
    let path = config_json(&base.hf(), out, |_| ());
    file(&path, "trainer_state.json", &state.to_string());
    path
}

/// A latent model of another distribution under a BitNet's configuration: what a dense model that was renamed looks like.
pub fn heavy_tailed(base: &Base, out: &Path) -> PathBuf {
    let path = latent(base, out, |weights, _, state| {
        *state = json!({"imported_from": "Hugging Face folder"});
        let mut seed = 1u64;
        let mut uniform = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 33) as f32 + 0.5) / (1u64 << 31) as f32
        };
        let layout = weights.layout.clone();
        for named in layout.tensors().iter().filter(|named| named.is_projection()) {
            for weight in named.slot.of_mut(&mut weights.data) {
                // the difference of two exponentials: Laplace
                *weight += 0.03 * (uniform() / uniform()).ln();
            }
        }
    });
    let folder = out.join("online");
    crate::base::export_hf(&open(&path), &folder, checkpoint::hf::Storing::Online);
    std::fs::remove_file(folder.join(manifest::NAME)).unwrap();
    folder
}

/// Floats as the bytes of a tensor.
pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
