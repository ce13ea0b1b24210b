//! How bytes travel between ranks.

use std::time::Duration;

/// One rank's end of the wires to all others. Ranks are numbered from 0.
pub trait Transport {
    /// This rank's number.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Sends each slice of `out` to the rank beside it, fills each of `into` from the rank beside it, at most one of either
    /// per rank, and returns when all is done. `what` is said where a peer does not answer.
    fn exchange(&mut self, what: &'static str, out: &[(usize, &[u8])], into: &mut [(usize, &mut [u8])]);

    /// Shows the others that this rank lives, and looks whether they do; to be called every [`Self::idle_every`] where
    /// nothing is exchanged.
    fn idle(&mut self);

    /// Longest time between two calls of [`Self::idle`].
    fn idle_every(&self) -> Duration;

    /// Tells the others that this rank ends, for a reason that it has given.
    fn leave(&mut self);

    /// The orderly end, once every rank has nothing more to say.
    fn finish(self: Box<Self>);
}

/// A peer that ended or fell silent: nothing that the job could go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// who noticed
    pub rank: usize,
    /// where
    pub host: String,
    /// who is gone
    pub peer: usize,
    /// the peer's machine and process
    pub place: String,
    /// during what
    pub what: &'static str,
    /// how that was noticed
    pub cause: Cause,
}

/// How a loss was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// not heard for this long
    Silent(Duration),
    /// its process is gone
    Ended,
    /// it said that it ends, and has said why itself
    Left,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rank, host, peer, place, what, cause } = self;
        write!(f, "rank {rank} on {host}: rank {peer} ({place}) ")?;
        match cause {
            Cause::Silent(time) => write!(
                f,
                "has been silent for {:.0} s (during: {what}); its machine or the network is down, or it is stopped",
                time.as_secs_f64()
            ),
            Cause::Ended => {
                write!(f, "has ended (during: {what}); it was killed, or its own message says why")
            }
            Cause::Left => write!(f, "has ended after an error of its own"),
        }
    }
}
