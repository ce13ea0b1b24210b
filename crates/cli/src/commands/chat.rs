//! `trilobit chat`: talk to a model, line by line.

mod conversation;

use super::generate::{ModelArgs, print};
use crate::ERROR;
use crate::interrupt::Interrupt;
use crate::sampling::SamplingArgs;
use anyhow::{Context, Result};
use conversation::Conversation;
use formats::{atomic, bounded, limits, nearest};
use infer::{Finish, Generated, Model, Options};
use serde_json::json;
use std::io::{BufRead, IsTerminal};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use text::chat::{BUILT_IN, ChatTemplate};

/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Tokens of a conversation, where the model could do with more.
const CONTEXT: usize = 8192;

const HELP: &str = "\
/help               these lines
/reset              forget everything but the system message
/system [TEXT]      begin with this system message, or with none
/undo               take back the last question and its answer
/regenerate         answer the last question again
/set KEY=VALUE      temperature, top_k, top_p, min_p, typical_p, repeat_penalty, presence_penalty, frequency_penalty, seed
/save FILE          write the conversation as JSON
/quit               end (so does Ctrl-D)
Ctrl-C ends an answer; a line that begins with // is said with one / less.";

const COMMANDS: [&str; 8] = ["help", "reset", "system", "undo", "regenerate", "set", "save", "quit"];

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// What the assistant is told before everything else
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    /// How a conversation becomes text: bitnet, llama3, chatml, plain, turns or a Jinja file [default: the model's]
    #[arg(long, value_name = "NAME|FILE")]
    template: Option<String>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_tokens: usize,
    /// Most tokens of the conversation; then its oldest exchanges are forgotten [default: the model's, at most 8192]
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// End an answer before this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Propose up to N tokens from the conversation and check them together: the same answers, sooner where they quote
    #[arg(long, value_name = "N", default_value_t = 0)]
    lookup: usize,
    /// Print one JSON object for each answer instead of the text as it comes
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    args.sampling.sampling().validate()?;
    let model = args.model.open()?;
    let (template, mut stop) = template(&model, args.template.as_deref())?;
    stop.extend(args.stop);
    let options = Options {
        max_tokens: args.max_tokens,
        stop,
        end_of_text: model.end_ids.clone(),
        lookup: args.lookup,
        ..Options::default()
    };
    let context = args.context.unwrap_or(model.engine.config().context.min(CONTEXT));
    let mut conversation = Conversation::new(&model, template, context, args.sampling, options)?;
    conversation.set_system(args.system.as_deref().unwrap_or_default());
    let interrupt = Interrupt::ctrl_c()?;
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut chat = Chat { conversation, interrupt, json: args.json, is_terminal };
    if is_terminal {
        eprintln!("Say something; /help lists what else there is.");
    }
    let mut failed = false;
    while let Some(line) = chat.read()? {
        let outcome = match line.strip_prefix('/') {
            Some(rest) if !rest.starts_with('/') => chat.obey(rest),
            Some(text) => chat.say(text),
            None if line.trim().is_empty() => Ok(ControlFlow::Continue(())),
            None => chat.say(&line),
        };
        match outcome {
            Ok(ControlFlow::Continue(())) => (),
            Ok(ControlFlow::Break(end)) => {
                end?;
                break;
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                failed = true;
            }
        }
    }
    // Who typed has seen it and gone on; a script sees the code alone.
    Ok(if failed && !is_terminal { ExitCode::from(ERROR) } else { ExitCode::SUCCESS })
}

/// The template that was asked for, that came with the model, or that its special tokens speak of; and what ends an answer
/// beside the model's own tokens.
fn template(model: &Model, asked: Option<&str>) -> Result<(ChatTemplate, Vec<String>)> {
    let tokenizer = model.tokenizer()?;
    let name = |id: Option<u32>| id.and_then(|id| tokenizer.id_to_token(id)).unwrap_or_default();
    let (bos, eos) = (name(tokenizer.begin_of_text()), name(tokenizer.end_of_text()));
    let known = |name: &str| ChatTemplate::built_in(name, &bos, &eos);
    let has = |token: &str| tokenizer.token_to_id(token).is_some();
    let is_ternary = model.engine.config().linear == model::LinearKind::Ternary;
    let guess = match (has("<|im_start|>"), has("<|eot_id|>")) {
        (true, _) => "chatml",
        (false, true) if is_ternary || !has("<|start_header_id|>") => "bitnet",
        (false, true) => "llama3",
        (false, false) => "plain",
    };
    let chosen = match (asked, model.chat_template.clone()) {
        (Some(name), _) if known(name).is_some() => name,
        (Some(path), _) => {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            let source = bounded::read_text(Path::new(path), limits::CONFIG_BYTES_MAX)
                .with_context(|| format!("'{path}' is none of {} and no file", names.join(", ")))?;
            let template = ChatTemplate::new(&source, &bos, &eos).with_context(|| path.to_owned())?;
            return Ok((template, Vec::new()));
        }
        (None, Some(source)) => return Ok((ChatTemplate::new(&source, &bos, &eos)?, Vec::new())),
        (None, None) => {
            eprintln!(
                "warning: the model has no chat template; '{guess}' is used (--template names another)"
            );
            guess
        }
    };
    // In plain text nothing but the next role tells where an answer ends.
    let stop = if chosen == "plain" { vec!["\nUser:".to_owned()] } else { Vec::new() };
    Ok((known(chosen).expect("it is one of the built-in ones"), stop))
}

