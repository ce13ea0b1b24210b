//! One rank's end of the job, and the thread that talks to the others meanwhile.

use crate::collective::{self, Op};
use crate::transport::Transport;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Buffers that may be under way at a time.
pub const UNDER_WAY_MAX: usize = 512;

enum Job {
    Bucket(Op, Vec<f32>),
    Values(Vec<f64>),
    Bytes(Vec<u8>),
    Finish,
}

/// One rank. All ranks must make the same calls in the same order; results come in the order of the calls.
pub struct Group {
    rank: usize,
    size: usize,
    /// `None` once the group is left
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Job>,
    under_way: usize,
    waited: Duration,
    thread: Option<JoinHandle<()>>,
}

impl Group {
    /// Joins the job: `connect` runs on the thread that talks, the only one that ever touches the transport.
    ///
    /// # Errors
    /// Those of `connect`.
    pub fn join<T: Transport + 'static, E: Send + 'static>(
        connect: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<Self, E> {
        let (jobs, orders) = sync_channel(UNDER_WAY_MAX);
        let (results, done) = sync_channel(UNDER_WAY_MAX);
        let (greeting, greeted) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let wires = match connect() {
                Ok(wires) => wires,
                Err(error) => return drop(greeting.send(Err(error))),
            };
            if greeting.send(Ok((wires.rank(), wires.size()))).is_ok() {
                talk(Box::new(wires), &orders, &results);
            }
        });
        let (rank, size) = greeted.recv().expect("the thread that talks greets first")?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Self { rank, size, jobs, done, under_way: 0, waited: Duration::ZERO, thread })
    }

    /// This rank's number.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of ranks.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this rank writes the run's files.
    pub fn is_root(&self) -> bool {
        self.rank == 0
    }

    /// Time that the caller has spent waiting for the others, all in all.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Begins `op` on `bucket`, at most [`UNDER_WAY_MAX`] at a time; [`Self::take`] gives it back.
    pub fn submit(&mut self, op: Op, bucket: Vec<f32>) {
        assert!(self.under_way < UNDER_WAY_MAX, "{UNDER_WAY_MAX} buckets are under way");
        self.send(Job::Bucket(op, bucket));
    }

    /// Buckets that were submitted and not given back.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// The oldest bucket under way, if it is done.
    pub fn try_take(&mut self) -> Option<Vec<f32>> {
        let Ok(Job::Bucket(_, bucket)) = self.done.try_recv() else { return None };
        self.under_way -= 1;
        Some(bucket)
    }

    /// The oldest bucket under way, when it is done.
    pub fn take(&mut self) -> Vec<f32> {
        assert!(self.under_way > 0, "no bucket is under way");
        let Job::Bucket(_, bucket) = self.receive() else {
            unreachable!("results keep the order of the calls")
        };
        bucket
    }

    /// The sums over all ranks of `values`, each in the order of the ranks: the same bits everywhere.
    pub fn sum<const N: usize>(&mut self, values: [f64; N]) -> [f64; N] {
        assert_eq!(self.under_way, 0, "buckets under way");
        let mut all = vec![0.0; N * self.size]; // (ranks, N)
        all[N * self.rank..][..N].copy_from_slice(&values);
        self.send(Job::Values(all));
        let Job::Values(all) = self.receive() else { unreachable!("results keep the order of the calls") };
        std::array::from_fn(|index| all.iter().skip(index).step_by(N).sum())
    }

    /// Rank 0's `bytes` at every rank; what others give is ignored.
    pub fn broadcast(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let [len] = self.sum([if self.is_root() { bytes.len() as f64 } else { 0.0 }]);
        let mut bytes = bytes;
        bytes.resize(len as usize, 0);
        self.send(Job::Bytes(bytes));
        let Job::Bytes(bytes) = self.receive() else { unreachable!("results keep the order of the calls") };
        bytes
    }

    /// Waits until every rank has come here, then leaves the job in order. A group that is dropped without this tells its
    /// peers to end, too.
    pub fn finish(mut self) {
        self.sum([0.0]);
        self.send(Job::Finish);
        self.under_way = 0;
    }

    fn send(&mut self, job: Job) {
        self.under_way += 1;
        let jobs = self.jobs.as_ref().expect("the group is not left");
        jobs.send(job).expect("the thread that talks lives as long as the group");
    }

    fn receive(&mut self) -> Job {
        let begun = Instant::now();
        let job = self.done.recv().expect("the thread that talks lives as long as the group");
        self.waited += begun.elapsed();
        self.under_way -= 1;
        job
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.jobs = None;
        // What is under way needs the others, who may be waiting for something else.
        if self.under_way == 0
            && let Some(thread) = self.thread.take()
        {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn talk(mut wires: Box<dyn Transport>, orders: &Receiver<Job>, results: &SyncSender<Job>) {
    let mut scratch = Vec::new();
    loop {
        let mut job = match orders.recv_timeout(wires.idle_every()) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                wires.idle();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => {
                wires.leave();
                // Without an agreement to end, MPI must not be finalised: it would wait for the others.
                return std::mem::forget(wires);
            }
        };
        match &mut job {
            Job::Bucket(op, bucket) => collective::run(&mut *wires, *op, bucket, &mut scratch),
            Job::Values(values) => collective::gather(&mut *wires, values, "sums"),
            Job::Bytes(bytes) => collective::broadcast(&mut *wires, bytes),
            Job::Finish => return wires.finish(),
        }
        if results.send(job).is_err() {
            return std::mem::forget(wires);
        }
    }
}
