//! Writing a folder that transformers loads: one tensor in memory at a time, read again and compared before it appears.

use super::describe::{self, Storing};
use super::names::{self, Family};
use super::{CONFIG, INDEX, WEIGHTS};
use crate::adapt::Adapted;
use crate::convert::{self, Report};
use crate::loaded::Loaded;
use crate::progress::{Phase, Progress, Written};
use crate::tensors_out::TensorsOut;
use crate::ternary::{self, Distortion};
use formats::quant::BF16;
use formats::safetensors::{Dtype, TensorInfo};
use formats::{FileError, Kind, atomic, folder};
use model::layout::Named;
use model::{Config, Encoding, Layout, LinearKind, RopeStyle, Source, quantize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Most bytes of one safetensors file; more become shards.
pub const SHARD_BYTES_MAX: usize = 5_000_000_000;

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// how the projections are stored
    pub storing: Storing,
    /// embedding, head and vectors (and latent values) as BF16, rounded half to even; else as F32, as scales always are
    pub bf16: bool,
    /// ternarise the projections of a dense network
    pub quantize: bool,
    /// most bytes of one file
    pub shard_bytes: usize,
}

impl Options {
    /// Relative difference that the format's rounding may make: none where values stay f32; 2⁻⁸ for BF16 (8 bits of
    /// mantissa); 2⁻²² where 1/γ is stored, or where the absmean of `±γ/(1 − zero share)` has to give γ again.
    fn tolerance(&self, is_ternary: bool) -> f32 {
        match self.storing {
            _ if self.bf16 => 1.0 / 256.0,
            Storing::OfflineInverted => 1.0 / 4_194_304.0,
            Storing::Online if is_ternary => 1.0 / 4_194_304.0,
            _ => 0.0,
        }
    }
}

/// Writes the folder `out`, which must not exist.
///
/// Codes are exactly those of the model, and scales and values as near as the format allows, or nothing is written.
///
/// # Errors
/// No architecture of transformers computes the network; a dense network is to be packed without `quantize`; BF16 would
/// change codes; what was written does not read back; the disk.
pub fn export(
    model: &Loaded,
    out: &Path,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Report, FileError> {
    let adapted = Adapted::new(&*model.source, RopeStyle::RotateHalf);
    let mut config = adapted.config().clone();
    config.linear = convert::target(model, options.storing != Storing::Dense, options.quantize)?;
    let family = describe::family(&config, &model.path)?;
    let plan = Plan { model, adapted: &adapted, config, family, options };
    plan.check()?;
    let about = Map::from_iter([("kind".to_owned(), "hugging-face".into())]);
    let mut distortions = Vec::new();
    let mut found = (0, 0.0);
    folder::commit(out, &about, |dir| -> Result<(), FileError> {
        plan.write_texts(dir)?;
        distortions = plan.write_tensors(dir, progress)?;
        found = plan.compare(dir, progress)?;
        Ok(())
    })?;
    let tolerance = options.tolerance(plan.was_ternary()?);
    let notes = convert::notes(&plan.config, "transformers");
    Ok(Report { distortions, tensors: found.0, tolerance, largest: found.1, notes })
}

struct Plan<'a> {
    model: &'a Loaded,
    adapted: &'a Adapted<'a>,
    /// of the network as it is written
    config: Config,
    family: Family,
    options: &'a Options,
}

/// One tensor of ours and what it becomes.
struct Item {
    named: Named,
    stored: Vec<TensorInfo>,
}

impl Item {
    fn bytes(&self) -> usize {
        self.stored.iter().map(|info| info.shape.iter().product::<usize>() * info.dtype.bytes()).sum()
    }
}

