//! Real files, crafted ones, hostile ones.
