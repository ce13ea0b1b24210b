//! All arithmetic that must be fast: slices in, slices out; no I/O, no environment, no model words.
