//! The model cannot be opened.
//!
//! The sentence in the evidence says which file, what is wrong with it and what to do. Other findings may say more
//! about the cause.
//!
//! Remedy: what the evidence says.
//!
//! Source: the reader of the format.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct Unreadable;

impl Rule for Unreadable {
    fn code(&self) -> &'static str {
        "T501"
    }

    fn name(&self) -> &'static str {
        "unreadable"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        subject.trouble.as_ref().map(|trouble| Sign::error(trouble.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&Unreadable, |s| s.trouble = Some("weights.safetensors is cut".into()));
    }

    #[test]
    fn it_is_silent() {
        silent(&Unreadable, |s| s.config = None);
    }
}