impl Plan<'_> {
    fn is_ternary(&self) -> bool {
        self.config.linear == LinearKind::Ternary
    }

    /// Whether any tensor of the model is stored as codes.
    fn was_ternary(&self) -> Result<bool, FileError> {
        for named in Layout::new(self.adapted.config()).tensors().iter().filter(|named| named.is_projection())
        {
            if self.adapted.encoding(&named.name)? != Encoding::Float {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Rows that the packed form cannot hold, and latent values whose codes BF16 would change.
    fn check(&self) -> Result<(), FileError> {
        let unfit =
            |what: String, remedy: &str| Err(FileError::new(&self.model.path, Kind::Unfit, what, remedy));
        let layout = Layout::new(&self.config);
        for named in layout.tensors().iter().filter(|tensor| tensor.is_projection()) {
            let Named { name, slot, .. } = named;
            if self.options.storing.is_packed() && !slot.rows.is_multiple_of(4) {
                let what =
                    format!("tensor '{name}' has {} rows, and transformers packs fours of them", slot.rows);
                return unfit(what, "export it with --mode online");
            }
            let changed = self.changed(named)?;
            if changed > 0 {
                let what = format!(
                    "rounding the latent values of tensor '{name}' to BF16 changes {changed} of its {} codes",
                    slot.len()
                );
                return unfit(what, "export it with --dtype f32, or packed with --mode offline");
            }
        }
        Ok(())
    }

    /// Number of codes of a projection that are others once its latent values are BF16.
    fn changed(&self, named: &Named) -> Result<usize, FileError> {
        let is_latent = self.is_ternary() && self.options.storing == Storing::Online;
        if !is_latent || !self.options.bf16 || self.adapted.encoding(&named.name)? != Encoding::Float {
            return Ok(0);
        }
        let mut codes = ternary::read(self.adapted, named)?.codes;
        let mut latent = Vec::with_capacity(codes.len());
        convert::values(self.adapted, named, |piece| {
            latent.extend(convert::round_trip(&BF16, piece));
            Ok(())
        })?;
        self.adapted.release(&named.name);
        Ok(quantize::ternarise(&latent, quantize::weight_scale(&latent), &mut codes))
    }

    /// Everything but the weights.
    fn write_texts(&self, dir: &Path) -> Result<(), FileError> {
        let put = |name: &str, json: &Value| {
            let mut text = serde_json::to_vec_pretty(json).expect("plain data becomes JSON");
            text.push(b'\n');
            atomic::write_bytes(&dir.join(name), &text)
        };
        let mut config = describe::config_json(&self.config, self.family, self.options.storing, self.model);
        config["torch_dtype"] = if self.options.bf16 { "bfloat16" } else { "float32" }.into();
        put(CONFIG, &config)?;
        put("generation_config.json", &describe::generation_json(self.model))?;
        let Some(tokenizer) = &self.model.tokenizer else {
            return Ok(());
        };
        let bytes = tokenizer.bytes()?;
        atomic::write_bytes(&dir.join("tokenizer.json"), &bytes)?;
        let tokenizer = serde_json::from_slice(&bytes).unwrap_or_default();
        put("tokenizer_config.json", &describe::tokenizer_json(self.model, &tokenizer))
    }

    fn items(&self) -> Vec<Item> {
        let float = if self.options.bf16 { Dtype::BF16 } else { Dtype::F32 };
        let item = |named: &Named| {
            let name = names::stored(&named.name, self.family);
            let stored = match named.is_projection() && self.options.storing.is_packed() {
                false => vec![TensorInfo { name, dtype: float, shape: named.shape() }],
                true => vec![
                    TensorInfo { name: names::scale(&name), dtype: Dtype::F32, shape: vec![1] },
                    TensorInfo { name, dtype: Dtype::U8, shape: vec![named.slot.rows / 4, named.slot.cols] },
                ],
            };
            Item { named: named.clone(), stored }
        };
        Layout::new(&self.config).tensors().iter().map(item).collect()
    }

    fn write_tensors(
        &self,
        dir: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Vec<(String, Distortion)>, FileError> {
        let items = self.items();
        progress.begin(Phase::Write, items.len());
        let total: usize = items.iter().map(Item::bytes).sum();
        let mut shards: Vec<Vec<Item>> = vec![Vec::new()];
        let mut bytes = 0;
        for item in items {
            if bytes > 0 && bytes + item.bytes() > self.options.shard_bytes {
                shards.push(Vec::new());
                bytes = 0;
            }
            bytes += item.bytes();
            shards.last_mut().expect("there is at least one").push(item);
        }
        let count = shards.len();
        let name = |number: usize| match count {
            1 => WEIGHTS.to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let mut distortions = Vec::new();
        let mut map = Map::new();
        for (number, shard) in shards.iter().enumerate() {
            let stored = shard.iter().flat_map(|item| &item.stored);
            map.extend(stored.map(|info| (info.name.clone(), name(number).into())));
            self.write_shard(&dir.join(name(number)), shard, &mut distortions, progress)?;
        }
        if count > 1 {
            let index = json!({"metadata": {"total_size": total}, "weight_map": map});
            atomic::write_bytes(
                &dir.join(INDEX),
                &serde_json::to_vec_pretty(&index).expect("plain data becomes JSON"),
            )?;
        }
        Ok(distortions)
    }

    fn write_shard(
        &self,
        path: &Path,
        shard: &[Item],
        distortions: &mut Vec<(String, Distortion)>,
        progress: &mut dyn Progress,
    ) -> Result<(), FileError> {
        let infos = shard.iter().flat_map(|item| item.stored.clone()).collect();
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let mut writer = TensorsOut::create(path, infos, &metadata)?;
        for name in writer.order() {
            let owner = shard.iter().find(|item| item.stored.iter().any(|info| info.name == name));
            let named = &owner.expect("every stored tensor has an item").named;
            let is_projection = named.is_projection() && self.is_ternary();
            if is_projection && self.options.storing.is_packed() {
                let ternary = ternary::read(self.adapted, named)?;
                if name.ends_with(names::SCALE) {
                    let inverted = self.options.storing == Storing::OfflineInverted;
                    let scale = if inverted { ternary.scale.recip() } else { ternary.scale };
                    writer.write_f32(&name, &[scale])?;
                    continue;
                }
                distortions.extend(ternary.distortion.map(|found| (named.name.clone(), found)));
                writer.write(&name, &pack(&ternary.codes, named.slot.rows, named.slot.cols))?;
            } else if is_projection && self.adapted.encoding(&named.name)? != Encoding::Float {
                self.write_latent(&mut writer, &name, named)?;
            } else {
                convert::values(self.adapted, named, |piece| writer.write_f32(&name, piece))?;
            }
            self.adapted.release(&named.name);
            progress.advance(&named.name);
        }
        writer.finish()
    }

    /// Values whose absmean is the scale and whose codes are the codes: `±γ/(1 − zero share)`. Writing `γ·T` would give
    /// another scale, `γ·(1 − zero share)`.
    fn write_latent(&self, writer: &mut TensorsOut, name: &str, named: &Named) -> Result<(), FileError> {
        let ternary::Ternary { codes, scale, .. } = ternary::read(self.adapted, named)?;
        let others = codes.iter().filter(|code| **code != 0).count();
        let magnitude = (f64::from(scale) * codes.len() as f64 / others.max(1) as f64) as f32;
        for row in codes.chunks(named.slot.cols) {
            let values: Vec<f32> = row.iter().map(|code| f32::from(*code) * magnitude).collect();
            writer.write_f32(name, &values)?;
        }
        Ok(())
    }

    /// Opens what was written, compares it and lets `progress` judge it; (tensors, greatest relative difference).
    fn compare(&self, dir: &Path, progress: &mut dyn Progress) -> Result<(usize, f32), FileError> {
        let written = super::open(dir)?.table;
        let tolerance = self.options.tolerance(self.was_ternary()?);
        let found = convert::compare(self.adapted, &self.config, &written, tolerance, dir, progress)?;
        let source = &*self.model.source;
        progress.judge(&Written { source, written: &written, rounding: tolerance })?;
        Ok(found)
    }
}

/// `packed[r] |= (T[i·R + r] + 1) << 2i`, R = rows/4.
fn pack(codes: &[i8], rows: usize, cols: usize) -> Vec<u8> {
    let mut packed = vec![0u8; rows / 4 * cols];
    for (i, quarter) in codes.chunks_exact(packed.len()).enumerate() {
        packed.iter_mut().zip(quarter).for_each(|(byte, code)| *byte |= ((code + 1) as u8) << (2 * i));
    }
    packed
}
