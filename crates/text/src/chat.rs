//! Chat templates: a conversation as the text a model was trained on, by the Jinja template that comes with it.
//!
//! A template is a program by others: it runs with a bounded number of steps and bytes, without files or network. One
//! way to more bytes is left, for which minijinja has no hook: a list that repeats or contains itself costs nothing to
//! make, and `~`, `in` and what changes text (`upper`, `trim`, `format`, …) turn it into text before they charge for
//! it. Printing, `join`, `string`, `tojson` and our functions charge first.

use crate::TextError;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, StringInput};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, context, escape_formatter, filters};
use serde_json::ser::{Formatter, PrettyFormatter};
use std::fmt;
use std::io::{self, Write};

/// Steps of a template, and pieces of 64 bytes that it makes: enough for thousands of messages, and at most 128 MB.
const FUEL: u64 = 2_000_000;
/// Bytes that a unit of fuel pays for (minijinja's own measure).
const BYTES_PER_FUEL: u64 = 64;
/// Bytes of the text of a list or a map that a unit of fuel pays for (again minijinja's: such text takes longer to make).
const LISTED_BYTES_PER_FUEL: u64 = 4;
/// Largest template, bytes; those of the models with many tools have 20 kB.
const TEMPLATE_BYTES_MAX: usize = 1 << 20;
/// Calls within calls.
const DEPTH_MAX: usize = 64;
/// Name of the template in its own errors.
const NAME: &str = "template";

/// BitNet b1.58 2B4T's, as its tokenizer has it.
const BITNET: &str = "{% for message in messages %}{% set content = message['role'] | capitalize + ': ' + \
    message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}\
    {{ content }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

/// Llama-3's without tools.
const LLAMA3: &str = "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + \
    '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}\
    {% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

/// ChatML.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + \
    '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// For a model that knows no roles: a dialogue in plain text.
