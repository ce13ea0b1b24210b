//! The `trilobit` command line: one verb, one file in `commands/`.
#![forbid(unsafe_code)]

mod commands;
mod corpus;
mod interrupt;
mod merge;
mod ranks;
mod samples;
mod sampling;
mod source;
mod trial;
mod watch;

use clap::Parser;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Train, check, ship and serve 1.58-bit (BitNet b1.58) language models.
#[derive(Parser)]
#[command(name = "trilobit", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

/// Exit codes: 0 good, 1 findings or below a threshold, 2 error.
fn main() -> ExitCode {
    end_when_nothing_can_be_printed();
    write_no_further_than_allowed();
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) if nobody_reads(&error) => ExitCode::from(AS_SIGPIPE),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(ERROR)
        }
    }
}

/// Whether two paths are one file or folder, both there.
fn is_same(a: &Path, b: &Path) -> bool {
    let [a, b] = [a, b].map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

/// The exit code of what went wrong.
const ERROR: u8 = 2;
/// The exit code of a process that SIGPIPE has ended, as shells tell it.
const AS_SIGPIPE: u8 = 128 + 13;
/// What to do where the output finds no place.
const FREE_SPACE: &str = "free some space, or send the output elsewhere";

/// `trilobit … | head`: whoever read the output has gone.
fn nobody_reads(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.map(io::Error::kind).any(|kind| kind == io::ErrorKind::BrokenPipe)
}

/// A limit of the size of files (`ulimit -f`) ends a process by a signal; caught, it is an error of the write, with a sentence.
fn write_no_further_than_allowed() {
    // Where it cannot be caught, the limit ends the process as ever.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// Printing that fails panics. To a reader that has gone, this ends the process as the signal would; else with a sentence.
fn end_when_nothing_can_be_printed() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>();
        match message.filter(|text| text.starts_with("failed printing to std")) {
            Some(text) if text.contains("Broken pipe") => std::process::exit(AS_SIGPIPE.into()),
            Some(text) => {
                // Where stderr is what cannot be written to, nobody can be told.
                let _ = writeln!(io::stderr(), "error: {text}; {FREE_SPACE}");
                std::process::exit(ERROR.into());
            }
            None => report(panic),
        }
    }));
}
