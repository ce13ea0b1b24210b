//! GGUF files: a network under our names, its tokenizer, its special ids; and writing them.

mod config;
mod export;
mod names;
mod tokenizer;
mod vocabulary;
mod widen;

pub use export::{Options, export};

use crate::special::SpecialTokens;
use formats::gguf::{File, Tensor, Value};
use formats::quant::{I2sLayout, Scale};
use formats::{FileError, Kind, nearest};
use model::layout::Named;
use model::{Blocks, Config, Encoding, Layout, LinearKind, Source};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

/// The keys of the ids that end a text, an answer and a message within one. llama.cpp stops at any of them.
const END_KEYS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
/// The key, our own, of the ids that end an answer too.
const MORE_ENDS: &str = "trilobit.end_token_ids";

/// An open file, its tensors under our names.
#[derive(Debug)]
pub struct Gguf {
    file: File,
    config: Config,
    places: HashMap<String, Place>,
}

#[derive(Debug)]
struct Place {
    stored: String,
    cols: usize,
    /// γ where the tensor is ternary
    scale: Option<f32>,
    /// what a ternary tensor's own scale is multiplied by
    factor: f32,
}

/// What a file holds beside the tensors.
#[derive(Debug, Default)]
pub struct Extras {
    /// the content of a `tokenizer.json` made from the metadata
    pub tokenizer: Option<Vec<u8>>,
    /// Jinja source of the chat template
    pub chat_template: Option<String>,
    /// ids that end an answer, ascending
    pub end_ids: Vec<u32>,
    /// id that begins a text
    pub bos: Option<u32>,
    /// the tokens of the ids that begin and end a text
    pub special: SpecialTokens,
    /// what was taken for granted, a sentence each
    pub warnings: Vec<String>,
}

/// Opens the file `path` and checks that every tensor of the network is there, in its shape, and no other.
///
/// The network is ternary when all its projections are (each with one scale), or when its architecture is a BitNet.
///
/// # Errors
/// The architecture or one of its choices is not known, a tensor is missing, too many, of another shape, or of a type that
/// is not read.
pub fn open(path: &Path, layout: I2sLayout) -> Result<(Gguf, Extras), FileError> {
    let file = File::open_with(path, layout)?;
    let mut extras = extras(&file)?;
    let mut config = config::describe(&file, &mut extras.warnings)?;
    let tensors = Layout::new(&config);
    let mut places = HashMap::new();
    for named in tensors.tensors() {
        places.insert(named.name.clone(), place(&file, named)?);
    }
    let mut projections = tensors.tensors().iter().filter(|named| named.is_projection());
    if config.sub_norms || projections.all(|named| places[&named.name].scale.is_some()) {
        config.linear = LinearKind::Ternary;
        extras.warnings.extend(blurred(&file, &tensors, &places)?);
    } else {
        // codes of some projections only: they are weights like the others
        places.values_mut().for_each(|place| place.scale = None);
    }
    refuse_others(&file, &tensors)?;
    Ok((Gguf { file, config, places }, extras))
}

/// Whether the file `path` begins as a GGUF file does.
pub fn is_file(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    let opened = formats::bounded::open(path);
    opened.is_ok_and(|mut file| file.read_exact(&mut magic).is_ok() && &magic == b"GGUF")
}

fn unfit(file: &File, what: String) -> FileError {
    FileError::new(file.path(), Kind::Unfit, what, "convert the model from its Hugging Face folder")
}

/// Where a tensor of ours is, and its scale where it is a ternary projection.
fn place(file: &File, named: &Named) -> Result<Place, FileError> {
    let stored = names::stored(&named.name);
    let tensor = file.tensor(&stored)?;
    if tensor.info.shape != named.shape() {
        let (found, needed) = (&tensor.info.shape, named.shape());
        let what = format!("tensor '{stored}' has shape {found:?}, and the network needs {needed:?}");
        return Err(unfit(file, what));
    }
    let mut place = Place { stored, cols: named.slot.cols, scale: None, factor: 1.0 };
    if !named.is_projection() {
        return Ok(place);
    }
    let beside = names::scale(&place.stored);
    if file.has(&beside) {
        let factor = file.tensor(&beside)?;
        let mut value = [0.0];
        if factor.info.elements() != 1 {
            return Err(unfit(file, format!("tensor '{beside}' is not one number")));
        }
        factor.f32_into(0, &mut value)?;
        if !value[0].is_finite() {
            return Err(unfit(file, format!("tensor '{beside}' holds {}", value[0])));
        }
        place.factor = value[0];
    }
    place.scale = match tensor.scale()? {
        Some(Scale::One(scale)) => Some(scale * place.factor),
        Some(Scale::PerBlock) => None,
        None => three_values(&tensor, named)?.map(|scale| scale * place.factor),
    };
    match place.scale {
        Some(scale) if !(scale.is_finite() && scale >= 0.0) => {
            Err(unfit(file, format!("tensor '{}' has the scale {scale}", place.stored)))
        }
        _ => Ok(place),
    }
}

