//! Everything that rules may look at, as plain data: what files say, what tensors are, how a run went.

use crate::recipe::Recipe;
use crate::tensors::Tensor;
use model::{Config, LinearKind};

/// What was brought to the doctor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// one of our run folders
    Run,
    /// a native checkpoint without its run
    Checkpoint,
    /// a Hugging Face folder
    HuggingFace,
    /// a GGUF file
    Gguf,
    /// a llama2.c-style file
    Llama2c,
    /// a training configuration alone
    #[default]
    Recipe,
    /// a log of a run, alone or with its configuration
    Log,
}

/// How a Hugging Face configuration says that weights are packed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantization {
    /// `quant_method`
    pub method: Option<String>,
    /// `linear_class`
    pub class: Option<String>,
    /// `quantization_mode`
    pub mode: Option<String>,
}

/// What a foreign model's own words are; nothing for our own models.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// `architectures[0]`, or `general.architecture`
    pub architecture: Option<String>,
    /// `hidden_act`
    pub activation: Option<String>,
    /// `vocab_size`
    pub vocabulary: Option<u64>,
    /// `tie_word_embeddings`
    pub tied: Option<bool>,
    /// `torch_dtype` or `dtype`
    pub dtype: Option<String>,
    /// `quantization_config`
    pub quantization: Option<Quantization>,
    /// `general.file_type`
    pub file_type: Option<u32>,
    /// exported by this program, which knows what it does
    pub is_our_export: bool,
}

impl Declared {
    /// Whether the architecture is of the BitNet family.
    pub fn is_bitnet(&self) -> bool {
        let name = self.architecture.as_deref().unwrap_or_default().to_ascii_lowercase();
        name.contains("bitnet")
    }
}

/// One tensor as a file lists it, whether or not it has a place in the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// its name in the file
    pub name: String,
    /// `BF16`, `U8`, `I2_S`, or why its type cannot be read
    pub kind: String,
    /// dimensions, outermost first
    pub shape: Vec<usize>,
    /// the value, where it is a single number; of a ternary GGUF tensor its scale
    pub value: Option<f32>,
    /// codes 3 in it, which no ternary tensor has
    pub illegal_codes: usize,
}

/// What is known of the text side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// tokens of the tokenizer, where there is one
    pub size: Option<usize>,
    /// `tokenizer.ggml.model`
    pub kind: Option<String>,
    /// `tokenizer.ggml.pre`
    pub pre: Option<String>,
    /// ids that the model declares as the end of a text or an answer
    pub end_ids: Vec<u32>,
    /// tokens of the vocabulary that end a text or an answer by their usual names
    pub named_ends: Vec<(String, u32)>,
    /// whether there is a chat template
    pub has_chat_template: bool,
}

/// How far a run came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// steps done
    pub step: Option<u64>,
    /// tokens seen
    pub tokens: Option<f64>,
    /// λ of the last step
    pub lambda: Option<f64>,
    /// best validation loss so far; infinite where none was ever measured
    pub best_loss: Option<f64>,
    /// entropy of the training data's token frequencies, nats
    pub unigram_entropy: Option<f64>,
    /// distinct training tokens
    pub train_tokens: Option<f64>,
    /// steps that a guard refused
    pub guarded: u64,
    /// steps done at a newer checkpoint of the run, which is damaged: so far it was trained
    pub lost: Option<u64>,
}

/// One line of a log; what it does not have is absent, what is not a number is NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// counted from 0, or from 1 in others' logs
    pub step: u64,
    /// training loss, nats per token
    pub loss: Option<f64>,
    /// learning rate
    pub lr: Option<f64>,
    /// weight decay
    pub weight_decay: Option<f64>,
    /// share of quantisation
    pub lambda: Option<f64>,
    /// norm of the gradient before clipping
    pub grad_norm: Option<f64>,
    /// loss on text that is not trained on
    pub validation_loss: Option<f64>,
    /// distinct answers to 20 random prompts
    pub unique_tokens: Option<f64>,
    /// share of positions with the commonest answer
    pub repetition: Option<f64>,
    /// share of codes changed since the record before, mean over layers
    pub flip_rate: Option<f64>,
}

/// Reads one column of a log.
pub type Column = fn(&Point) -> Option<f64>;

