//! An experiment as its file says it, checked, with the quick size laid over it where that is asked for.

use crate::expr::{self, Claim, Expr};
use crate::{LabError, points, scope};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Most values of an axis, seeds, and points of a whole experiment.
const VALUES_MAX: usize = 1000;

/// How axes make points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// every value with every other
    #[default]
    Grid,
    /// the first values together, the second ones together, …
    List,
}

/// What a point runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// `trilobit train`
    #[default]
    Train,
    /// `trilobit heal`, from the run of the `[start]` table
    Heal,
}

/// Which built-in text a data set is made of where `--data` names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Corpus {
    /// stories and arithmetic
    #[default]
    Mixed,
    /// stories only
    Stories,
}

/// A preset and keys over it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// of `--preset`
    pub preset: Option<String>,
    /// of `--set`: key, and value as TOML
    pub set: Vec<(String, String)>,
    /// the name of a data set
    pub data: Option<String>,
}

/// One value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisValue {
    /// in tables and claims
    pub label: String,
    /// what it sets
    pub settings: Settings,
}

/// What is varied.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// in tables and claims
    pub name: String,
    /// in order
    pub values: Vec<AxisValue>,
    /// labels of the values that only the full size has
    pub left_out: Vec<String>,
}

/// A child process that measures a finished point.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// in tables and claims
    pub name: String,
    /// arguments of `trilobit`; `{run}` is the point's run, `{text.NAME}` held-out text of a data set
    pub run: Vec<String>,
    /// the key of the JSON object that it prints
    pub take: String,
}

/// Columns over points.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// above it
    pub title: String,
    /// the axes whose values make the rows
    pub rows: Vec<String>,
    /// heading and expression
    pub columns: Vec<(String, Expr)>,
}

/// A measure over the steps of all points.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plot {
    /// above it
    pub title: String,
    /// a column of the metrics, or `state`
    pub measure: String,
}

/// The run that points of the verb `heal` begin with.
pub type Start = Settings;

/// An experiment, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// what it is called
    pub title: String,
    /// what it asks
    pub question: String,
    /// the study it repeats
    pub source: String,
    /// what a point runs
    pub verb: Verb,
    /// under all axes
    pub base: Settings,
    /// whether the model's vocabulary is the data's
    pub data_vocabulary: bool,
    /// of `train.seed`
    pub seeds: Vec<u64>,
    /// what is varied
    pub axes: Vec<Axis>,
    /// how
    pub combine: Combine,
    /// data sets by name
    pub data: BTreeMap<String, Corpus>,
    /// the run that comes first, where the verb needs one
    pub start: Option<Start>,
    /// moments by name: from and to, per cent of all steps
    pub moments: BTreeMap<String, (f64, f64)>,
    /// after a point is done
    pub measures: Vec<Measure>,
    /// in order
    pub tables: Vec<Rows>,
    /// in order
    pub plots: Vec<Plot>,
    /// as written, and as read
    pub claims: Vec<(String, Claim)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    #[serde(default)]
    question: String,
    #[serde(default)]
    source: String,
    base: Base,
    #[serde(default)]
    quick: Quick,
    #[serde(default)]
    combine: Combine,
    start: Option<StartFile>,
    #[serde(default)]
    data: BTreeMap<String, CorpusFile>,
    #[serde(default)]
    moments: BTreeMap<String, String>,
    #[serde(default)]
    axis: Vec<AxisFile>,
    #[serde(default)]
    measure: Vec<Measure>,
    #[serde(default)]
    table: Vec<TableFile>,
    #[serde(default)]
    plot: Vec<Plot>,
    #[serde(default)]
    claim: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    #[serde(default)]
    command: Verb,
    preset: Option<String>,
    seeds: Option<Vec<u64>>,
    vocabulary: Option<OfData>,
    #[serde(default)]
    set: Table,
}

