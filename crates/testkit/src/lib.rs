//! For tests only: tiny models, the golden-file loader, tolerances.
#![forbid(unsafe_code)]
