//! What goes wrong in tasks that share a piece of work, such as reading a tensor.

use formats::FileError;
use std::sync::Mutex;

/// The first error, if any.
#[derive(Default)]
pub(crate) struct Failure(Mutex<Option<FileError>>);

impl Failure {
    /// Does a part of the work, unless another part has failed.
    pub(crate) fn unless(&self, part: impl FnOnce() -> Result<(), FileError>) {
        if self.first().is_some() {
            return;
        }
        if let Err(error) = part() {
            self.first().get_or_insert(error);
        }
    }

    /// The first error.
    pub(crate) fn result(self) -> Result<(), FileError> {
        self.0.into_inner().expect(UNPOISONED).map_or(Ok(()), Err)
    }

    fn first(&self) -> std::sync::MutexGuard<'_, Option<FileError>> {
        self.0.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "nobody panics while holding it";
