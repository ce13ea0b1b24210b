//! Tasks, scoring and perplexity.
#![forbid(unsafe_code)]
