//! Running the points of an experiment as child processes: resumable, several at a time, each with its log.

use crate::experiment::{Experiment, Measure, Settings, Verb};
use crate::folder::{DataSet, Facts};
use crate::measure::{self, MEASURES, Measured};
use crate::points::Point;
use crate::{Folder, LabError};
use formats::{FileError, Kind, atomic, bounded};
use journal::layout::checkpoint_step;
use journal::{Lock, Run, metrics};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Time between two looks at the children.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Time between two questions whether to stop.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Exit code of a child that was signalled twice: it has ended at once.
const AT_ONCE: i32 = 130;
/// The end of a log or of the metrics that is looked at, bytes.
const TAIL_BYTES: u64 = 64 << 10;
/// What a point was begun with.
const BEGUN: &str = "point.json";
const LOG: &str = "log.txt";
const TRAIN_LINE_BYTES_MAX: u64 = 1 << 20;

/// How a point stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// its turn comes
    Waiting,
    /// a child process is at it: steps done and the last loss
    Running {
        /// steps
        done: u64,
        /// nats a token
        loss: f64,
    },
    /// all steps and measures are done
    Done {
        /// of the last step
        loss: f64,
    },
    /// stopped in order; it goes on next time
    Stopped,
    /// another process has it
    Elsewhere,
    /// the child ended with an error: its last words
    Failed(String),
}

/// Learns how all points stand.
pub type Watch<'a> = dyn FnMut(&[(Point, Status)]) + 'a;

/// How to run.
pub struct Options<'a> {
    /// the `trilobit` program
    pub program: PathBuf,
    /// children at a time
    pub jobs: usize,
    /// cores that the children share
    pub cores: usize,
    /// (i, n): only every n-th point, from the i-th on
    pub share: (usize, usize),
    /// asked between looks
    pub interrupted: &'a dyn Fn() -> bool,
    /// called whenever something may have changed
    pub watch: &'a mut Watch<'a>,
}

struct Running {
    index: usize,
    child: Child,
    _lock: Lock,
}

/// Runs what is not done yet. Returns the state of every point of the share.
///
/// # Errors
/// A folder cannot be written, the program cannot be started, or a point was begun with other settings.
pub fn run(folder: &Folder, options: &mut Options) -> Result<Vec<(Point, Status)>, LabError> {
    if folder.experiment.verb == Verb::Heal && folder.facts.from.is_none() {
        start(folder, options)?;
    }
    let (own, of) = options.share;
    let mut states: Vec<(Point, Status)> = folder
        .points
        .iter()
        .enumerate()
        .filter(|(index, _)| index % of.max(1) == own)
        .map(|(_, point)| (point.clone(), Status::Waiting))
        .collect();
    let mut running: Vec<Running> = Vec::new();
    let mut next = 0;
    let mut failure = None;
    let mut stopping = false;
    loop {
        if !stopping && ((options.interrupted)() || failure.is_some()) {
            stopping = true;
            running.iter().for_each(|one| ask_to_stop(one.child.id()));
        }
        let is_room = |running: &[Running]| running.len() < options.jobs.max(1) && !(options.interrupted)();
        while !stopping && is_room(&running) && next < states.len() {
            match begin(folder, options, &mut states, next) {
                Ok(begun) => running.extend(begun),
                Err(error) => failure = Some(error),
            }
            next += 1;
            if failure.is_some() {
                break;
            }
        }
        (options.watch)(&states);
        if running.is_empty() && (stopping || next >= states.len()) {
            return failure.map_or(Ok(states), Err);
        }
        pause(options, stopping);
        let mut still = Vec::new();
        for mut one in running {
            let (index, point) = (one.index, states[one.index].0.clone());
            if let Ok(Some(status)) = one.child.try_wait() {
                match ended(folder, options, &point, status) {
                    Ok(status) => states[index].1 = status,
                    Err(error) => failure = failure.or(Some(error)),
                }
            } else {
                states[index].1 = progress(folder, &point);
                still.push(one);
            }
        }
        running = still;
    }
}

