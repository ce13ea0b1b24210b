//! Reader and writer against each other and against hostile bytes.