/// Everything about one patient.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// what it is
    pub form: Form,
    /// the network as it would be computed, where it can be
    pub config: Option<Config>,
    /// what a foreign model says about itself
    pub declared: Declared,
    /// how it was, or will be, trained
    pub recipe: Recipe,
    /// how far it came
    pub progress: Progress,
    /// the log in the order of its lines
    pub series: Vec<Point>,
    /// the network's tensors
    pub tensors: Vec<Tensor>,
    /// the tensors as files list them
    pub stored: Vec<Stored>,
    /// tokenizer and special ids
    pub text: Text,
    /// why the model could not be opened or read, where it could not
    pub trouble: Option<String>,
}

impl Subject {
    /// Whether the model is, or will be, ternary. A configuration or a log that does not say so is taken as one.
    pub fn is_ternary(&self) -> bool {
        let dense = self.recipe.own.as_ref().map(|own| &own.model).or(self.config.as_ref());
        match dense {
            Some(config) => config.linear == LinearKind::Ternary,
            None if self.declared.architecture.is_some() => {
                self.declared.is_bitnet() || self.declared.quantization.is_some()
            }
            None => true,
        }
    }

    /// T: steps of the whole run, where they are known.
    pub fn total_steps(&self) -> Option<u64> {
        self.recipe.steps.filter(|steps| *steps > 0)
    }

    /// The first step of the second stage, ⌈T/2⌉.
    pub fn switch(&self) -> Option<u64> {
        self.total_steps().map(|steps| steps.div_ceil(2))
    }

    /// Steps done: as a checkpoint says, or else the log.
    pub fn steps_done(&self) -> Option<u64> {
        self.progress.step.or(self.series.last().map(|point| point.step + 1))
    }

    /// Whether the run is within its first stage, so that nothing final can be said; `false` where that is not known.
    pub fn is_before_switch(&self) -> bool {
        matches!((self.steps_done(), self.switch()), (Some(done), Some(switch)) if done <= switch)
    }

    /// The steps and values of a column, where it has any.
    pub fn column(&self, column: Column) -> Vec<(u64, f64)> {
        self.series.iter().filter_map(|point| Some((point.step, column(point)?))).collect()
    }

    /// Mean of the last `share` of a column's finite values (at least one).
    pub fn tail_mean(&self, column: Column, share: f64) -> Option<f64> {
        let mut values = self.column(column);
        values.retain(|(_, value)| value.is_finite());
        let count = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1));
        mean(&values[values.len().checked_sub(count)?..])
    }

    /// Mean of a column's finite values of the steps from `from` to before `to`.
    pub fn mean_between(&self, column: Column, from: u64, to: u64) -> Option<f64> {
        let mut values = self.column(column);
        values.retain(|(step, value)| (from..to).contains(step) && value.is_finite());
        mean(&values)
    }

    /// Size of the vocabulary.
    pub fn vocabulary(&self) -> Option<f64> {
        let own = self.recipe.own.as_ref().map(|own| own.model.vocabulary as f64);
        let stated = self.declared.vocabulary.or(self.recipe.vocabulary).map(|size| size as f64);
        self.config.as_ref().map(|config| config.vocabulary as f64).or(own).or(stated)
    }

    /// Number of parameters, where the shape is known.
    pub fn parameters(&self) -> Option<f64> {
        let config = self.config.as_ref().or(self.recipe.own.as_ref().map(|own| &own.model));
        config.map(|config| config.parameters() as f64).or(self.recipe.parameters)
    }

    /// The projections whose codes could be counted.
    pub fn projections(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.iter().filter(|tensor| tensor.ternary.is_some())
    }

    /// Of the names of `tensors`, how many and which; for evidence.
    pub fn names<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> String {
        list(tensors.map(|tensor| tensor.name.as_str()))
    }
}

fn mean(values: &[(u64, f64)]) -> Option<f64> {
    let sum: f64 = values.iter().map(|(_, value)| value).sum();
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

/// Up to three of some names, and how many more there are.
pub(crate) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names[..names.len().min(3)].join(", ");
    match names.len() {
        0..=3 => shown,
        more => format!("{shown} and {} more", more - 3),
    }
}
