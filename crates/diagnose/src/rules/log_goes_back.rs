//! The log goes back in time.
//!
//! Steps are written in order. Where a later line has an earlier step, two runs wrote into one log, or a run was
//! resumed from an older checkpoint without cutting what came after it: averages and plots of such a log mix both.
//!
//! Remedy: separate the runs. `trilobit train --resume` drops the lines that the resumed run will write again.
//!
//! Source: the order of lines.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct LogGoesBack;

impl Rule for LogGoesBack {
    fn code(&self) -> &'static str {
        "T205"
    }

    fn name(&self) -> &'static str {
        "log-goes-back"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let back = subject.series.windows(2).find(|pair| pair[1].step < pair[0].step)?;
        Some(
            Sign::warning(format!("after step {} comes step {}", back[0].step, back[1].step))
                .at(format!("step {}", back[1].step)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        let found = fires(&LogGoesBack, |s| s.series.swap(10, 20));
        assert!(found.evidence.contains("after step 20"), "{}", found.evidence);
    }

    #[test]
    fn it_is_silent() {
        silent(&LogGoesBack, |s| s.series.retain(|point| point.step % 7 == 0));
    }
}
