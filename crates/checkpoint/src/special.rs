//! What a chat template calls `bos_token` and `eos_token`.

use std::fmt::Write;

/// The tokens as the vocabulary spells them; empty where the model says that it has none, `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `bos_token`
    pub bos: Option<String>,
    /// `eos_token`
    pub eos: Option<String>,
}

impl SpecialTokens {
    /// Whether `template` wants a name that is not stated.
    pub(crate) fn lacks(&self, template: &str) -> bool {
        self.names().iter().any(|(name, token)| token.is_none() && template.contains(name))
    }

    /// The Jinja source `template`, which begins by setting the names that it uses and that are stated: it then means the
    /// same wherever it is carried. What it sets there already stays.
    pub(crate) fn bind(&self, template: String) -> String {
        let mut head = String::new();
        for (name, token) in self.names() {
            if let Some(token) = token.filter(|_| template.contains(name) && !is_set(&template, name)) {
                let token = token.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                write!(head, "{SET}{name} = \"{token}\" %}}").expect("writing to a String does not fail");
            }
        }
        head + &template
    }

    fn names(&self) -> [(&'static str, Option<&str>); 2] {
        [("bos_token", self.bos.as_deref()), ("eos_token", self.eos.as_deref())]
    }
}

const SET: &str = "{% set ";

/// Whether one of the settings that `template` begins with is that of `name`.
fn is_set(template: &str, name: &str) -> bool {
    let mut rest = template;
    while let Some(setting) = rest.strip_prefix(SET) {
        if setting.strip_prefix(name).is_some_and(|after| after.starts_with(" = ")) {
            return true;
        }
        rest = setting.split_once("%}").map_or("", |(_, after)| after);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_sets_once_what_it_uses() {
        let tokens = SpecialTokens { bos: Some("<s>".into()), eos: Some("a\"\\".into()) };
        let both = tokens.bind("{{ bos_token + eos_token }}".into());
        let head = r#"{% set bos_token = "<s>" %}{% set eos_token = "a\"\\" %}"#;
        assert_eq!(both, format!("{head}{{{{ bos_token + eos_token }}}}"));
        assert_eq!(tokens.bind(both.clone()), both);
        for template in ["{{ messages }}", r#"{% set x = 1 %}{% set eos_token = "b" %}{{ eos_token }}"#] {
            assert_eq!(tokens.bind(template.to_owned()), template);
        }
        let unknown = SpecialTokens { bos: None, ..tokens };
        assert!(unknown.lacks("{{ bos_token }}") && !unknown.lacks("{{ eos_token }}"));
        assert_eq!(unknown.bind("{{ bos_token }}".to_owned()), "{{ bos_token }}");
    }
}
