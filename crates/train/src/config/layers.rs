//! The sources of a configuration, from the weakest to the strongest, and how one says where a key came from.

use super::value::{self, Fault, What};
use super::{
    ConfigError, DistillConfig, HealConfig, LoraConfig, RunConfig, SftConfig, SourceConfig, StartConfig,
    TrainConfig, check,
};
use crate::schedule::{LambdaConfig, ScheduleConfig};
use std::io::Read;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// Largest configuration file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Likeness (Jaro–Winkler, 1 for equal) from which a name is offered as what was meant.
const LIKENESS_MIN: f64 = 0.7;

struct Layer {
    /// as it is named in an error
    name: String,
    table: Table,
    /// of a file or preset, to find a line in
    text: Option<String>,
}

/// Everything given, in the order of its strength.
#[derive(Default)]
pub(super) struct Layers(Vec<Layer>);

impl Layers {
    /// What was typed: preset, file and `key=value` sets, each over the one before.
    pub(super) fn add_typed(
        &mut self,
        preset: Option<&str>,
        file: Option<&Path>,
        sets: &[String],
    ) -> Result<(), ConfigError> {
        if let Some(name) = preset {
            self.add_preset(name)?;
        }
        if let Some(path) = file {
            self.add_file(path)?;
        }
        sets.iter().try_for_each(|set| self.add_set(set))
    }

    fn add_preset(&mut self, name: &str) -> Result<(), ConfigError> {
        let Some(text) = model::presets::text(name) else {
            return Err(ConfigError::Preset {
                name: name.into(),
                hint: hint(name, model::presets::names()),
                known: model::presets::names().collect::<Vec<_>>().join(", "),
            });
        };
        self.add_text(format!("preset {name}"), text)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let failed = |error| ConfigError::Read { path: path.into(), error };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut text = String::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if read as u64 > FILE_BYTES_MAX {
            let reason = format!("it is longer than {FILE_BYTES_MAX} bytes, which no configuration is");
            return Err(failed(std::io::Error::other(reason)));
        }
        self.add_text(path.display().to_string(), &text)
    }

    pub(super) fn add_text(&mut self, name: String, text: &str) -> Result<(), ConfigError> {
        let table = text.parse::<Table>().map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            ConfigError::Syntax { place: format!("{name} line {line}"), message: error.message().into() }
        })?;
        self.0.push(Layer { name, table, text: Some(text.into()) });
        Ok(())
    }

    fn add_set(&mut self, given: &str) -> Result<(), ConfigError> {
        let failed = |reason: &str| ConfigError::Set { given: given.into(), reason: reason.into() };
        let Some((path, value)) = given.split_once('=') else {
            return Err(failed("there is no '='; write key=value, for example train.steps=1000"));
        };
        let keys: Vec<&str> = path.split('.').map(str::trim).collect();
        if keys.iter().any(|key| key.is_empty()) {
            return Err(failed("the key is empty; write key=value, for example train.steps=1000"));
        }
        let value = typed(value.trim()).map_err(|message| failed(&message))?;
        let value = keys
            .iter()
            .rev()
            .fold(value, |inner, key| Value::Table(Table::from_iter([(key.to_string(), inner)])));
        if let Value::Table(table) = value {
            self.0.push(Layer { name: format!("--set {given}"), table, text: None });
        }
        Ok(())
    }

    /// Lays every layer over the one before, reads the result and checks it.
    pub(super) fn resolve(&self) -> Result<RunConfig, ConfigError> {
        let mut merged = Table::new();
        for layer in &self.0 {
            merge(&mut merged, layer.table.clone());
        }
        let config: RunConfig = value::read(merged).map_err(|fault| self.explain(fault))?;
        check::contradiction(&config).map_err(|(key, reason)| ConfigError::Key {
            place: self.place(&key.split('.').collect::<Vec<_>>()),
            key,
            reason,
        })?;
        Ok(config)
    }

    fn explain(&self, fault: Fault) -> ConfigError {
        let mut path = fault.path();
        let reason = match fault.what {
            What::UnknownKey { name, known } => {
                let reason = unknown_key(&path, &name, known);
                path.push(name);
                reason
            }
            What::UnknownVariant { name, known } => format!(
                "'{name}' is unknown{}; it is one of {}",
                hint(&name, known.iter().copied()),
                known.join(", ")
            ),
            What::Missing(name) => {
                path.push(name.into());
                "is missing; set it, or start from a preset".into()
            }
            What::Other(reason) => reason,
        };
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        ConfigError::Key { place: self.place(&keys), key: path.join("."), reason }
    }

    /// Where the value of a key came from, in brackets; nothing for a value that nobody gave.
    fn place(&self, path: &[&str]) -> String {
        let strongest = self.0.iter().rev().find(|layer| contains(&layer.table, path));
        let Some(layer) = strongest else {
            return String::new();
        };
        match layer.text.as_deref().and_then(|text| find_line(text, path)) {
            Some(line) => format!(" ({} line {line})", layer.name),
            None => format!(" ({})", layer.name),
        }
    }
}