/// Starts a point that is not done and that nobody else has.
fn begin(
    folder: &Folder,
    options: &Options,
    states: &mut [(Point, Status)],
    index: usize,
) -> Result<Option<Running>, LabError> {
    let point = states[index].0.clone();
    let dir = folder.point_dir(&point);
    create(&dir)?;
    let lock = match Lock::acquire(&dir) {
        Ok(lock) => lock,
        Err(error) if error.kind == Kind::Locked => {
            states[index].1 = Status::Elsewhere;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    if folder.run_dir(&point).is_dir() && is_locked(&folder.run_dir(&point)) {
        states[index].1 = Status::Elsewhere;
        return Ok(None);
    }
    let wanted = arguments(folder, &point)?;
    let before = begun(&dir, &wanted)?;
    if let Some(measured) = Measured::finished(&dir)? {
        states[index].1 = finish(folder, options, &point, &measured)?;
        return Ok(None);
    }
    let threads = before.map_or((options.cores / options.jobs.max(1)).max(1), |before| before.threads);
    let mut begun = Begun { arguments: wanted, threads };
    atomic::write_bytes(
        &dir.join(BEGUN),
        &serde_json::to_vec_pretty(&begun).expect("plain data becomes JSON"),
    )?;
    begun.arguments.extend(["--set".to_owned(), format!("train.threads={threads}")]);
    let child = spawn(&options.program, &begun.arguments, &dir.join(LOG))?;
    states[index].1 = Status::Running { done: 0, loss: f64::NAN };
    Ok(Some(Running { index, child, _lock: lock }))
}

/// Whether a child of a killed `lab run` is still at this run.
fn is_locked(run: &Path) -> bool {
    Lock::acquire(run).is_err_and(|error| error.kind == Kind::Locked)
}

fn create(dir: &Path) -> Result<(), LabError> {
    Ok(std::fs::create_dir_all(dir).map_err(|error| FileError::io(dir, "create", &error))?)
}

/// What launchers tell their ranks by. A child is a job of its own, also where this process is one rank of several.
const RANK_VARIABLES: [&str; 3] = ["OMPI_", "PMIX_", "PMI_"];

/// A child has a process group of its own: Ctrl-C in a terminal reaches this process alone, which asks each child once.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).process_group(0);
    for (key, _) in std::env::vars_os() {
        let is_rank = |key: &str| RANK_VARIABLES.iter().any(|prefix| key.starts_with(prefix));
        if key.to_str().is_some_and(is_rank) {
            command.env_remove(&key);
        }
    }
    command
}

fn spawn(program: &Path, arguments: &[String], log: &Path) -> Result<Child, LabError> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    let file = |file: std::io::Result<File>| file.map_err(|error| FileError::io(log, "open", &error));
    let (out, err) = (file(open())?, file(open())?);
    command(program)
        .args(arguments)
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|source| LabError::Start { program: program.to_owned(), source })
}

/// Asks the child `id` to write a checkpoint and end.
fn ask_to_stop(id: u32) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // One that has just ended needs no asking.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Waits until the next look at the children, or until this process is asked to stop where that is news.
fn pause(options: &Options, is_known: bool) {
    let begun = Instant::now();
    while begun.elapsed() < LOOK_EVERY && (is_known || !(options.interrupted)()) {
        std::thread::sleep(ASK_EVERY);
    }
}

/// What a point was begun with: it goes on with the same, whatever number of jobs it was begun beside.
#[derive(Serialize, Deserialize)]
struct Begun {
    arguments: Vec<String>,
    threads: usize,
}

fn arguments(folder: &Folder, point: &Point) -> Result<Vec<String>, LabError> {
    let mut arguments = match folder.experiment.verb {
        Verb::Train => vec!["train".to_owned()],
        Verb::Heal => vec!["heal".to_owned(), "--from".to_owned(), text(&folder.model())],
    };
    arguments.extend(settings(folder, &point.settings)?);
    arguments.extend(["--out".to_owned(), text(&folder.run_dir(point)), "--resume".to_owned()]);
    Ok(arguments)
}

/// What the point in `dir` was begun with, where it was.
///
/// # Errors
/// That is not what is wanted now: what is there is another point's.
fn begun(dir: &Path, wanted: &[String]) -> Result<Option<Begun>, LabError> {
    let bytes = bounded::read(&dir.join(BEGUN), TRAIN_LINE_BYTES_MAX).unwrap_or_default();
    let before: Option<Begun> = serde_json::from_slice(&bytes).ok();
    match before {
        Some(before) if !settled(&before.arguments).eq(settled(wanted)) => Err(LabError::Folder {
            dir: dir.to_owned(),
            what: "it was begun with other settings".into(),
            remedy: "remove it, or choose another --out",
        }),
        before => Ok(before),
    }
}