/// Whether another line is read; if not, whether that is an error.
type Next = ControlFlow<Result<()>>;

/// The program between two lines.
struct Chat<'m> {
    conversation: Conversation<'m>,
    interrupt: Interrupt,
    json: bool,
    is_terminal: bool,
}

impl Chat<'_> {
    /// The next line, without its end; `None` where there is none.
    fn read(&self) -> Result<Option<String>> {
        // While it waits, Ctrl-C ends the program.
        self.interrupt.set(true);
        if self.is_terminal && !print("> ")? {
            return Ok(None);
        }
        let mut line = Vec::new();
        let mut input = std::io::Read::take(std::io::stdin().lock(), LINE_BYTES_MAX);
        let bytes = input.read_until(b'\n', &mut line).context("cannot read what was typed")?;
        self.interrupt.set(false);
        let line = String::from_utf8_lossy(&line);
        Ok((bytes > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
    }

    fn say(&mut self, text: &str) -> Result<Next> {
        self.answer(|conversation, write| conversation.say(text.to_owned(), write))
    }

    fn answer(
        &mut self,
        ask: impl FnOnce(&mut Conversation, &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<Generated>,
    ) -> Result<Next> {
        let forgotten = self.conversation.forgotten();
        let (json, interrupt) = (self.json, &self.interrupt);
        let mut printed = Ok(true);
        let answer = ask(&mut self.conversation, &mut |piece| {
            if !json && !piece.is_empty() {
                printed = print(piece);
            }
            match matches!(printed, Ok(true)) && !interrupt.is_asked() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        let printed = printed.and_then(|is_read| Ok(is_read && self.tell(&answer)?));
        if !matches!(printed, Ok(true)) {
            return Ok(ControlFlow::Break(printed.map(|_| ())));
        }
        if self.conversation.forgotten() > forgotten {
            eprintln!(
                "warning: the context is full; {} old messages are forgotten",
                self.conversation.forgotten()
            );
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What comes after an answer; false where nobody reads it.
    fn tell(&self, answer: &Generated) -> Result<bool> {
        if self.json {
            let object = json!({
                "text": answer.text.trim(),
                "tokens": answer.tokens.len(),
                "tokens_per_s": answer.tokens_per_s,
                "reused_tokens": answer.reused,
                "finish": answer.finish.name(),
            });
            return print(&format!("{object}\n"));
        }
        let is_read = print("\n")?;
        if self.is_terminal && !matches!(answer.finish, Finish::EndOfText | Finish::Stop) {
            eprintln!("[ended by {}]", answer.finish.name());
        }
        Ok(is_read)
    }

    /// Does what a line that begins with a slash asks for.
    fn obey(&mut self, line: &str) -> Result<Next> {
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match command {
            "help" => eprintln!("{HELP}"),
            "reset" => self.conversation.reset(),
            "system" => self.conversation.set_system(rest),
            "undo" => {
                self.conversation.undo().context("there is nothing to take back")?;
            }
            "regenerate" => return self.answer(|conversation, write| conversation.regenerate(write)),
            "set" => {
                let (key, value) =
                    rest.split_once('=').context("/set needs KEY=VALUE, such as /set temperature=0.7")?;
                self.conversation.sampling.set(key.trim(), value.trim())?;
            }
            "save" if rest.is_empty() => anyhow::bail!("/save needs the name of a file"),
            "save" => {
                let text = serde_json::to_string_pretty(&json!({ "messages": self.conversation.messages }))?;
                atomic::write_bytes(Path::new(rest), format!("{text}\n").as_bytes())?;
            }
            "quit" | "exit" => return Ok(ControlFlow::Break(Ok(()))),
            _ => {
                let hint = nearest::hint(command, COMMANDS);
                anyhow::bail!("there is no /{command}{hint}; /help lists what there is");
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
