//! Ranks that are processes, on one machine or many, over MPI.
//!
//! MPI itself notices little: a machine that is cut off leaves its peers waiting for ever. So every rank sends a heartbeat of one
//! byte a few times within the limit, whether it waits or computes, and who has not been heard for the limit is lost. Where a peer
//! runs on the same machine, its process is looked at too. MPI cannot give back a buffer that it waits for, so a loss is the end
//! of this process: the callback given to [`Mpi::connect`] says so and does not return.

use crate::peer::{CARD_BYTES, Card, Peer};
use crate::transport::{Cause, Lost, Transport};
use rsmpi::environment::Universe;
use rsmpi::request::{LocalScope, Request};
use rsmpi::topology::SimpleCommunicator;
use rsmpi::traits::*;
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// Tags of data and of heartbeats.
const DATA: i32 = 1;
const BEAT: i32 = 2;
/// What a heartbeat says.
const ALIVE: u8 = 0;
const LEAVING: u8 = 1;
/// Heartbeats within the limit.
const BEATS: u32 = 4;
/// Longest time between two looks at the peers.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest pause between two looks at a transfer; the cores belong to who computes.
const PAUSE_MAX: Duration = Duration::from_micros(200);
const PAUSE_MIN: Duration = Duration::from_micros(10);

/// A transfer with a peer, until it is done.
type Transfer<'a, 's> = (usize, Option<Request<'a, [u8], &'s LocalScope<'a>>>);

/// Calls that bring a last word on its way.
const LEAVE_CALLS: u32 = 100;

/// What ends the process, after a loss.
pub type OnLost = Box<dyn Fn(&Lost) -> Infallible + Send>;

/// One rank's end.
pub struct Mpi {
    universe: Universe,
    wires: Wires,
}

struct Wires {
    world: SimpleCommunicator,
    rank: usize,
    own: Card,
    peers: Vec<Peer>,
    limit: Duration,
    beaten: Instant,
    looked: Instant,
    on_lost: OnLost,
}

/// MPI could not be started.
#[derive(Debug)]
pub struct NotStarted;

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MPI was started twice in this process")
    }
}

impl std::error::Error for NotStarted {}

impl Mpi {
    /// Starts MPI on this thread, which has to be the one that uses it, and meets the other ranks. A peer that is silent for
    /// `limit` is lost.
    ///
    /// # Errors
    /// MPI was started before.
    pub fn connect(limit: Duration, on_lost: OnLost) -> Result<Self, NotStarted> {
        let (universe, _) = rsmpi::initialize_with_threading(rsmpi::Threading::Funneled).ok_or(NotStarted)?;
        let world = universe.world();
        let own = Card::own(rsmpi::environment::processor_name().unwrap_or_default());
        let now = Instant::now();
        let unknown = || Peer { card: Card::from_bytes(&[]), heard: now };
        let peers = (0..world.size()).map(|_| unknown()).collect();
        let rank = world.rank() as usize;
        let mut wires = Wires { world, rank, own, peers, limit, beaten: now, looked: now, on_lost };
        wires.meet();
        Ok(Self { universe, wires })
    }
}

impl Wires {
    fn meet(&mut self) {
        let own = self.own.to_bytes();
        let size = self.peers.len();
        let mut cards = vec![0u8; size * CARD_BYTES];
        let others = |rank: &usize| *rank != self.rank;
        let out: Vec<_> = (0..size).filter(others).map(|peer| (peer, &own[..])).collect();
        let into = cards.chunks_exact_mut(CARD_BYTES).enumerate().filter(|(peer, _)| *peer != self.rank);
        let mut into: Vec<_> = into.collect();
        self.exchange("the first meeting", &out, &mut into);
        cards[self.rank * CARD_BYTES..][..CARD_BYTES].copy_from_slice(&own);
        for (peer, card) in self.peers.iter_mut().zip(cards.chunks_exact(CARD_BYTES)) {
            peer.card = Card::from_bytes(card);
        }
    }

