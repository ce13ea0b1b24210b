//! The page while a run goes on: a small HTTP server for this machine only, which tells the page when the files have changed.

use crate::page;
use crate::run::RunData;
use crate::weights::Histograms;
use formats::FileError;
use journal::layout;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 32;
/// Longest request, bytes.
const REQUEST_BYTES_MAX: u64 = 8 << 10;
/// Time that a browser has to ask, and to take what it asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two questions whether to stop, while a browser has not asked yet.
const LISTEN_EVERY: Duration = Duration::from_millis(100);
/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Shortest time between two pages, and how many times the time that making one took: a page must not hold up the training.
const REST_MIN: Duration = Duration::from_millis(500);
const REST_COSTS: u32 = 20;
/// Looks after which a silent connection is written to, so that one that has gone is noticed.
const PING_LOOKS: u32 = 30;

/// Length and time of every file that a page is made of.
type Fingerprint = Vec<Option<(u64, SystemTime)>>;

/// Serves the page of some runs on the loopback interface.
pub struct Server {
    listener: TcpListener,
    runs: Vec<PathBuf>,
    connections: AtomicUsize,
    made: Mutex<Made>,
}

/// The newest page, and what it was made of.
#[derive(Default)]
struct Made {
    of: Option<Fingerprint>,
    page: String,
    /// when it was made, and how long that took
    at: Option<(Instant, Duration)>,
    /// of each run, with the fingerprint of its folder of checkpoints
    histograms: Vec<Option<(Fingerprint, Option<Histograms>)>>,
}

impl Made {
    /// Whether the next page may be made.
    fn has_rested(&self) -> bool {
        self.at.is_none_or(|(at, cost)| at.elapsed() >= REST_MIN.max(cost * REST_COSTS))
    }
}

impl Server {
    /// Listens on this port of the loopback interface; 0 for any that is free.
    ///
    /// # Errors
    /// The port is taken.
    pub fn bind(port: u16, runs: Vec<PathBuf>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let made = Made { histograms: vec![None; runs.len()], ..Made::default() };
        Ok(Self { listener, runs, connections: AtomicUsize::new(0), made: Mutex::new(made) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` says so.
    ///
    /// # Errors
    /// Nothing can be accepted any more.
    pub fn serve(&self, stop: &(dyn Fn() -> bool + Sync)) -> io::Result<()> {
        thread::scope(|scope| {
            while !stop() {
                let stream = match self.listener.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) if is_passing(error.kind()) => {
                        thread::sleep(Duration::from_millis(50));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if self.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                    self.connections.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                scope.spawn(|| {
                    // A browser that goes away is none of our errors.
                    let _ = self.answer(stream, stop);
                    self.connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Ok(())
        })
    }

    fn answer(&self, stream: TcpStream, stop: &(dyn Fn() -> bool + Sync)) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LISTEN_EVERY))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Some(path) = asked_for(Listener { stream: &stream, begun: Instant::now(), stop })? else {
            return respond(&stream, "403 Forbidden", "text/plain", "this page is for this machine only\n");
        };
        match path.as_str() {
            "/" => match self.page() {
                Ok(page) => respond(&stream, "200 OK", "text/html; charset=utf-8", &page),
                Err(error) => {
                    respond(&stream, "500 Internal Server Error", "text/plain", &format!("{error}\n"))
                }
            },
            "/events" => self.tell(stream, stop),
            _ => respond(&stream, "404 Not Found", "text/plain", "there is only one page: /\n"),
        }
    }

    /// The page as the files are now; made anew only where they have changed.
    fn page(&self) -> Result<String, FileError> {
        let now = self.fingerprint();
        let mut made = self.made();
        if made.of.as_ref() != Some(&now) && made.has_rested() {
            let begun = Instant::now();
            let mut runs = Vec::with_capacity(self.runs.len());
            for (dir, cache) in self.runs.iter().zip(&mut made.histograms) {
                let mut run = RunData::read(dir)?;
                let checkpoints = vec![seen(&dir.join(layout::CHECKPOINTS))];
                match cache {
                    Some((of, histograms)) if *of == checkpoints => run.histograms = histograms.clone(),
                    _ => {
                        run = run.with_weights(dir);
                        *cache = Some((checkpoints, run.histograms.clone()));
                    }
                }
                runs.push(run);
            }
            made.page = page(&runs, true);
            made.of = Some(now);
            made.at = Some((Instant::now(), begun.elapsed()));
        }
        Ok(made.page.clone())
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn fingerprint(&self) -> Fingerprint {
        let names = [layout::METRICS, layout::EVENTS, layout::SAMPLES, layout::FINDINGS, layout::CHECKPOINTS];
        self.runs.iter().flat_map(|dir| names.map(|name| seen(&dir.join(name)))).collect()
    }

    /// Server-sent events: `change` whenever the files differ from what was last told.
    fn tell(&self, mut stream: TcpStream, stop: &(dyn Fn() -> bool + Sync)) -> io::Result<()> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
        // Counted from what the newest page was made of: nothing falls between the page and this connection.
        let mut told = self.made().of.clone();
        let (mut number, mut silent) = (0u64, 0);
        stream.write_all(head.as_bytes())?;
        while !stop() {
            thread::sleep(LOOK_EVERY);
            let now = self.fingerprint();
            silent += 1;
            if told.as_ref() != Some(&now) && self.made().has_rested() {
                (told, number, silent) = (Some(now), number + 1, 0);
                write!(stream, "event: change\ndata: {number}\n\n")?;
            } else if silent >= PING_LOOKS {
                silent = 0;
                stream.write_all(b":\n\n")?;
            }
        }
        Ok(())
    }
}

fn is_passing(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted)
}

fn seen(path: &std::path::Path) -> Option<(u64, SystemTime)> {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.len(), facts.modified().ok()?))
}

/// What a browser sends, until its time is over or the server stops.
struct Listener<'a> {
    stream: &'a TcpStream,
    begun: Instant,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Read for Listener<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.stream.read(bytes);
            let is_silent = read.as_ref().is_err_and(|error| {
                matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
            });
            if !is_silent || self.begun.elapsed() >= PATIENCE || (self.stop)() {
                return read;
            }
        }
    }
}

/// The path of a GET request; `None` for any other method, and where the host is not this machine: a page from elsewhere whose
/// name is made to point here must not read what is here.
fn asked_for(listener: Listener) -> io::Result<Option<String>> {
    let mut lines = BufReader::new(listener.take(REQUEST_BYTES_MAX)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut host = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("host")
        {
            host = Some(value.trim().to_owned());
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next(), words.next());
    let name = host.as_deref().map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name));
    let is_local = matches!(name, Some("127.0.0.1" | "localhost"));
    let path = path.map(|path| path.split('?').next().unwrap_or_default().to_owned());
    Ok(path.filter(|_| is_local && method == Some("GET")))
}

fn respond(mut stream: &TcpStream, status: &str, kind: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}"
    )?;
    stream.flush()
}
