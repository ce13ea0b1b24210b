//! Writing a model as probes have proved that it was meant.

use crate::Patient;
use crate::altered::{Altered, Change};
use checkpoint::{Dialect, Loaded, OpenOptions, gguf, hf};
use formats::quant::{self, BlockFormat};
use formats::{FileError, Kind};
use model::{Encoding, Source};
use std::path::Path;

/// Writes the patient with `changes` to `out`, in its own dialect; a llama2.c file becomes a native checkpoint. What is written is
/// read again and compared. Says what was put right.
///
/// # Errors
/// There is nothing to put right, the model does not open, or writing fails.
pub fn write(patient: &Patient, changes: &[Change], out: &Path) -> Result<String, FileError> {
    if changes.is_empty() {
        let what = "no probe proved a fix, so nothing was written";
        return Err(FileError::new(out, Kind::Unfit, what, "look at the remedies of the findings"));
    }
    if out.exists() {
        return Err(FileError::new(out, Kind::Exists, "it is there already", "choose another --fix OUT"));
    }
    let options = changes.iter().fold(patient.options.clone(), |options, change| change.reading(&options));
    let loaded = reopen(patient, &options, changes)?;
    match loaded.dialect {
        Dialect::Gguf => write_gguf(patient, &loaded, out)?,
        Dialect::HuggingFace => write_folder(&loaded, out)?,
        Dialect::Native | Dialect::Llama2c | Dialect::Random => {
            checkpoint::import(&loaded, out, &mut ()).map(|_| ())?
        }
    }
    let fixed: Vec<String> = changes.iter().map(Change::to_string).collect();
    Ok(format!("{} holds the model with {}", out.display(), fixed.join(", ")))
}

fn reopen(patient: &Patient, options: &OpenOptions, changes: &[Change]) -> Result<Loaded, FileError> {
    let mut loaded = checkpoint::open_with(&patient.path, options)?;
    let inner = loaded.source;
    loaded.source = Box::new(Altered::new(inner, changes));
    Ok(loaded)
}

fn is_packed(source: &dyn Source) -> Result<bool, FileError> {
    Ok(source.encoding("layers.0.q")? != Encoding::Float)
}

fn write_gguf(patient: &Patient, loaded: &Loaded, out: &Path) -> Result<(), FileError> {
    let stored = &patient.subject.stored;
    let kind = |part: &str| {
        stored.iter().find(|tensor| tensor.name.contains(part)).map(|tensor| tensor.kind.as_str())
    };
    let named = |kind: Option<&str>| kind.and_then(|kind| quant::named(kind.trim_end_matches("_ARM")).ok());
    let writable = |format: &&dyn BlockFormat| format.encoder().is_some() || format.ternary().is_some();
    let format = named(kind("attn_q")).filter(writable).unwrap_or(&quant::F16);
    let embedding =
        named(kind("token_embd")).filter(|format| format.encoder().is_some()).unwrap_or(&quant::F16);
    let options = gguf::Options { format, embedding, quantize: false, widen: false };
    gguf::export(loaded, out, &options, &mut ()).map(|_| ())
}

fn write_folder(loaded: &Loaded, out: &Path) -> Result<(), FileError> {
    let storing = match (loaded.config().linear, is_packed(&*loaded.source)?) {
        (model::LinearKind::Dense, _) => hf::Storing::Dense,
        (_, true) => hf::Storing::Offline,
        (_, false) => hf::Storing::Online,
    };
    let options = hf::Options { storing, bf16: false, quantize: false, shard_bytes: hf::SHARD_BYTES_MAX };
    hf::export(loaded, out, &options, &mut ()).map(|_| ())
}