/// Arguments without the folders of the experiment's own, which may be moved.
fn settled(arguments: &[String]) -> impl Iterator<Item = &String> {
    let before = std::iter::once("").chain(arguments.iter().map(String::as_str));
    let pairs = before.zip(arguments).filter(|(before, _)| !matches!(*before, "--out" | "--from"));
    pairs.map(|(_, argument)| argument)
}

/// `--preset`, `--data` and `--set` of these settings.
fn settings(folder: &Folder, settings: &Settings) -> Result<Vec<String>, LabError> {
    let set = data_set(folder, settings)?;
    let mut arguments: Vec<String> =
        settings.preset.iter().flat_map(|preset| ["--preset".to_owned(), preset.clone()]).collect();
    arguments.extend(["--data".to_owned(), text(&set.path)]);
    arguments.extend(
        sets(&folder.experiment, &folder.facts, settings)
            .into_iter()
            .flat_map(|set| ["--set".to_owned(), set]),
    );
    Ok(arguments)
}

/// The `key=value` sets of these settings: the vocabulary of their data where the network has that, then their own.
pub fn sets(experiment: &Experiment, facts: &Facts, settings: &Settings) -> Vec<String> {
    let is_healed = experiment.verb == Verb::Heal && settings.preset.is_none();
    let data = facts.data_set(settings).filter(|_| experiment.data_vocabulary && !is_healed);
    let vocabulary = data.map(|data| format!("model.vocabulary={}", data.vocabulary));
    vocabulary.into_iter().chain(settings.set.iter().map(|(key, value)| format!("{key}={value}"))).collect()
}

fn data_set<'a>(folder: &'a Folder, settings: &Settings) -> Result<&'a DataSet, LabError> {
    folder.facts.data_set(settings).ok_or_else(|| LabError::Folder {
        dir: folder.dir().to_owned(),
        what: format!("there is no data set '{}'", settings.data.as_deref().unwrap_or("main")),
        remedy: "name it with --data NAME=DIR",
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// What the newest line of the metrics says.
fn progress(folder: &Folder, point: &Point) -> Status {
    match last_line(&folder.run_dir(point)) {
        Some(step) => Status::Running { done: step.step.saturating_add(1), loss: step.loss },
        None => Status::Running { done: 0, loss: f64::NAN },
    }
}

fn last_line(run: &Path) -> Option<metrics::Step> {
    let tail = tail(&run.join(journal::layout::METRICS))?;
    // The first piece may be the end of a line, the last one its beginning.
    tail.split_inclusive('\n').rev().find_map(|line| serde_json::from_str(line.strip_suffix('\n')?).ok())
}

fn tail(path: &Path) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// After a child has ended: its measures, or why it is not done.
fn ended(folder: &Folder, options: &Options, point: &Point, status: ExitStatus) -> Result<Status, LabError> {
    let dir = folder.point_dir(point);
    // A child that was asked to stop before it listened has no code.
    let is_asked = matches!(status.code(), None | Some(AT_ONCE)) && (options.interrupted)();
    if !status.success() && !is_asked {
        return Ok(Status::Failed(last_words(&dir.join(LOG))));
    }
    match Measured::finished(&dir)? {
        Some(measured) => finish(folder, options, point, &measured),
        None => Ok(Status::Stopped),
    }
}

/// Measures a point whose steps are done.
fn finish(
    folder: &Folder,
    options: &Options,
    point: &Point,
    measured: &Measured,
) -> Result<Status, LabError> {
    let dir = folder.point_dir(point);
    let loss = measured.run.steps.last().map_or(f64::NAN, |step| step.loss);
    let mut extra = measure::read_extra(&dir);
    for wanted in &folder.experiment.measures {
        if extra.contains_key(&wanted.name) {
            continue;
        }
        if (options.interrupted)() {
            return Ok(Status::Stopped);
        }
        match ask(folder, options, point, wanted) {
            Ok(value) => extra.insert(wanted.name.clone(), value),
            Err(_) if (options.interrupted)() => return Ok(Status::Stopped),
            Err(why) => return Ok(Status::Failed(format!("{}: {why}", wanted.name))),
        };
        atomic::write_bytes(
            &dir.join(MEASURES),
            &serde_json::to_vec_pretty(&extra).expect("plain data becomes JSON"),
        )?;
    }
    keep_only(&folder.run_dir(point), measured.run.last_step())?;
    Ok(Status::Done { loss })
}

/// Removes the checkpoints of a finished run but the one after its `last` step: five of each point would fill a disk.
fn keep_only(run: &Path, last: u64) -> Result<(), LabError> {
    let checkpoints = Run::open(run)?.checkpoints();
    let fail = |error: &std::io::Error| FileError::io(&checkpoints, "remove old checkpoints", error);
    let entries = std::fs::read_dir(&checkpoints).map_err(|error| fail(&error))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for name in names.filter(|name| checkpoint_step(name).is_some_and(|step| step != last)) {
        std::fs::remove_dir_all(checkpoints.join(name)).map_err(|error| fail(&error))?;
    }
    Ok(())
}

/// Runs the child process of a measure and takes its number.
fn ask(
    folder: &Folder,
    options: &Options,
    point: &Point,
    wanted: &Measure,
) -> Result<serde_json::Value, String> {
    let mut arguments = Vec::new();
    for argument in &wanted.run {
        let mut argument = argument.replace("{run}", &text(&folder.run_dir(point)));
        for (name, set) in &folder.facts.data {
            if argument.contains(&format!("{{text.{name}}}")) {
                let held_out = set.text.as_ref().ok_or_else(|| {
                    format!("the data set '{name}' has no held-out text; give one with --text {name}=FILE")
                })?;
                argument = argument.replace(&format!("{{text.{name}}}"), &text(held_out));
            }
        }
        arguments.push(argument);
    }
    let output =
        output(options, &arguments).map_err(|error| format!("{}: {error}", options.program.display()))?;
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|_| {
        String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it printed no JSON").to_owned()
    })?;
    match printed.get(&wanted.take) {
        Some(value) if value.is_number() => Ok(value.clone()),
        _ => Err(format!("it printed no number '{}'", wanted.take)),
    }
}

/// What a child process prints. It is asked to stop where this process is.
fn output(options: &Options, arguments: &[String]) -> std::io::Result<Output> {
    let mut command = command(&options.program);
    let child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let id = child.id();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| child.wait_with_output());
        let mut asked = false;
        while !reader.is_finished() {
            if !asked && (options.interrupted)() {
                asked = true;
                ask_to_stop(id);
            }
            std::thread::sleep(ASK_EVERY);
        }
        reader.join().expect("reading does not panic")
    })
}

