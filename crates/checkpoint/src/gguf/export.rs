//! Writing a GGUF file: one tensor in memory at a time, read again and compared before it appears.

use super::config::{self, FINAL_EPSILON, HIDDEN_ACT};
use super::widen::Widened;
use super::{Extras, names, vocabulary};
use crate::adapt::Adapted;
use crate::convert::{self, Report, round_trip};
use crate::loaded::Loaded;
use crate::progress::{Phase, Progress, Written};
use crate::ternary;
use formats::gguf::{self, Declaration, Value, Writer};
use formats::quant::{BlockFormat, F16, F32, I2_S, I2sLayout};
use formats::{FileError, Kind};
use model::layout::Named;
use model::{Activation, Config, Encoding, Layout, LinearKind, RopeScaling, RopeStyle, Source};
use std::ops::Range;
use std::path::Path;

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// of the projections: a ternary format, or F16
    pub format: &'static dyn BlockFormat,
    /// of the embedding and the head
    pub embedding: &'static dyn BlockFormat,
    /// ternarise the projections of a dense network
    pub quantize: bool,
    /// add zeros until the rows of all projections are whole blocks of the format
    pub widen: bool,
}

/// Writes the file `out`, replacing what was there once it is complete.
///
/// Codes are exactly those of the model; scales are rounded to f16 where the format holds f16.
///
/// # Errors
/// No architecture of llama.cpp or bitnet.cpp computes the network; it cannot be widened; a dense network is to be
/// packed without `quantize`; what was written does not read back; a folder is at `out`; the disk.
pub fn export(
    model: &Loaded,
    out: &Path,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Report, FileError> {
    let is_packed = options.format.ternary().is_some();
    // F16 holds codes too: the latent values of a ternary network are not written.
    let is_ternary = model.config().linear == LinearKind::Ternary;
    let linear = convert::target(model, is_packed || is_ternary || options.quantize, options.quantize)?;
    let architecture = architecture(model, options)?;
    let style = if architecture == "llama" { RopeStyle::Interleaved } else { RopeStyle::RotateHalf };
    let adapted = Adapted::new(&*model.source, style);
    let widened = match options.widen {
        true => Widened::new(&adapted, options.format.block_elements(), &model.path)?,
        false => Widened::unchanged(&adapted),
    };
    let config = Config { linear, ..widened.config().clone() };
    let rounded = Rounded { inner: &widened, options, config };
    let (writer, report) = rounded.write(model, architecture, out, progress)?;
    writer.finish_if(|staged| {
        let (written, extras) = super::open(staged, I2sLayout::X86)?;
        let found = convert::compare(&rounded, &rounded.config, &written, 0.0, out, progress)?;
        compare_ends(model, &extras, out)?;
        let fallback = rounded.unblocked().map_or(0.0, |_| rounding(&F16));
        let rounding = rounding(options.format).max(rounding(options.embedding)).max(fallback);
        progress.judge(&Written { source: &*model.source, written: &written, rounding })?;
        Ok(Report { tensors: found.0, ..report })
    })
}

/// Whether what was written ends its answers where the model does.
fn compare_ends(model: &Loaded, written: &Extras, out: &Path) -> Result<(), FileError> {
    let mut expected = model.end_ids.clone();
    expected.sort_unstable();
    expected.dedup();
    if written.end_ids == expected {
        return Ok(());
    }
    let found = &written.end_ids;
    let what =
        format!("what was written reads back differently: ids {found:?} end an answer, not {expected:?}");
    Err(FileError::damaged(out, what, "report this"))
}

/// The name under which engines look the network up.
fn architecture(model: &Loaded, options: &Options) -> Result<&'static str, FileError> {
    let config = model.config();
    let inside = config.norm_placement == model::NormPlacement::Inside;
    match (config.sub_norms || inside, config.qkv_bias, config.qk_norm) {
        // mainline llama.cpp knows 'bitnet' only, bitnet.cpp both
        (true, false, false) if options.format.name() == I2_S.name() => Ok("bitnet-b1.58"),
        (true, false, false) => Ok("bitnet"),
        (false, false, false) => Ok("llama"),
        (false, true, false) => Ok("qwen2"),
        (false, false, true) => Ok("qwen3"),
        _ => {
            let what =
                "it has sub-norms, biases or head norms together, and no architecture of llama.cpp does";
            Err(FileError::new(&model.path, Kind::Unfit, what, "keep it as it is"))
        }
    }
}

/// The network as the file will hold it: values and scales rounded to the formats.
struct Rounded<'a> {
    inner: &'a Widened<'a>,
    options: &'a Options,
    config: Config,
}