/// `over` wins; tables are merged key by key, everything else is replaced.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// A value as TOML writes it; what is no TOML is a bare string, unless it opens a quote or a bracket.
fn typed(given: &str) -> Result<Value, String> {
    match format!("value = {given}").parse::<Table>() {
        Ok(mut table) if table.len() == 1 => Ok(table.remove("value").expect("the only key")),
        Err(error) if given.starts_with(['"', '\'', '[', '{']) => {
            Err(format!("the value is not valid TOML: {}", error.message()))
        }
        _ => Ok(Value::String(given.into())),
    }
}

fn contains(table: &Table, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    let mut value = table.get(*first);
    for key in rest {
        value = value.and_then(|value| match value {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            Value::Table(table) => table.get(*key),
            _ => None,
        });
    }
    value.is_some()
}

/// The line, from 1, on which `text` gives the key `path`.
fn find_line(text: &str, path: &[&str]) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let (first, rest) = path.split_first()?;
    let find = |table: &DeTable<'_>, key: &str| -> Option<usize> {
        let (key, _) = table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(key.span().start)
    };
    let mut start = find(document.get_ref(), first)?;
    let mut value = document.get_ref().get(*first)?;
    for key in rest {
        value = match value.get_ref() {
            DeValue::Array(items) => {
                let item = items.get(key.parse::<usize>().ok()?)?;
                start = item.span().start;
                item
            }
            DeValue::Table(table) => {
                start = find(table, key)?;
                table.get(*key)?
            }
            _ => return None,
        };
    }
    Some(line_of(text, start))
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The candidate most like `name`, if any is alike enough to be what was meant.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn hint<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or(String::new(), |near| format!(" (did you mean '{near}'?)"))
}

/// All tables with their keys.
fn tables() -> [(&'static str, &'static [&'static str]); 10] {
    [
        ("model", value::keys::<model::Config>()),
        ("train", value::keys::<TrainConfig>()),
        ("schedule", value::keys::<ScheduleConfig>()),
        ("lambda", value::keys::<LambdaConfig>()),
        ("start", value::keys::<StartConfig>()),
        ("lora", value::keys::<LoraConfig>()),
        ("heal", value::keys::<HealConfig>()),
        ("distill", value::keys::<DistillConfig>()),
        ("sft", value::keys::<SftConfig>()),
        ("data", value::keys::<SourceConfig>()),
    ]
}

/// Says what was meant: the same key in another table, a key like it in the same table or in another.
fn unknown_key(path: &[String], name: &str, known: &[&str]) -> String {
    let elsewhere = |name: &str| {
        let holds = |(table, keys): &(&str, &[&str])| {
            (*table != "data" && keys.contains(&name)).then(|| format!("{table}.{name}"))
        };
        tables().iter().find_map(holds)
    };
    let here = |near: &str| path.iter().map(String::as_str).chain([near]).collect::<Vec<_>>().join(".");
    let everything = tables();
    let all_names = everything.iter().flat_map(|(_, keys)| keys.iter().copied());
    let meant = elsewhere(name).or_else(|| nearest(name, known.iter().copied()).map(here)).or_else(|| {
        // Who names a table means one of its keys: they are listed where none is near.
        path.is_empty().then(|| nearest(name, all_names).and_then(elsewhere))?
    });
    match meant {
        Some(meant) => format!("is an unknown key; did you mean '{meant}'?"),
        None => format!("is an unknown key; known here are {}", known.join(", ")),
    }
}
