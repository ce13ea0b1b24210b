//! What was typed beside a run that goes on, laid over the configuration that it was begun with.

use super::layers::Layers;
use super::{ConfigError, RunConfig};
use std::fmt;
use std::path::Path;
use toml::{Table, Value};

/// A key of which something else is asked for than a run was begun with; its sentence says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// with its tables, for example `train.steps`
    pub key: String,
    /// of the run
    pub from: Option<Value>,
    /// typed
    pub to: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to } = self;
        match (from, to) {
            (None, _) => write!(f, "it was begun without {key}, which is asked for now"),
            (Some(from), Some(to)) => {
                write!(f, "it was begun with {key} = {from}, and {to} is asked for now")
            }
            (Some(from), None) => write!(f, "it was begun with {key} = {from}, which is to be left out now"),
        }
    }
}

impl RunConfig {
    /// The first thing that preset, file and `key=value` sets would change of this configuration, each laid over the one before;
    /// `None` where it says the same.
    ///
    /// # Errors
    /// What was typed is unknown, or contradicts the configuration.
    pub fn change(
        &self,
        preset: Option<&str>,
        file: Option<&Path>,
        sets: &[String],
    ) -> Result<Option<Change>, ConfigError> {
        let own = self.to_toml()?;
        let mut layers = Layers::default();
        layers.add_text("the run's configuration".into(), &own)?;
        layers.add_typed(preset, file, sets)?;
        let [own, asked] = [self, &layers.resolve()?].map(Table::try_from);
        Ok(first(&own?, &asked?))
    }
}

/// The first key in which two tables differ.
fn first(own: &Table, asked: &Table) -> Option<Change> {
    let added = asked.keys().filter(|key| !own.contains_key(*key));
    own.keys().chain(added).find_map(|key| match (own.get(key), asked.get(key)) {
        (Some(Value::Table(own)), Some(Value::Table(asked))) => {
            first(own, asked).map(|change| Change { key: format!("{key}.{}", change.key), ..change })
        }
        (from, to) if from == to => None,
        (from, to) => Some(Change { key: key.clone(), from: from.cloned(), to: to.cloned() }),
    })
}
