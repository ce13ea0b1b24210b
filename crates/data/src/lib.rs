//! Sources to cleaned text to token shards to mixtures to batches with an exact cursor.
#![forbid(unsafe_code)]
