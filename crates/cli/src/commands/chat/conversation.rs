//! What was said, and the next answer.

use crate::sampling::SamplingArgs;
use anyhow::{Result, bail};
use infer::{Generated, Model, Options, Session};
use std::ops::ControlFlow;
use text::chat::{ChatTemplate, Message};

/// A conversation with a model.
pub struct Conversation<'m> {
    model: &'m Model,
    session: Session<'m>,
    template: ChatTemplate,
    /// what was said, the system message first
    pub messages: Vec<Message>,
    /// the oldest exchanges that no longer fit, in messages
    forgotten: usize,
    /// how tokens are chosen
    pub sampling: SamplingArgs,
    options: Options,
    /// answers so far: each is drawn with a seed of its own
    answers: u64,
}

impl<'m> Conversation<'m> {
    /// An empty one of at most `context` tokens; `options` are those of each answer but for the sampling.
    ///
    /// # Errors
    /// No answer could be given with these options.
    pub fn new(
        model: &'m Model,
        template: ChatTemplate,
        context: usize,
        sampling: SamplingArgs,
        options: Options,
    ) -> Result<Self> {
        let session = model.engine.session(context)?;
        Options { sampling: sampling.sampling(), ..options.clone() }.check(&session)?;
        Ok(Self {
            model,
            session,
            template,
            messages: Vec::new(),
            forgotten: 0,
            sampling,
            options,
            answers: 0,
        })
    }

    /// Says something and streams the answer; both are then part of the conversation. After an error nothing was said.
    pub fn say(&mut self, text: String, write: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<Generated> {
        let before = self.said();
        self.ask(text, before, write)
    }

    /// Answers the last question once more, with other draws. After an error the old answer stands.
    pub fn regenerate(&mut self, write: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<Generated> {
        let before = self.said();
        match self.undo() {
            Some(question) => self.ask(question, before, write),
            None => bail!("there is no answer yet to be given again; say something first"),
        }
    }

    /// The messages, and how many of them are forgotten.
    fn said(&self) -> (Vec<Message>, usize) {
        (self.messages.clone(), self.forgotten)
    }

    /// Lets a question be answered; after an error the conversation is as it was `before`.
    fn ask(
        &mut self,
        question: String,
        before: (Vec<Message>, usize),
        write: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generated> {
        self.messages.push(message("user", question));
        let answer = self.answer(write);
        if answer.is_err() {
            (self.messages, self.forgotten) = before;
        }
        answer
    }

    /// Takes back the last question and its answer; returns the question.
    pub fn undo(&mut self) -> Option<String> {
        let question = self.messages.iter().rposition(|message| message.role == "user")?;
        let removed = self.messages.drain(question..).next();
        self.forgotten = self.forgotten.min(self.messages.len() - self.system());
        removed.map(|message| message.content)
    }

    /// Takes back everything but the system message.
    pub fn reset(&mut self) {
        self.messages.truncate(self.system());
        self.forgotten = 0;
    }

    /// Begins with this system message from now on; with none if it is empty.
    pub fn set_system(&mut self, text: &str) {
        self.messages.drain(..self.system());
        if !text.is_empty() {
            self.messages.insert(0, message("system", text.to_owned()));
        }
    }

    /// Messages that are always kept: the system message, if there is one.
    fn system(&self) -> usize {
        self.messages.first().is_some_and(|first| first.role == "system").into()
    }

    fn answer(&mut self, write: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<Generated> {
        let prompt = self.prompt()?;
        let mut sampling = self.sampling.sampling();
        sampling.seed = sampling.seed.wrapping_add(self.answers);
        let options = Options { sampling, ..self.options.clone() };
        let tokenizer = self.model.tokenizer()?;
        let answer = infer::generate(&mut self.session, tokenizer, &prompt, &options, write)?;
        self.answers += 1;
        self.messages.push(message("assistant", answer.text.trim().to_owned()));
        Ok(answer)
    }

    /// The ids of the conversation, without its oldest exchanges where there would be no room for an answer.
    fn prompt(&mut self) -> Result<Vec<u32>> {
        let context = self.session.position() + self.session.remaining();
        let room = self.options.max_tokens.min(context / 4).max(1);
        let mut ids = self.encoded()?;
        if ids.len() + room <= context {
            return Ok(ids);
        }
        // Some more than is needed, for each time that something goes all the rest is read anew.
        let wanted = context - context / 4 - room / 2;
        let questions = |message: &Message| message.role == "user";
        while ids.len() > wanted {
            let first = self.system() + self.forgotten;
            let next = self.messages[first..].iter().skip(1).position(questions);
            let Some(next) = next else { break };
            self.forgotten += next + 1;
            ids = self.encoded()?;
        }
        if ids.len() >= context {
            bail!(
                "the question has {} tokens with what belongs to it, and the context only {context}; shorten it, or give \
                 a larger --context",
                ids.len()
            );
        }
        Ok(ids)
    }

    fn encoded(&self) -> Result<Vec<u32>> {
        let (system, rest) = self.messages.split_at(self.system());
        let kept = [system, &rest[self.forgotten..]].concat();
        let text = self.template.render(&kept, true)?;
        Ok(self.model.tokenizer()?.try_encode(&text, false)?)
    }

    /// Messages that no longer fit.
    pub fn forgotten(&self) -> usize {
        self.forgotten
    }
}

fn message(role: &str, content: String) -> Message {
    Message { role: role.to_owned(), content }
}