impl Rounded<'_> {
    fn format(&self, named: &Named) -> &'static dyn BlockFormat {
        match (named.is_projection(), named.is_matrix) {
            (true, _) if named.slot.cols.is_multiple_of(self.options.format.block_elements()) => {
                self.options.format
            }
            // rows that are no whole blocks: the same three values, at sixteen bits each
            (true, _) => &F16,
            (false, true) => self.options.embedding,
            (false, false) => &F32,
        }
    }

    /// Whether a tensor is written as codes and a scale: also F16 holds those, as −γ, 0 and γ.
    fn is_coded(&self, named: &Named) -> bool {
        named.is_projection() && self.config.linear == LinearKind::Ternary
    }

    fn ternary(&self, named: &Named) -> Result<ternary::Ternary, FileError> {
        self.inner.ternary(&named.name)
    }

    /// γ as the tensor's format holds it.
    fn scale(&self, named: &Named, scale: f32) -> f32 {
        if self.format(named).name() == I2_S.name() { scale } else { round_trip(&F16, &[scale])[0] }
    }

    /// Number of projections whose rows are no whole blocks of the wanted format, and the length of such a row.
    fn unblocked(&self) -> Option<(usize, usize)> {
        let layout = Layout::new(&self.config);
        let wanted = self.options.format.name();
        let others = layout
            .tensors()
            .iter()
            .filter(|named| named.is_projection() && self.format(named).name() != wanted);
        let rows: Vec<usize> = others.map(|named| named.slot.cols).collect();
        Some((rows.len(), *rows.first()?))
    }

    fn write(
        &self,
        model: &Loaded,
        architecture: &str,
        path: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(Writer, Report), FileError> {
        let layout = Layout::new(&self.config);
        let declare = |named: &Named| Declaration {
            name: names::stored(&named.name),
            shape: named.shape(),
            format: self.format(named),
        };
        let tensors: Vec<Declaration> = layout.tensors().iter().map(declare).collect();
        let mut writer = Writer::create(path, &self.metadata(model, architecture)?, &tensors)?;
        progress.begin(Phase::Write, tensors.len());
        let (mut distortions, mut largest) = (Vec::new(), 0.0f32);
        for named in layout.tensors() {
            let stored = names::stored(&named.name);
            if self.is_coded(named) {
                let found = self.ternary(named)?;
                let scale = self.scale(named, found.scale);
                largest = largest.max(((scale - found.scale) / found.scale).abs());
                distortions.extend(found.distortion.map(|distortion| (named.name.clone(), distortion)));
                self.write_codes(&mut writer, &stored, named, &found.codes, scale)?;
            } else {
                let encode = self.encoder(self.format(named), path)?;
                convert::values(self.inner, named, |piece| {
                    if !piece.iter().all(|value| value.is_finite()) {
                        let what = format!("tensor '{}' holds a value that is not finite", named.name);
                        let remedy =
                            "the model is damaged or its training diverged: take another checkpoint of it";
                        return Err(FileError::new(path, Kind::Unfit, what, remedy));
                    }
                    let mut bytes = vec![0; self.bytes(self.format(named), piece.len())];
                    encode(piece, &mut bytes);
                    writer.write(&stored, &bytes)
                })?;
            }
            self.inner.release(&named.name);
            progress.advance(&named.name);
        }
        let is_exact = self.options.format.name() == I2_S.name() && self.unblocked().is_none();
        let tolerance = if is_exact { 0.0 } else { 1.0 / 2048.0 };
        let notes = self.notes(model.config(), architecture);
        Ok((writer, Report { distortions, tensors: 0, tolerance, largest, notes }))
    }

    fn bytes(&self, format: &dyn BlockFormat, elements: usize) -> usize {
        elements / format.block_elements() * format.block_bytes()
    }

    fn encoder(&self, format: &dyn BlockFormat, path: &Path) -> Result<formats::quant::Encode, FileError> {
        format.encoder().ok_or_else(|| {
            let what = format!("{} is read here, not written", format.name());
            FileError::new(path, Kind::Unfit, what, "choose F16, Q8_0 or Q6_K")
        })
    }

    fn write_codes(
        &self,
        writer: &mut Writer,
        stored: &str,
        named: &Named,
        codes: &[i8],
        scale: f32,
    ) -> Result<(), FileError> {
        let format = self.format(named);
        let Some(ternary) = format.ternary() else {
            let encode = self.encoder(format, Path::new(stored))?;
            for row in codes.chunks(named.slot.cols) {
                let values: Vec<f32> = row.iter().map(|code| f32::from(*code) * scale).collect();
                let mut bytes = vec![0; self.bytes(format, values.len())];
                encode(&values, &mut bytes);
                writer.write(stored, &bytes)?;
            }
            return Ok(());
        };
        let mut bytes = vec![0; self.bytes(format, codes.len())];
        ternary
            .encode_codes(codes, scale, &mut bytes)
            .map_err(|what| FileError::new(Path::new(stored), Kind::Unfit, what, "choose --type i2_s"))?;
        writer.write(stored, &bytes)?;
        let tail = ternary.tail(scale);
        if tail.is_empty() { Ok(()) } else { writer.write(stored, &tail) }
    }

    fn metadata(&self, model: &Loaded, architecture: &str) -> Result<Vec<(String, Value)>, FileError> {
        let config = &self.config;
        let size = |value: usize| Value::U32(u32::try_from(value).expect("limits keep sizes below 2^32"));
        let name = model.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut keys = vec![
            (gguf::ARCHITECTURE.to_owned(), Value::String(architecture.into())),
            ("general.name".to_owned(), Value::String(name)),
            (gguf::FILE_TYPE.to_owned(), Value::U32(file_type(self.options.format))),
            ("general.quantization_version".to_owned(), Value::U32(2)),
        ];
        let mut put = |key: &str, value: Value| keys.push((format!("{architecture}.{key}"), value));
        put("context_length", size(config.context));
        put("embedding_length", size(config.hidden));
        put("block_count", size(config.layers));
        put("feed_forward_length", size(config.ffn));
        put("attention.head_count", size(config.heads));
        put("attention.head_count_kv", size(config.kv_heads));
        put("attention.key_length", size(config.head_size));
        put("attention.value_length", size(config.head_size));
        put("attention.layer_norm_rms_epsilon", Value::F32(config.norm_epsilon));
        put("rope.freq_base", Value::F32(config.rope_theta as f32));
        put("rope.dimension_count", size(config.head_size));
        put("vocab_size", size(config.vocabulary));
        let activation = if config.activation == Activation::Relu2 { "relu2" } else { "silu" };
        put(HIDDEN_ACT, Value::String(activation.into()));
        if let Some(epsilon) = config.final_norm_epsilon {
            put(FINAL_EPSILON, Value::F32(epsilon));
        }
        match config.rope_scaling {
            None => (),
            Some(RopeScaling::Linear { factor }) => {
                put("rope.scaling.type", Value::String("linear".into()));
                put("rope.scaling.factor", Value::F32(factor as f32));
            }
            Some(RopeScaling::Llama3 { .. }) => {
                let what =
                    "its RoPE is stretched as Llama-3.1's, which is read from GGUF files and not written";
                let remedy = "export it as a Hugging Face folder";
                return Err(FileError::new(&model.path, Kind::Unfit, what, remedy));
            }
        }
        keys.extend(vocabulary::metadata(model, config.vocabulary)?);
        Ok(keys)
    }

    /// What reads the file of the network `narrow` should know.
    fn notes(&self, narrow: &Config, architecture: &str) -> Vec<String> {
        let mut notes = convert::notes(&self.config, "llama.cpp");
        let sizes = |config: &Config| {
            format!(
                "hidden {}, {} of {} heads, ffn {}",
                config.hidden, config.kv_heads, config.heads, config.ffn
            )
        };
        let (before, after) = (sizes(narrow), sizes(&self.config));
        if before != after {
            notes.push(format!("widened with zeros from {before} to {after}, which computes the same"));
        }
        if let Some((tensors, row)) = self.unblocked() {
            let (format, block) = (self.options.format.name(), self.options.format.block_elements());
            let remedy = if self.config.sub_norms { "" } else { "; --widen fills their rows up with zeros" };
            notes.push(format!(
                "{tensors} projections have rows of {row} weights, no multiple of {format}'s blocks of {block}; they are F16, with the \
                 same three values, and engines that do not look for these compute them with unrounded activations{remedy}"
            ));
        }
        let known = config::ARCHITECTURES.iter().find(|known| known.name == architecture);
        if known.is_some_and(|known| known.activation != self.config.activation) {
            notes.push(format!(
                "engines that do not read the key '{architecture}.{HIDDEN_ACT}' compute another gate for '{architecture}' than \
                 this model was trained with, and answer wrongly"
            ));
        }
        if architecture == "bitnet" && !self.config.tied {
            notes.push(
                "llama.cpp's 'bitnet' takes the embedding for the head, and this model has its own".into(),
            );
        }
        notes
    }
}

