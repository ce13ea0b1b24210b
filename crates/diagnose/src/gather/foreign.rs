//! What Hugging Face folders and GGUF files say about themselves, also when they do not open as a model.

use super::parse;
use crate::keys::number;
use crate::subject::{Declared, Quantization, Stored, Subject};
use formats::gguf::{self, Array, Value as Metadata};
use formats::quant::{BlockFormat, I2_S, I2sLayout};
use formats::safetensors::{Dtype, File};
use formats::{bounded, limits, manifest};
use serde_json::Value;
use std::path::Path;

/// Most weight files that are listed.
const FILES_MAX: usize = 4096;

/// `config.json` and the headers of the weights.
pub(super) fn hugging_face(subject: &mut Subject, dir: &Path) {
    let text = bounded::read_text(&dir.join("config.json"), limits::CONFIG_BYTES_MAX).unwrap_or_default();
    let json = parse::json(&text).unwrap_or_default();
    let word = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
    let first = json.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    subject.declared = Declared {
        architecture: first.map(str::to_owned).or(word("model_type")),
        activation: word("hidden_act"),
        vocabulary: json.get("vocab_size").and_then(Value::as_u64),
        tied: json.get("tie_word_embeddings").and_then(Value::as_bool),
        dtype: word("torch_dtype").or(word("dtype")),
        quantization: json.get("quantization_config").filter(|table| table.is_object()).map(|table| {
            let word = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
            Quantization {
                method: word("quant_method"),
                class: word("linear_class"),
                mode: word("quantization_mode"),
            }
        }),
        file_type: None,
        is_our_export: is_our_export(dir),
    };
    // Trainers leave such numbers in config.json too.
    subject.progress.step = json.get("global_step").and_then(number).map(|step| step as u64);
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(FILES_MAX);
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    paths.sort();
    for file in paths.iter().filter_map(|path| File::open(path).ok()) {
        subject.stored.extend(file.tensors().map(|info| {
            let one = info.shape.iter().product::<usize>() == 1;
            let mut value = [0.0];
            let is_read = one && file.f32_into(&info.name, 0, &mut value).is_ok();
            let packed = info.dtype == Dtype::U8 && info.shape.len() == 2;
            let illegal = file.bytes(&info.name).ok().filter(|_| packed).map_or(0, illegal_codes);
            Stored {
                name: info.name.clone(),
                kind: info.dtype.name().to_owned(),
                shape: info.shape.clone(),
                value: is_read.then_some(value[0]),
                illegal_codes: illegal,
            }
        }));
    }
}

/// Whether the folder has the manifest that exports here end with.
fn is_our_export(dir: &Path) -> bool {
    let text = bounded::read_text(&dir.join(manifest::NAME), limits::MANIFEST_BYTES_MAX).unwrap_or_default();
    parse::json(&text)
        .is_some_and(|json| json.pointer("/about/kind").is_some_and(|kind| kind == "hugging-face"))
}

/// Metadata and the table of tensors.
pub(super) fn gguf(subject: &mut Subject, path: &Path, layout: I2sLayout) {
    let Ok(file) = gguf::File::open_with(path, layout) else { return };
    let architecture = file.architecture().to_owned();
    let word = |key: &str| file.str(key).ok().map(str::to_owned);
    let tokens = match file.get("tokenizer.ggml.tokens") {
        Some(Metadata::Array(Array::String(tokens))) => Some(tokens.len()),
        _ => None,
    };
    subject.declared = Declared {
        activation: word(&format!("{architecture}.hidden_act")),
        vocabulary: file.u64(&format!("{architecture}.vocab_size")).ok(),
        tied: Some(!file.has("output.weight")),
        file_type: file.file_type(),
        architecture: Some(architecture),
        ..Declared::default()
    };
    subject.text.kind = word("tokenizer.ggml.model");
    subject.text.pre = word("tokenizer.ggml.pre");
    subject.text.size = tokens;
    subject.stored = file
        .tensors()
        .map(|info| {
            let tensor = file.tensor(&info.name).ok();
            let ternary = tensor.filter(|tensor| tensor.format.ggml_type() == I2_S.ggml_type());
            let codes = ternary.and_then(|tensor| tensor.bytes.get(..info.elements() / 4));
            Stored {
                name: info.name.clone(),
                kind: info.format.as_ref().map_or_else(Clone::clone, |format| format.name().to_owned()),
                shape: info.shape.clone(),
                value: ternary.and_then(|tensor| scale(tensor.bytes, info.elements())),
                illegal_codes: codes.map_or(0, illegal_codes),
            }
        })
        .collect();
}

/// The scale after the codes of an I2_S tensor, whatever it is.
fn scale(bytes: &[u8], elements: usize) -> Option<f32> {
    let tail = bytes.get(elements / 4..)?.first_chunk()?;
    Some(f32::from_le_bytes(*tail))
}

/// Two-bit codes 3 in packed bytes.
fn illegal_codes(bytes: &[u8]) -> usize {
    bytes.iter().map(|byte| (byte & byte >> 1 & 0b0101_0101).count_ones() as usize).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threes_are_counted_wherever_they_are_in_a_byte() {
        assert_eq!(illegal_codes(&[0b1100_0000, 0b0000_0011, 0b1010_0101, 0b0110_1001]), 2);
        assert_eq!(illegal_codes(&[0xff]), 4);
    }
}