    fn exchange(&mut self, what: &'static str, out: &[(usize, &[u8])], into: &mut [(usize, &mut [u8])]) {
        rsmpi::request::scope(|scope| {
            let mut open = Vec::with_capacity(into.len() + out.len());
            for (peer, bytes) in into.iter_mut() {
                let process = self.world.process_at_rank(*peer as i32);
                let request = process.immediate_receive_into_with_tag(scope, *bytes, DATA);
                open.push((*peer, Some(request)));
            }
            for (peer, bytes) in out {
                let process = self.world.process_at_rank(*peer as i32);
                let request = process.immediate_send_with_tag(scope, *bytes, DATA);
                open.push((*peer, Some(request)));
            }
            self.wait(what, &mut open);
        });
    }

    fn wait<'a>(&mut self, what: &'static str, open: &mut [Transfer<'a, '_>]) {
        let mut pause = PAUSE_MIN;
        loop {
            let mut moved = false;
            for (peer, request) in open.iter_mut() {
                let Some(waiting) = request.take() else { continue };
                match waiting.test() {
                    Ok(_) => {
                        self.peers[*peer].heard = Instant::now();
                        moved = true;
                    }
                    Err(waiting) => *request = Some(waiting),
                }
            }
            if open.iter().all(|(_, request)| request.is_none()) {
                return;
            }
            self.look(what);
            let late =
                open.iter().find(|(peer, request)| request.is_some() && self.silence(*peer) > self.limit);
            if let Some((peer, _)) = late {
                self.lose(*peer, what, Cause::Silent(self.silence(*peer)));
            }
            pause = if moved { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            std::thread::sleep(pause);
        }
    }

    fn silence(&self, peer: usize) -> Duration {
        self.peers[peer].heard.elapsed()
    }

    /// Sends a heartbeat when it is time, and from time to time hears those of others and looks for processes that ended.
    fn look(&mut self, what: &'static str) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        let beats = self.beaten.elapsed() >= self.limit / BEATS;
        if beats {
            self.beaten = Instant::now();
        }
        for peer in (0..self.peers.len()).filter(|peer| *peer != self.rank) {
            let process = self.world.process_at_rank(peer as i32);
            if beats {
                process.send_with_tag(&[ALIVE][..], BEAT);
            }
            while process.immediate_probe_with_tag(BEAT).is_some() {
                let mut beat = [ALIVE];
                process.receive_into_with_tag(&mut beat[..], BEAT);
                self.peers[peer].heard = Instant::now();
                if beat == [LEAVING] {
                    self.lose(peer, what, Cause::Left);
                }
            }
            if self.own.sees_the_end_of(&self.peers[peer].card) {
                self.lose(peer, what, Cause::Ended);
            }
        }
    }

    fn lose(&self, peer: usize, what: &'static str, cause: Cause) -> ! {
        let Card { host, pid, .. } = &self.peers[peer].card;
        let place = if *pid == 0 { "not met yet".into() } else { format!("process {pid} on {host}") };
        let lost = Lost { rank: self.rank, host: self.own.host.clone(), peer, place, what, cause };
        match (self.on_lost)(&lost) {}
    }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.wires.rank
    }

    fn size(&self) -> usize {
        self.wires.peers.len()
    }

    fn exchange(&mut self, what: &'static str, out: &[(usize, &[u8])], into: &mut [(usize, &mut [u8])]) {
        self.wires.exchange(what, out, into);
    }

    fn idle(&mut self) {
        self.wires.look("computing");
    }

    fn idle_every(&self) -> Duration {
        LOOK_EVERY
    }

    fn leave(&mut self) {
        for peer in (0..self.size()).filter(|peer| *peer != self.rank()) {
            self.wires.world.process_at_rank(peer as i32).send_with_tag(&[LEAVING][..], BEAT);
        }
        // Messages move only inside of calls to MPI.
        for _ in 0..LEAVE_CALLS {
            let _ = self.wires.world.any_process().immediate_probe_with_tag(BEAT);
            std::thread::sleep(PAUSE_MAX);
        }
    }

    fn finish(self: Box<Self>) {
        drop(self.universe);
    }
}
