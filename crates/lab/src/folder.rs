//! The folder of an experiment: the file it was begun with, its data sets, and a folder for each point.

use crate::experiment::Settings;
use crate::points::{Point, points};
use crate::{Experiment, LabError};
use formats::{atomic, bounded};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The experiment's file, as it was given.
const EXPERIMENT: &str = "experiment.toml";
/// Its size, and its data.
const FACTS: &str = "lab.json";
/// Largest experiment that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A data set that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSet {
    /// what `data prepare` wrote
    pub path: PathBuf,
    /// ids of its tokenizer
    pub vocabulary: usize,
    /// held-out text, for measures that want `{text.NAME}`
    pub text: Option<PathBuf>,
}

/// How an experiment is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// in the quick size
    pub quick: bool,
    /// by name
    pub data: BTreeMap<String, DataSet>,
    /// the model that is healed, in place of the run of the `[start]` table
    #[serde(default)]
    pub from: Option<PathBuf>,
}

impl Facts {
    /// The data set that `settings` name, or the first.
    pub(crate) fn data_set(&self, settings: &Settings) -> Option<&DataSet> {
        match &settings.data {
            Some(name) => self.data.get(name),
            None => self.data.values().next(),
        }
    }
}

/// An experiment that was begun.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    /// what it asks
    pub experiment: Experiment,
    /// how it is run
    pub facts: Facts,
    /// its runs
    pub points: Vec<Point>,
}

impl Folder {
    /// Begins an experiment in `dir`, or goes on with the one there, of which the text may ask, show and claim something else now.
    ///
    /// # Errors
    /// An experiment with other runs, another size, other data or another model is there; the text is no experiment.
    pub fn begin(dir: &Path, name: &str, text: &str, facts: Facts) -> Result<Self, LabError> {
        let experiment = Experiment::parse(name, text, facts.quick)?;
        experiment.check_values(name)?;
        let unfit = |what: &str| LabError::Folder {
            dir: dir.to_owned(),
            what: what.to_owned(),
            remedy: "choose another --out, or give what it was begun with",
        };
        if dir.join(EXPERIMENT).exists() {
            let begun = Self::open(dir)?;
            let before = bounded::read_text(&dir.join(EXPERIMENT), FILE_BYTES_MAX)?;
            let is_same = match begun.facts.quick == facts.quick {
                true => begun.experiment.has_runs_of(&experiment),
                false => before == text,
            };
            if !is_same {
                return Err(unfit("another experiment was begun there"));
            }
            if begun.facts != facts {
                return Err(unfit("it was begun in another size, with other data or from another model"));
            }
            if before != text {
                atomic::write_bytes(&dir.join(EXPERIMENT), text.as_bytes())?;
            }
            return Ok(Self { experiment, ..begun });
        }
        let remedy = "make room there";
        std::fs::create_dir_all(dir.join("points")).map_err(|error| LabError::Folder {
            dir: dir.to_owned(),
            what: error.to_string(),
            remedy,
        })?;
        let json = serde_json::to_vec_pretty(&facts).expect("plain data becomes JSON");
        atomic::write_bytes(&dir.join(FACTS), &json)?;
        atomic::write_bytes(&dir.join(EXPERIMENT), text.as_bytes())?;
        Ok(Self { dir: dir.to_owned(), points: points(&experiment), experiment, facts })
    }

    /// An experiment that was begun in `dir`.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn open(dir: &Path) -> Result<Self, LabError> {
        let path = dir.join(EXPERIMENT);
        if !path.exists() {
            let what = "no experiment was begun there".to_owned();
            let remedy = "name the folder that 'lab run --out' wrote";
            return Err(LabError::Folder { dir: dir.to_owned(), what, remedy });
        }
        let text = bounded::read_text(&path, FILE_BYTES_MAX)?;
        let json = bounded::read(&dir.join(FACTS), FILE_BYTES_MAX)?;
        let facts: Facts = serde_json::from_slice(&json).map_err(|error| LabError::Folder {
            dir: dir.to_owned(),
            what: format!("{FACTS} is damaged: {error}"),
            remedy: "begin the experiment anew in another folder",
        })?;
        let experiment = Experiment::parse(&path.display().to_string(), &text, facts.quick)?;
        Ok(Self { dir: dir.to_owned(), points: points(&experiment), experiment, facts })
    }

    /// Reads the text of an experiment from a file, under a limit.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_text(path: &Path) -> Result<String, LabError> {
        Ok(bounded::read_text(path, FILE_BYTES_MAX)?)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of a point.
    pub fn point_dir(&self, point: &Point) -> PathBuf {
        self.dir.join("points").join(&point.label)
    }

    /// The run folder of a point.
    pub fn run_dir(&self, point: &Point) -> PathBuf {
        self.point_dir(point).join("run")
    }

    /// The model that points are healed from.
    pub fn model(&self) -> PathBuf {
        self.facts.from.clone().unwrap_or_else(|| self.start_dir())
    }

    /// The run of the `[start]` table.
    pub fn start_dir(&self) -> PathBuf {
        self.dir.join("start").join("run")
    }
}