const PLAIN: &str = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}\
    {{ message['content'] + '\\n\\n' }}{% else %}{{ message['role'] | capitalize + ': ' + message['content'] | trim + '\\n' }}\
    {% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

/// For a model that knows no roles and is to learn them: plain text whose answers end with the end-of-text token.
const TURNS: &str = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}\
    {{ message['content'] + '\n\n' }}{% else %}{{ message['role'] | capitalize + ': ' + message['content'] | trim }}\
    {{ (eos_token if message['role'] == 'assistant' else '') + '\n' }}{% endif %}{% endfor %}\
    {% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

/// The templates that need no file.
pub const BUILT_IN: &[(&str, &str)] =
    &[("bitnet", BITNET), ("llama3", LLAMA3), ("chatml", CHATML), ("plain", PLAIN), ("turns", TURNS)];

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`
    pub role: String,
    /// what
    pub content: String,
}

/// A compiled template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles a template as Hugging Face has them; `bos` and `eos` are its `bos_token` and `eos_token`, as the vocabulary
    /// spells them, empty where there are none.
    ///
    /// # Errors
    /// It is too large, or no Jinja.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TextError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            let what = format!("it has {} bytes, more than the {TEMPLATE_BYTES_MAX} allowed", source.len());
            return Err(refused(what));
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH_MAX);
        // as transformers sets Jinja up
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("two options that fit each other"));
        environment.set_unknown_method_callback(python_method);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        environment.add_filter("string", to_string);
        environment.add_filter("join", join);
        environment.set_formatter(print);
        let source = without_generation_marks(source);
        environment.add_template_owned(NAME, source).map_err(|error| refused(sentence(&error)))?;
        Ok(Self { environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// One of [`BUILT_IN`], or `None`.
    pub fn built_in(name: &str, bos: &str, eos: &str) -> Option<Self> {
        let (_, source) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Some(Self::new(source, bos, eos).expect("a built-in template compiles"))
    }

    /// The text of a conversation, to be encoded without the tokenizer's own additions. With `prompt`, the text goes on to
    /// where the assistant speaks.
    ///
    /// # Errors
    /// The template refuses the conversation, goes wrong, or takes too long.
    pub fn render(&self, messages: &[Message], prompt: bool) -> Result<String, TextError> {
        let message =
            |said: &Message| context! { role => said.role.as_str(), content => said.content.as_str() };
        let values = context! {
            messages => messages.iter().map(message).collect::<Vec<Value>>(),
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            add_generation_prompt => prompt,
        };
        let template = self.environment.get_template(NAME).expect("it was added");
        template.render(values).map_err(|error| refused(sentence(&error)))
    }
}

fn refused(what: impl Into<String>) -> TextError {
    TextError::Template { what: what.into() }
}

/// What a template says went wrong: the innermost cause, with its line.
fn sentence(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let mut line = error.line();
    while let Some(next) = cause.source() {
        line = next.downcast_ref::<Error>().and_then(Error::line).or(line);
        cause = next;
    }
    let (kind, detail) = match cause.downcast_ref::<Error>() {
        Some(error) if error.kind() == ErrorKind::OutOfFuel => {
            (None, Some("it runs without end, or makes far too much text".to_owned()))
        }
        Some(error) => (Some(error.kind().to_string()), error.detail().map(str::to_owned)),
        None => (None, Some(cause.to_string())),
    };
    let what = [kind, detail].into_iter().flatten().collect::<Vec<_>>().join(": ");
    match line {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

/// Templates end with it what they cannot say.
fn raise_exception(state: &State, message: &Value) -> Result<Value, Error> {
    charge_text(state, message)?;
    let message = message.to_string();
    Err(Error::new(ErrorKind::InvalidOperation, format!("it says {message:?}")))
}

/// Some templates put today's date into the system message: here that of Greenwich.
fn strftime_now(format: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    strftime(format, now.map_or(0, |since| since.as_secs()))
}

/// The usual marks of C's `strftime`, for seconds since 1970; others stay as they are.
fn strftime(format: &str, seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let (day, time) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of year 0, in eras of 400 years: H. Hinnant, "chrono-compatible low-level date algorithms".
    let shifted = day + 719_468;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = year_of_era + shifted / 146_097 * 400 + u64::from(month < 2);
    let (month_name, day_name) = (MONTHS[month as usize], DAYS[(day % 7) as usize]);
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        match (character, characters.clone().next()) {
            ('%', Some(mark)) => {
                characters.next();
                out += &match mark {
                    'Y' => year.to_string(),
                    'y' => format!("{:02}", year % 100),
                    'm' => format!("{:02}", month + 1),
                    'd' => format!("{date:02}"),
                    'B' => month_name.to_owned(),
                    'b' => month_name[..3].to_owned(),
                    'A' => day_name.to_owned(),
                    'a' => day_name[..3].to_owned(),
                    'H' => format!("{:02}", time / 3600),
                    'M' => format!("{:02}", time / 60 % 60),
                    'S' => format!("{:02}", time % 60),
                    '%' => "%".to_owned(),
                    other => format!("%{other}"),
                };
            }
            _ => out.push(character),
        }
    }
    out
}

/// The methods of Python's types. Those whose result can be far larger than what they are given pay for it before they
/// make it.
fn python_method(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let first = args.first().and_then(Value::as_str);
    match (value.as_str(), method, first) {
        (Some(text), "replace", Some(old)) => {
            let new = args.get(1).and_then(Value::as_str).unwrap_or_default();
            let bytes = (text.matches(old).count() as u64).saturating_mul(new.len() as u64);
            state.consume_fuel(bytes / BYTES_PER_FUEL)?;
        }
        (Some(text), "split", Some(separator)) => {
            state.consume_fuel(text.matches(separator).count() as u64)?;
        }
        (Some(text), "split" | "splitlines", None) => {
            state.consume_fuel(text.split_whitespace().count().max(text.lines().count()) as u64)?;
        }
        (Some(separator), "join", _) => {
            charge_joined(state, args.first().unwrap_or(&Value::UNDEFINED), separator, None)?;
        }
        _ => (),
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

/// Pays for the text of what will be joined: the items, or what a dotted path leads to in each.
fn charge_joined(state: &State, items: &Value, between: &str, path: Option<&str>) -> Result<(), Error> {
    let follow = |value: Value, name: &str| match name.parse() {
        Ok(index) => value.get_item_by_index(index).unwrap_or_default(),
        Err(_) => value.get_attr(name).unwrap_or_default(),
    };
    for item in items.try_iter()?.checked() {
        let item = path.into_iter().flat_map(|path| path.split('.')).fold(item?, follow);
        state.consume_fuel(1 + between.len() as u64 / BYTES_PER_FUEL)?;
        charge_text(state, &item)?;
    }
    Ok(())
}

/// Pays for the text of a value. That of a list or a map can be far longer than what it was made of: it is measured
/// before it is made, as far as the fuel goes.
fn charge_text(state: &State, value: &Value) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return state.consume_fuel(text.len() as u64 / BYTES_PER_FUEL);
    }
    let fuel = state.fuel_levels().map_or(0, |(_, left)| left);
    let mut measure = Measure { bytes: 0, most: fuel.saturating_mul(LISTED_BYTES_PER_FUEL) };
    fmt::write(&mut measure, format_args!("{value}")).map_err(|_| Error::from(ErrorKind::OutOfFuel))?;
    state.consume_fuel(measure.bytes / LISTED_BYTES_PER_FUEL)
}

/// The filter `string`.
fn to_string(state: &State, value: &Value) -> Result<Value, Error> {
    charge_text(state, value)?;
    filters::string(state, value)
}

/// The filter `join`.
fn join(
    state: &mut State,
    items: &Value,
    between: Option<&Value>,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<Value, Error> {
    let separator = between.map_or_else(|| options.peek("d"), |between| Ok(Some(between)))?.cloned();
    let path = attribute.map_or_else(|| options.peek("attribute"), |path| Ok(Some(path)))?;
    let separator = separator.unwrap_or_default();
    charge_text(state, &separator)?;
    charge_joined(state, items, &separator.to_string(), path)?;
    let between = between.map(|between| StringInput::new(state, between)).transpose()?;
    filters::join(state, items, between, attribute, options)
}

/// What `{{ }}` does.
fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.as_object().is_some() {
        charge_text(state, value)?;
    }
    escape_formatter(out, state, value)
}

/// As Python's `json.dumps` has it: blanks after commas and colons, nothing escaped for HTML.
fn to_json(state: &mut State, value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    let fuel = state.fuel_levels().map_or(0, |(_, left)| left);
    let mut out = Bounded { bytes: Vec::new(), left: fuel.saturating_mul(BYTES_PER_FUEL) };
    let written = match indent {
        Some(indent) => {
            let blanks = " ".repeat(indent.min(16));
            write_json(value, &mut out, PrettyFormatter::with_indent(blanks.as_bytes()))
        }
        None => write_json(value, &mut out, PythonFormatter),
    };
    written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(String::from_utf8_lossy(&out.bytes).into_owned())
}

fn write_json(value: &Value, out: &mut Bounded, formatter: impl Formatter) -> serde_json::Result<()> {
    serde::Serialize::serialize(value, &mut serde_json::Serializer::with_formatter(out, formatter))
}

/// Bytes, as many as the template can pay for.
struct Bounded {
    bytes: Vec<u8>,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("the JSON would be far too long"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts the bytes that are written, up to a most.
struct Measure {
    bytes: u64,
    most: u64,
}

impl fmt::Write for Measure {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes += text.len() as u64;
        if self.bytes > self.most { Err(fmt::Error) } else { Ok(()) }
    }
}

struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// `{% generation %}` marks what training looks at, in templates of transformers; here it is a block that always shows.
fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        // behind its opening: `{%}` opens a tag and closes none
        let Some(length) = rest[start + 2..].find("%}") else { break };
        let tag = &rest[start..start + 2 + length];
        let word = tag[2..].trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let tag = match word {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        };
        out += &rest[..start];
        out += &tag;
        rest = &rest[start + 2 + length..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "Thu 01 Jan 1970 00:00:00"),
            (951_782_400, "Tue 29 Feb 2000 00:00:00"),
            (1_709_251_199, "Thu 29 Feb 2024 23:59:59"),
            (1_735_689_600, "Wed 01 Jan 2025 00:00:00"),
            (4_107_542_400, "Mon 01 Mar 2100 00:00:00"),
        ];
        for (seconds, date) in cases {
            assert_eq!(strftime("%a %d %b %Y %H:%M:%S", seconds), date);
        }
        assert_eq!(strftime("%A, %-d %% 50%", 0), "Thursday, %-d % 50%");
    }

    #[test]
    fn marks_for_training_are_blocks_that_show() {
        let marked = "a{%- generation -%} b {%- endgeneration %}c{% if x %}{% endif %}{% cut";
        let plain = "a{%- if true -%} b {%- endif %}c{% if x %}{% endif %}{% cut";
        assert_eq!(without_generation_marks(marked), plain);
    }
}
