//! Ranks that are threads of one process: every algorithm over a [`Transport`] can be tried without a network.

use crate::transport::Transport;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// One rank's end.
pub struct Local {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

/// The ends of a group of `size` ranks.
pub fn group(size: usize) -> Vec<Local> {
    let mut to: Vec<Vec<Sender<Vec<u8>>>> = (0..size).map(|_| Vec::new()).collect();
    let mut from: Vec<Vec<Receiver<Vec<u8>>>> = (0..size).map(|_| Vec::new()).collect();
    for sender in &mut to {
        for receiver in &mut from {
            let (tx, rx) = channel();
            sender.push(tx);
            receiver.push(rx);
        }
    }
    to.into_iter().zip(from).enumerate().map(|(rank, (to, from))| Local { rank, to, from }).collect()
}

impl Transport for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    /// # Panics
    /// When the thread of a peer has ended.
    fn exchange(&mut self, what: &'static str, out: &[(usize, &[u8])], into: &mut [(usize, &mut [u8])]) {
        for (peer, bytes) in out {
            self.to[*peer].send(bytes.to_vec()).unwrap_or_else(|_| panic!("rank {peer} ended during {what}"));
        }
        for (peer, bytes) in into {
            let sent = self.from[*peer].recv().unwrap_or_else(|_| panic!("rank {peer} ended during {what}"));
            bytes.copy_from_slice(&sent);
        }
    }

    fn idle(&mut self) {}

    fn idle_every(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn leave(&mut self) {}

    fn finish(self: Box<Self>) {}
}