/// The last line of a log that says something.
fn last_words(log: &Path) -> String {
    let tail = tail(log).unwrap_or_default();
    let line = tail.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it ended without a word");
    line.chars().take(400).collect()
}

/// Makes the run of the `[start]` table, unless it is there.
fn start(folder: &Folder, options: &Options) -> Result<(), LabError> {
    let dir = folder.start_dir();
    let parent = dir.parent().unwrap_or(&dir).to_owned();
    create(&parent)?;
    let not_done = |why: String| LabError::Folder {
        dir: parent.clone(),
        what: format!("the run that is to be healed is not done: {why}"),
        remedy: "run the same command again to go on",
    };
    let Some(_lock) = wait_for(&parent, &dir, options)? else {
        return Err(not_done("another process was at it".into()));
    };
    let Some(wanted) = &folder.experiment.start else { return Ok(()) };
    if Measured::finished(&parent)?.is_some() {
        return Ok(());
    }
    let mut arguments = vec!["train".to_owned()];
    arguments.extend(settings(folder, wanted)?);
    arguments.extend(["--out".to_owned(), text(&dir), "--resume".to_owned()]);
    let mut child = spawn(&options.program, &arguments, &parent.join(LOG))?;
    let mut asked = false;
    let ended = loop {
        match child.try_wait() {
            Ok(None) => pause(options, asked),
            ended => break ended,
        }
        if (options.interrupted)() && !asked {
            asked = true;
            ask_to_stop(child.id());
        }
    };
    let is_good = matches!(ended, Ok(Some(status)) if status.success());
    match is_good && Measured::finished(&parent)?.is_some() {
        true => Ok(()),
        false => Err(not_done(last_words(&parent.join(LOG)))),
    }
}

/// The lock of the folder `parent` of the run in `dir`, once no other share of the experiment and no child of a killed one is
/// at that; `None` if this process is asked to stop before.
fn wait_for(parent: &Path, dir: &Path, options: &Options) -> Result<Option<Lock>, LabError> {
    loop {
        match Lock::acquire(parent) {
            Ok(_) if dir.is_dir() && is_locked(dir) => {}
            Err(error) if error.kind == Kind::Locked => {}
            lock => return Ok(Some(lock?)),
        }
        if (options.interrupted)() {
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
