//! The lines of `metrics.jsonl` as columns, by name: what the page's script draws, shows and compares.

use journal::metrics::{Record, Step};
use serde_json::{Map, Value};

/// A column of one number a line.
pub struct Column {
    /// the key in `metrics.jsonl`
    pub key: &'static str,
    /// what it is, for people
    pub title: &'static str,
    /// of a line; `None` where the line has none
    pub of: fn(&Step) -> Option<f64>,
}

/// All columns of one number a line.
pub static COLUMNS: &[Column] = &[
    Column { key: "step", title: "step", of: |s| Some(s.step as f64) },
    Column { key: "tokens", title: "tokens", of: |s| Some(s.tokens as f64) },
    Column { key: "loss", title: "training loss", of: |s| Some(s.loss) },
    Column { key: "bits_per_byte", title: "bits per byte", of: |s| Some(s.bits_per_byte) },
    Column { key: "lr", title: "learning rate", of: |s| Some(s.lr) },
    Column { key: "weight_decay", title: "weight decay", of: |s| Some(s.weight_decay) },
    Column { key: "lambda", title: "λ", of: |s| Some(s.lambda) },
    Column { key: "grad_norm", title: "gradient norm", of: |s| Some(s.grad_norm) },
    Column { key: "tokens_per_s", title: "tokens/s", of: |s| Some(s.tokens_per_s) },
    Column { key: "validation_loss", title: "validation loss", of: |s| s.record.validation_loss },
    Column {
        key: "validation_bits_per_byte",
        title: "validation bits per byte",
        of: |s| s.record.validation_bits_per_byte,
    },
    Column {
        key: "ternary_validation_loss",
        title: "validation loss at λ = 1",
        of: |s| s.record.ternary_validation_loss,
    },
    Column { key: "unique_tokens", title: "unique tokens", of: |s| s.record.unique_tokens.map(f64::from) },
    Column { key: "output_entropy", title: "output entropy", of: |s| s.record.output_entropy },
    Column { key: "repetition", title: "repetition", of: |s| s.record.repetition },
    Column { key: "memory_bytes", title: "memory", of: |s| s.record.memory_bytes.map(|bytes| bytes as f64) },
];

/// The column of this key.
///
/// # Panics
/// When there is none.
pub fn column(key: &str) -> &'static Column {
    COLUMNS.iter().find(|column| column.key == key).unwrap_or_else(|| panic!("no column '{key}'"))
}

/// Finite values of a column with their steps.
pub fn points(steps: &[Step], key: &str) -> Vec<(f64, f64)> {
    let of = column(key).of;
    let point = |step: &Step| Some((step.step as f64, of(step).filter(|value| value.is_finite())?));
    steps.iter().filter_map(point).collect()
}

/// A number for each layer, of a record that has them.
pub type Layers = fn(&Record) -> Option<&Vec<f32>>;

/// Columns of one number a layer.
pub static LAYER_COLUMNS: &[(&str, Layers)] = &[
    ("zero_share", |record| record.zero_share.as_ref()),
    ("flip_rate", |record| record.flip_rate.as_ref()),
    ("scale", |record| record.scale.as_ref()),
];

/// All columns as JSON, `null` where a line has no finite value; a column without any value is left out.
pub fn json(steps: &[&Step]) -> Map<String, Value> {
    let mut columns = Map::new();
    for Column { key, of, .. } in COLUMNS {
        let value = |step: &Step| match *key {
            // Whole numbers keep all their digits.
            "step" => step.step.into(),
            "tokens" => step.tokens.into(),
            "memory_bytes" => step.record.memory_bytes.into(),
            "unique_tokens" => step.record.unique_tokens.into(),
            _ => of(step).into(),
        };
        insert(&mut columns, key, steps.iter().copied().map(value).collect());
    }
    for (key, of) in LAYER_COLUMNS {
        let value = |step: &Step| of(&step.record).map(|layers| layers.iter().map(|x| decimal(*x)).collect());
        insert(&mut columns, key, steps.iter().map(|step| value(step).unwrap_or(Value::Null)).collect());
    }
    insert(
        &mut columns,
        "distillation",
        steps.iter().map(|step| step.distillation.map(Vec::from).into()).collect(),
    );
    insert(&mut columns, "phase", steps.iter().map(|step| step.record.phase.clone().into()).collect());
    columns
}

/// A single-precision number with the digits that it has in `metrics.jsonl`: the shortest that read back to it.
fn decimal(value: f32) -> Value {
    match value.is_finite() {
        true => value.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        false => Value::Null,
    }
}

fn insert(columns: &mut Map<String, Value>, key: &str, values: Vec<Value>) {
    if values.iter().any(|value| !value.is_null()) {
        columns.insert(key.to_owned(), values.into());
    }
}