/// What is to be said of a ternary network's projections that the file keeps in quantised blocks whose values are not three: they
/// are ternarised like latent weights, and where they came from ternary ones these and their scale are lost.
fn blurred(
    file: &File,
    layout: &Layout,
    places: &HashMap<String, Place>,
) -> Result<Option<String>, FileError> {
    let mut found = Vec::new();
    for named in layout.tensors().iter().filter(|named| named.is_projection()) {
        let place = &places[&named.name];
        let tensor = file.tensor(&place.stored)?;
        if place.scale.is_none() && tensor.format.block_elements() > 1 {
            found.push(tensor);
        }
    }
    Ok(found.first().map(|first| {
        format!(
            "{}: {} projections of a ternary network are kept in {} or the like ('{}' is the first) with other values than \
             -γ, 0 and γ; they are ternarised as latent weights, and a scale that was their own is lost: convert the model from its \
             Hugging Face folder to i2_s, tq1_0 or tq2_0",
            file.path().display(),
            found.len(),
            first.format.name(),
            first.info.name
        )
    }))
}

/// γ where a tensor of values holds only −γ, 0 and γ, as converters of BitNet write them; `None` for any other.
fn three_values(tensor: &Tensor, named: &Named) -> Result<Option<f32>, FileError> {
    let mut row = vec![0.0f32; named.slot.cols];
    let mut scale = 0.0;
    for number in 0..named.slot.rows {
        tensor.f32_into(number * named.slot.cols, &mut row)?;
        for value in row.iter().map(|value| value.abs()).filter(|value| *value != 0.0) {
            if scale == 0.0 {
                scale = value;
            }
            if value != scale {
                return Ok(None);
            }
        }
    }
    Ok((scale > 0.0).then_some(scale))
}

/// A tensor that the network does not use would make its answers wrong.
fn refuse_others(file: &File, layout: &Layout) -> Result<(), FileError> {
    let mut used = HashSet::from([names::ROPE_FACTORS.to_owned()]);
    for named in layout.tensors() {
        let stored = names::stored(&named.name);
        if named.is_projection() {
            used.insert(names::scale(&stored));
        }
        used.insert(stored);
    }
    match file.tensors().find(|tensor| !used.contains(&tensor.name)) {
        None => Ok(()),
        Some(tensor) => {
            let hint = nearest::hint(&tensor.name, used.iter().map(String::as_str));
            let what = format!("tensor '{}' has no place in the network{hint}", tensor.name);
            Err(unfit(file, what))
        }
    }
}

fn extras(file: &File) -> Result<Extras, FileError> {
    let id = |key: &str| {
        // -1 (or 2³² − 1) means none
        let number = file.get(key).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        number.filter(|id| *id != u32::MAX)
    };
    let mut end_ids: Vec<u32> = END_KEYS.into_iter().filter_map(id).collect();
    if file.get(MORE_ENDS).is_some() {
        end_ids.extend(file.i32s(MORE_ENDS)?.into_iter().filter_map(|id| u32::try_from(id).ok()));
    }
    end_ids.sort_unstable();
    end_ids.dedup();
    let bos = id("tokenizer.ggml.bos_token_id");
    let mut warnings = Vec::new();
    let tokenizer = tokenizer::json(file, bos, &mut warnings)?;
    let tokens = file.strings("tokenizer.ggml.tokens").unwrap_or_default();
    let token = |id: Option<u32>| tokens.get(id? as usize).cloned();
    let special = SpecialTokens { bos: token(bos), eos: token(id(END_KEYS[0])) };
    let template = "tokenizer.chat_template";
    let chat_template = match file.get(template) {
        Some(_) => Some(special.bind(file.str(template)?.to_owned())),
        None => None,
    };
    Ok(Extras { tokenizer, chat_template, end_ids, bos, special, warnings })
}

impl Gguf {
    fn place(&self, name: &str) -> Result<(&Place, Tensor<'_>), FileError> {
        let place = self.places.get(name).ok_or_else(|| {
            let hint = nearest::hint(name, self.places.keys().map(String::as_str));
            unfit(&self.file, format!("the network has no tensor '{name}'{hint}"))
        })?;
        Ok((place, self.file.tensor(&place.stored)?))
    }
}

impl Source for Gguf {
    fn config(&self) -> &Config {
        &self.config
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        let (place, _) = self.place(name)?;
        Ok(place.scale.map_or(Encoding::Float, |scale| Encoding::Ternary { scale }))
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        let (place, tensor) = self.place(name)?;
        tensor.f32_into(rows.start * place.cols, out)?;
        if place.factor != 1.0 {
            out.iter_mut().for_each(|value| *value *= place.factor);
        }
        Ok(())
    }

    fn blocks(&self, name: &str) -> Result<Option<Blocks<'_>>, FileError> {
        let (place, tensor) = self.place(name)?;
        let Tensor { format, bytes, .. } = tensor;
        let whole = format.block_elements() > 1 && format.tail_bytes() == 0 && format.ternary().is_none();
        Ok((whole && place.factor == 1.0).then_some(Blocks { format, bytes }))
    }

    fn release(&self, name: &str) {
        if let Ok((_, tensor)) = self.place(name) {
            self.file.release(&tensor.info.name);
        }
    }

    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError> {
        let (place, tensor) = self.place(name)?;
        assert!(place.scale.is_some(), "'{name}' has values, and codes only once it is quantised");
        let start = rows.start * place.cols;
        if tensor.ternary().is_some() {
            return tensor.codes_into(start, out);
        }
        let mut values = vec![0.0f32; out.len()];
        tensor.f32_into(start, &mut values)?;
        let sign = |value: f32| i8::from(value > 0.0) - i8::from(value < 0.0);
        out.iter_mut().zip(values).for_each(|(out, value)| *out = sign(value));
        Ok(())
    }
}
