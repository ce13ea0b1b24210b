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
use std::io;
use std::process::ExitCode;

/// Train, check, ship and serve 1.58-bit (BitNet b1.58) language models.
#[derive(Parser)]
#[command(name = "trilobit", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

/// Exit codes: 0 good, 1 findings or below a threshold, 2 error.
fn main() -> ExitCode {
    end_quietly_when_nobody_reads();
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) if nobody_reads(&error) => ExitCode::from(AS_SIGPIPE),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The exit code of a process that SIGPIPE has ended, as shells tell it.
const AS_SIGPIPE: u8 = 128 + 13;

/// `trilobit … | head`: whoever read the output has gone.
fn nobody_reads(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.map(io::Error::kind).any(|kind| kind == io::ErrorKind::BrokenPipe)
}

/// Printing to a reader that has gone panics; this ends the process as the signal would.
fn end_quietly_when_nobody_reads() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>();
        if message
            .is_some_and(|text| text.starts_with("failed printing to std") && text.contains("Broken pipe"))
        {
            std::process::exit(AS_SIGPIPE.into());
        }
        report(panic);
    }));
}
