//! Files in, batches out.

mod chats;
mod common;
mod loading;
mod preparing;
mod reading;
