//! What every conversion does: decide whether it may ternarise, read a tensor in pieces, compare what was written; and the
//! conversion to a native checkpoint.

use crate::compare::{self, Tensor};
use crate::loaded::Loaded;
use crate::native::{self, SCALE_SUFFIX};
use crate::progress::{Phase, Progress, Written};
use crate::tensors_out::TensorsOut;
use crate::ternary::Distortion;
use formats::quant::BlockFormat;
use formats::safetensors::{Dtype, TensorInfo};
use formats::{FileError, Kind, atomic, folder};
use model::layout::Named;
use model::{Config, Encoding, Layout, LinearKind, Source};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Elements that are in memory at once where a tensor can be taken in pieces.
const PIECE: usize = 1 << 18;

/// What was written and compared.
#[derive(Debug)]
pub struct Report {
    /// what quantising did to each projection that was not ternary before
    pub distortions: Vec<(String, Distortion)>,
    /// tensors compared with what was read again
    pub tensors: usize,
    /// relative difference that the format's rounding may make
    pub tolerance: f32,
    /// the greatest found
    pub largest: f32,
    /// what other programs will compute differently, a sentence each
    pub notes: Vec<String>,
}

/// What `reader` will compute differently, because its format cannot say it.
pub(crate) fn notes(config: &Config, reader: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if config.final_epsilon() != config.norm_epsilon {
        notes.push(format!(
            "the final norm's epsilon is {:e} and that of the others {:e}; {reader} knows one, the latter, so its logits are a \
             little larger",
            config.final_epsilon(),
            config.norm_epsilon
        ));
    }
    notes
}

/// What the projections of a written network are, where `wants_ternary` says that the target holds codes.
///
/// The latent weights of a ternary network are ternarised as at λ = 1: that is what they mean once its training has come there.
/// Before that, and dense ones, only where `quantize` asks for it.
pub(crate) fn target(model: &Loaded, wants_ternary: bool, quantize: bool) -> Result<LinearKind, FileError> {
    let unfit = |what: &str, remedy: &str| Err(FileError::new(&model.path, Kind::Unfit, what, remedy));
    if let (Some(lambda), true, false) = (model.unfinished(), wants_ternary, quantize) {
        let what = format!(
            "its training had reached λ = {lambda:.3} of 1, so as a ternary network it is another, much worse model"
        );
        return unfit(
            &what,
            "go on with --resume if it has steps left, or else begin with it at λ = 1 (train --from), or ask for it with --quantize and see the cost",
        );
    }
    match (model.config().linear, wants_ternary) {
        (linear, true) if linear == LinearKind::Ternary || quantize => Ok(LinearKind::Ternary),
        (LinearKind::Dense, false) => Ok(LinearKind::Dense),
        (_, true) => unfit(
            "its projections are dense, and rounding them to three values makes another, much worse model",
            "train it to be ternary first, or ask for it with --quantize",
        ),
        (_, false) => unfit("its projections are ternary", "export it as online or offline"),
    }
}

/// Tensor `name` of the network of `config`.
///
/// # Panics
/// When there is none.
pub(crate) fn named(config: &Config, name: &str) -> Named {
    let layout = Layout::new(config);
    let found = layout.tensors().iter().find(|named| named.name == name);
    found.unwrap_or_else(|| panic!("'{name}' is no tensor of the network")).clone()
}

/// What a format makes of values: whole blocks.
pub(crate) fn round_trip(format: &dyn BlockFormat, values: &[f32]) -> Vec<f32> {
    let Some(encode) = format.encoder() else { return values.to_vec() };
    let mut bytes = vec![0; values.len() / format.block_elements() * format.block_bytes()];
    encode(values, &mut bytes);
    let mut out = vec![0.0; values.len()];
    format.decode_blocks(&bytes, &[], &mut out);
    out
}

/// Gives the values of a tensor to `take`, some rows at a time.
pub(crate) fn values(
    source: &dyn Source,
    named: &Named,
    mut take: impl FnMut(&[f32]) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let (rows, cols) = (named.slot.rows, named.slot.cols);
    let step = (PIECE / cols).clamp(1, rows);
    let mut piece = vec![0.0; step * cols];
    for start in (0..rows).step_by(step) {
        let end = (start + step).min(rows);
        let piece = &mut piece[..(end - start) * cols];
        source.read(&named.name, start..end, piece)?;
        take(piece)?;
    }
    Ok(())
}