/// The only word that `vocabulary` takes.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OfData {
    Data,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quick {
    preset: Option<String>,
    seeds: Option<Vec<u64>>,
    vocabulary: Option<OfData>,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    start_set: Table,
    #[serde(default)]
    keep: BTreeMap<String, Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartFile {
    preset: Option<String>,
    #[serde(default)]
    set: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CorpusFile {
    #[serde(default)]
    corpus: Corpus,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AxisFile {
    name: String,
    key: Option<String>,
    #[serde(default)]
    values: Vec<Value>,
    random: Option<RangeFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeFile {
    from: f64,
    to: f64,
    count: usize,
    #[serde(default)]
    log: bool,
    #[serde(default)]
    seed: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueFile {
    is: Value,
    preset: Option<String>,
    data: Option<String>,
    #[serde(default)]
    set: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    title: String,
    rows: Option<Vec<String>>,
    columns: Vec<ColumnFile>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ColumnFile {
    Bare(String),
    Named { name: String, value: String },
}

/// An error about a place in the file.
fn fault<T>(place: impl Into<String>, reason: impl Into<String>) -> Result<T, LabError> {
    Err(LabError::Experiment { place: place.into(), reason: reason.into() })
}

impl Experiment {
    /// Reads an experiment; `name` is how errors call it.
    ///
    /// # Errors
    /// The text is none, or contradicts itself.
    pub fn parse(name: &str, text: &str, quick: bool) -> Result<Self, LabError> {
        let file: File = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => return fault(name, error.to_string().trim_end().to_owned()),
        };
        let over = if quick { file.quick } else { Quick::default() };
        let mut base = Settings { preset: over.preset.or(file.base.preset), ..Settings::default() };
        base.set = laid_over(flatten(&file.base.set), flatten(&over.set));
        let axes = axes(name, &file.axis, &over.keep)?;
        let start = file.start.map(|start| Settings {
            preset: start.preset,
            set: laid_over(flatten(&start.set), flatten(&over.start_set)),
            data: None,
        });
        let mut data: BTreeMap<String, Corpus> =
            file.data.into_iter().map(|(name, file)| (name, file.corpus)).collect();
        if data.is_empty() {
            data.insert("main".to_owned(), Corpus::Mixed);
        }
        let all: Vec<String> = axes.iter().map(|axis| axis.name.clone()).collect();
        let experiment = Self {
            title: file.title,
            question: file.question,
            source: file.source,
            verb: file.base.command,
            base,
            data_vocabulary: over.vocabulary.or(file.base.vocabulary).is_some(),
            seeds: over.seeds.or(file.base.seeds).unwrap_or_else(|| vec![0]),
            axes,
            combine: file.combine,
            data,
            start,
            moments: moments(name, &file.moments)?,
            measures: file.measure,
            tables: file.table.into_iter().map(|table| rows(name, table, &all)).collect::<Result<_, _>>()?,
            plots: file.plot,
            claims: file.claim.into_iter().map(|text| claim(name, text)).collect::<Result<_, _>>()?,
        };
        experiment.check(name)?;
        Ok(experiment)
    }

    /// Refuses claims and tables about a value that no axis has, in no size: they would be undecided after all runs are done.
    ///
    /// # Errors
    /// The sentence names the value, and those that there are.
    pub fn check_values(&self, name: &str) -> Result<(), LabError> {
        for table in &self.tables {
            let paths = table.columns.iter().flat_map(|(_, expr)| expr.paths());
            scope::check_values(self, paths)
                .or_else(|reason| fault(format!("{name}, table '{}'", table.title), reason))?;
        }
        for (text, claim) in &self.claims {
            scope::check_values(self, claim.condition.paths().into_iter())
                .or_else(|reason| fault(format!("{name}, claim '{text}'"), reason))?;
        }
        Ok(())
    }

    /// Whether the runs of `other` are the same ones, measured alike, whatever is asked, shown or claimed of them.
    pub fn has_runs_of(&self, other: &Self) -> bool {
        let bare = |experiment: &Self| Self {
            title: String::new(),
            question: String::new(),
            source: String::new(),
            moments: BTreeMap::new(),
            tables: Vec::new(),
            plots: Vec::new(),
            claims: Vec::new(),
            ..experiment.clone()
        };
        bare(self) == bare(other)
    }

    fn check(&self, name: &str) -> Result<(), LabError> {
        let lengths = self.axes.iter().map(|axis| axis.values.len());
        let points = match self.combine {
            Combine::Grid => lengths.fold(self.seeds.len(), |product, length| product.saturating_mul(length)),
            Combine::List => lengths.max().unwrap_or(1).saturating_mul(self.seeds.len()),
        };
        if points == 0 || points > VALUES_MAX {
            return fault(name, format!("it has {points} points; 1 to {VALUES_MAX} are possible"));
        }
        if self.combine == Combine::List
            && self.axes.windows(2).any(|pair| pair[0].values.len() != pair[1].values.len())
        {
            return fault(
                name,
                "the axes of a list have to be equally long; make them so, or leave 'combine' out",
            );
        }
        if (self.verb == Verb::Heal) != self.start.is_some() {
            return fault(
                name,
                "the command 'heal' and a [start] table, the model that is healed, go together",
            );
        }
        for value in self.axes.iter().flat_map(|axis| &axis.values) {
            if let Some(data) = value.settings.data.as_ref().filter(|data| !self.data.contains_key(*data)) {
                return fault(name, format!("there is no data set '{data}'; add a table [data.{data}]"));
            }
        }
        points::check(self).or_else(|reason| fault(name, reason))?;
        scope::check_names(&self.measures).or_else(|reason| fault(name, reason))?;
        for plot in &self.plots {
            if !scope::PLOTTED.contains(&plot.measure.as_str()) {
                let known = scope::PLOTTED.join(", ");
                return fault(name, format!("'{}' cannot be plotted; one of {known} can", plot.measure));
            }
        }
        for table in &self.tables {
            let paths = table.columns.iter().flat_map(|(_, expr)| expr.paths());
            scope::check(self, &table.rows, paths)
                .or_else(|reason| fault(format!("{name}, table '{}'", table.title), reason))?;
        }
        for (text, claim) in &self.claims {
            scope::check(self, &claim.axes, claim.condition.paths().into_iter())
                .or_else(|reason| fault(format!("{name}, claim '{text}'"), reason))?;
        }
        Ok(())
    }
}

fn claim(name: &str, text: String) -> Result<(String, Claim), LabError> {
    match expr::claim(&text) {
        Ok(claim) => Ok((text, claim)),
        Err(error) => Err(LabError::Syntax { place: name.into(), text, error }),
    }
}

fn rows(name: &str, table: TableFile, all: &[String]) -> Result<Rows, LabError> {
    let column = |column| {
        let (heading, text) = match column {
            ColumnFile::Bare(text) => (text.clone(), text),
            ColumnFile::Named { name, value } => (name, value),
        };
        let expr = expr::expression(&text);
        expr.map(|expr| (heading, expr)).map_err(|error| LabError::Syntax { place: name.into(), text, error })
    };
    Ok(Rows {
        rows: table.rows.unwrap_or_else(|| all.to_vec()),
        columns: table.columns.into_iter().map(column).collect::<Result<_, _>>()?,
        title: table.title,
    })
}

/// Moments that every experiment has.
const MOMENTS: [(&str, f64, f64); 9] = [
    ("start", 0.0, 0.0),
    ("quarter", 25.0, 25.0),
    ("stage1_end", 50.0, 50.0),
    ("stage2", 60.0, 60.0),
    ("three_quarters", 75.0, 75.0),
    ("end", 100.0, 100.0),
    ("stage1", 0.0, 50.0),
    ("second_half", 50.0, 100.0),
    ("whole", 0.0, 100.0),
];

/// `"60%"`, or `"10%..50%"`.
fn moments(name: &str, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, (f64, f64)>, LabError> {
    let mut moments: BTreeMap<String, (f64, f64)> =
        MOMENTS.into_iter().map(|(name, from, to)| (name.to_owned(), (from, to))).collect();
    for (moment, text) in given {
        let percent = |text: &str| -> Option<f64> {
            let value: f64 = text.trim().strip_suffix('%')?.trim().parse().ok()?;
            (0.0..=100.0).contains(&value).then_some(value)
        };
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        match (percent(from), percent(to)) {
            (Some(from), Some(to)) if from <= to => moments.insert(moment.clone(), (from, to)),
            _ => {
                return fault(
                    format!("{name}, moment '{moment}'"),
                    format!("'{text}' is no moment: write 60% or 10%..50%"),
                );
            }
        };
    }
    Ok(moments)
}

fn axes(name: &str, files: &[AxisFile], keep: &BTreeMap<String, Vec<Value>>) -> Result<Vec<Axis>, LabError> {
    let mut axes: Vec<Axis> = Vec::new();
    for file in files {
        let place = format!("{name}, axis '{}'", file.name);
        let given = match &file.random {
            Some(range) if file.values.is_empty() => drawn(&place, range)?,
            Some(_) => return fault(place, "it has 'values' and 'random'; one of them is enough"),
            None => file.values.clone(),
        };
        let mut values =
            given.iter().map(|value| axis_value(&place, file, value)).collect::<Result<Vec<_>, _>>()?;
        let mut left_out = Vec::new();
        if let Some(kept) = keep.get(&file.name) {
            let kept: Vec<String> = kept.iter().map(plain).collect();
            let labels = values.iter().map(|value| value.label.clone());
            left_out = labels.filter(|label| !kept.contains(label)).collect();
            values.retain(|value| kept.contains(&value.label));
        }
        let is_word = file.name.chars().all(|c| c.is_alphanumeric() || c == '_') && !file.name.is_empty();
        if values.is_empty() || values.len() > VALUES_MAX || !is_word || file.name == "seed" {
            return fault(place, format!("an axis has a word for a name, and 1 to {VALUES_MAX} values"));
        }
        if (1..values.len())
            .any(|index| values[..index].iter().any(|other| other.label == values[index].label))
        {
            return fault(place, "two of its values have the same label");
        }
        if axes.iter().any(|axis| axis.name == file.name) {
            return fault(place, "there is another axis of this name");
        }
        axes.push(Axis { name: file.name.clone(), values, left_out });
    }
    match keep.keys().find(|kept| !axes.iter().any(|axis| axis.name == **kept)) {
        Some(unknown) => fault(format!("{name}, quick.keep"), format!("there is no axis '{unknown}'")),
        None => Ok(axes),
    }
}

fn axis_value(place: &str, file: &AxisFile, value: &Value) -> Result<AxisValue, LabError> {
    let Value::Table(table) = value else {
        let Some(key) = &file.key else {
            return fault(place, "plain values need a 'key' that they set; or write { is = …, set = { … } }");
        };
        let set = vec![(key.clone(), value.to_string())];
        return Ok(AxisValue { label: plain(value), settings: Settings { set, ..Settings::default() } });
    };
    let file: ValueFile = match table.clone().try_into() {
        Ok(file) => file,
        Err(error) => return fault(place, error.to_string().trim_end().to_owned()),
    };
    let settings = Settings { preset: file.preset, set: flatten(&file.set), data: file.data };
    Ok(AxisValue { label: plain(&file.is), settings })
}

/// Values between `from` and `to`, the same ones for the same seed.
fn drawn(place: &str, range: &RangeFile) -> Result<Vec<Value>, LabError> {
    let RangeFile { from, to, count, log, seed } = *range;
    let sound = from.is_finite()
        && to.is_finite()
        && from < to
        && (!log || from > 0.0)
        && (1..=VALUES_MAX).contains(&count);
    if !sound {
        return fault(place, "'random' needs from < to (both above 0 where log = true) and a count");
    }
    let value = |index: usize| {
        let share = uniform(seed, index as u64);
        let value = match log {
            true => (from.ln() + (to.ln() - from.ln()) * share).exp(),
            false => from + (to - from) * share,
        };
        // Four digits say as much, and make a label.
        let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
        Value::Float(rounded)
    };
    Ok((0..count).map(value).collect())
}

/// Number `index` of the stream `seed`, in 0..1 (SplitMix64).
fn uniform(seed: u64, index: u64) -> f64 {
    let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// A value without the quotes of TOML.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `table.key` and value as TOML, in order; nested tables become dotted keys.
fn flatten(table: &Table) -> Vec<(String, String)> {
    let mut flat = Vec::new();
    let mut open: Vec<(String, &Value)> =
        table.iter().rev().map(|(key, value)| (key.clone(), value)).collect();
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Table(inner) => {
                open.extend(inner.iter().rev().map(|(key, value)| (format!("{path}.{key}"), value)))
            }
            other => flat.push((path, other.to_string())),
        }
    }
    flat
}

/// `over` wins.
pub fn laid_over(mut base: Vec<(String, String)>, over: Vec<(String, String)>) -> Vec<(String, String)> {
    base.retain(|(key, _)| !over.iter().any(|(other, _)| other == key));
    base.extend(over);
    base
}