/// `general.file_type`.
fn file_type(format: &dyn BlockFormat) -> u32 {
    match format.name() {
        "I2_S" => 40,
        "TQ1_0" => 36,
        "TQ2_0" => 37,
        "F32" => 0,
        _ => 1,
    }
}

/// The most by which a format moves a value (of a ternary one: the scale), relative to the largest in its block: half of the
/// smallest step, which is 2⁻¹⁰ for an f16, 1/127 for 8 bits, 1/31 for 6 bits.
fn rounding(format: &dyn BlockFormat) -> f32 {
    match format.name() {
        "F32" | "I2_S" => 0.0,
        "Q8_0" => 0.5 / 127.0,
        "Q6_K" => 0.5 / 31.0,
        _ => 0.5 / 1024.0,
    }
}

impl Source for Rounded<'_> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        let named = convert::named(&self.config, name);
        if !self.is_coded(&named) {
            return Ok(Encoding::Float);
        }
        Ok(Encoding::Ternary { scale: self.scale(&named, self.ternary(&named)?.scale) })
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        self.inner.read(name, rows, out)?;
        let rounded = round_trip(self.format(&convert::named(&self.config, name)), out);
        out.copy_from_slice(&rounded);
        Ok(())
    }

    fn release(&self, name: &str) {
        self.inner.release(name);
    }

    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError> {
        let named = convert::named(&self.config, name);
        let codes = self.ternary(&named)?.codes;
        out.copy_from_slice(&codes[rows.start * named.slot.cols..rows.end * named.slot.cols]);
        Ok(())
    }
}