/// Compares `written` with `source`, whose projections were written as those of `config`; (tensors, greatest relative
/// difference).
///
/// # Errors
/// A code differs, or a scale or value by more than a relative `tolerance`: then the conversion is wrong.
pub(crate) fn compare(
    source: &dyn Source,
    config: &Config,
    written: &dyn Source,
    tolerance: f32,
    path: &Path,
    progress: &mut dyn Progress,
) -> Result<(usize, f32), FileError> {
    let wrong = |what: String| {
        FileError::damaged(path, format!("what was written reads back differently: {what}"), "report this")
    };
    let keys = compare::configs(config, written.config());
    if let Some((key, ours, theirs)) = keys.first() {
        return Err(wrong(format!("model.{key} is {theirs}, not {ours}")));
    }
    let mut largest = 0.0f32;
    let mut bad = None;
    progress.begin(Phase::Compare, Layout::new(config).tensors().len());
    let found = compare::tensors(source, written, |tensor: &Tensor| {
        source.release(&tensor.name);
        written.release(&tensor.name);
        progress.advance(&tensor.name);
        // the latent values of what was ternary are made up: only codes and scale mean something
        largest = largest.max(tensor.scale_error()).max(tensor.relative);
        if bad.is_none() && !tensor.is_within(tolerance) {
            bad = Some(tensor.clone());
        }
    })?;
    match bad {
        None => Ok((found.len(), largest)),
        Some(tensor) => Err(wrong(format!(
            "tensor '{}': {} codes differ, the scale by {:e}, values by {:e}, and {tolerance:e} is allowed",
            tensor.name,
            tensor.codes,
            tensor.scale_error(),
            tensor.relative
        ))),
    }
}

/// Writes the model as the native checkpoint folder `out`, which must not exist: values as F32, ternary tensors as
/// codes (I8) with their own scale. What was written is read again, compared, and judged by `progress`. Returns the number of tensors.
///
/// # Errors
/// What reading says; what was written does not read back; the disk.
pub fn import(model: &Loaded, out: &Path, progress: &mut dyn Progress) -> Result<usize, FileError> {
    let about = Map::from_iter([("kind".to_owned(), native::ABOUT_KIND.into())]);
    let mut compared = 0;
    folder::commit(out, &about, |dir| -> Result<(), FileError> {
        write_texts(model, dir)?;
        write_weights(&*model.source, &dir.join(native::WEIGHTS), progress)?;
        let file = formats::safetensors::File::open(&dir.join(native::WEIGHTS))?;
        let written = crate::arena::table(model.config().clone(), file)?;
        compared = compare(&*model.source, model.config(), &written, 0.0, dir, progress)?.0;
        progress.judge(&Written { source: &*model.source, written: &written, rounding: 0.0 })
    })?;
    Ok(compared)
}

fn write_texts(model: &Loaded, dir: &Path) -> Result<(), FileError> {
    let table = toml::Table::try_from(model.config())
        .map(|table| toml::Table::from_iter([("model".to_owned(), toml::Value::Table(table))]).to_string());
    let config = table.map_err(|error| {
        FileError::new(
            &model.path,
            Kind::Unfit,
            format!("its configuration is no TOML: {error}"),
            "report this",
        )
    })?;
    atomic::write_bytes(&dir.join(native::CONFIG), config.as_bytes())?;
    if let Some(tokenizer) = &model.tokenizer {
        atomic::write_bytes(&dir.join(native::TOKENIZER), &tokenizer.bytes()?)?;
    }
    if let Some(template) = &model.chat_template {
        atomic::write_bytes(&dir.join(native::CHAT_TEMPLATE), template.as_bytes())?;
    }
    let mut state = json!({
        "imported_from": model.dialect.name(),
        native::END_IDS: model.end_ids,
        native::BOS: model.bos.iter().collect::<Vec<_>>(),
    });
    if let Some(lambda) = model.lambda {
        state[native::LAMBDA] = json!(lambda);
    }
    atomic::write_bytes(&dir.join(native::STATE), format!("{state:#}\n").as_bytes())
}

fn write_weights(source: &dyn Source, path: &Path, progress: &mut dyn Progress) -> Result<(), FileError> {
    let layout = Layout::new(source.config());
    let tensors: BTreeMap<&str, &Named> =
        layout.tensors().iter().map(|named| (named.name.as_str(), named)).collect();
    let mut infos = Vec::new();
    for named in layout.tensors() {
        let (name, shape) = (named.name.clone(), named.shape());
        let dtype = match source.encoding(&name)? {
            Encoding::Float => Dtype::F32,
            Encoding::Ternary { .. } => {
                let name = format!("{name}{SCALE_SUFFIX}");
                infos.push(TensorInfo { name, dtype: Dtype::F32, shape: vec![1] });
                Dtype::I8
            }
        };
        infos.push(TensorInfo { name, dtype, shape });
    }
    progress.begin(Phase::Write, tensors.len());
    let mut writer = TensorsOut::create(path, infos, &BTreeMap::new())?;
    for name in writer.order() {
        if let Some(owner) = name.strip_suffix(SCALE_SUFFIX) {
            if let Encoding::Ternary { scale } = source.encoding(owner)? {
                writer.write_f32(&name, &[scale])?;
            }
            continue;
        }
        let named = tensors[name.as_str()];
        match source.encoding(&name)? {
            Encoding::Float => values(source, named, |piece| writer.write_f32(&name, piece))?,
            Encoding::Ternary { .. } => {
                let mut codes = vec![0i8; named.slot.len()];
                source.read_codes(&name, 0..named.slot.rows, &mut codes)?;
                writer.write(&name, bytemuck::cast_slice(&codes))?;
            }
        }
        source.release(&name);
        progress.advance(&name);
    }
    writer.finish()
}
