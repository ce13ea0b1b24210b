//! The live page: served to this machine only, told of when the files change.

mod common;

use common::{line, run};
use journal::metrics::Writer;
use report::live::Server;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

fn ask(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn answer(address: SocketAddr, request: &str) -> String {
    let mut text = String::new();
    ask(address, request).read_to_string(&mut text).unwrap();
    text
}

/// Stops the server also where an assertion fails, so that the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_page_is_served_and_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir.path().join("study"));
    let server = Server::bind(0, vec![run.dir().to_owned()]).unwrap();
    let address = server.address().unwrap();
    assert!(address.ip().is_loopback());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| server.serve(&|| stop.load(Ordering::Relaxed)).unwrap());
        let page = answer(address, "GET / HTTP/1.1\r\nHost: localhost:1\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("Summary and verdict"), "{page:.200}");
        for (request, status) in [
            ("GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
            ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
            ("GET / HTTP/1.1\r\n\r\n", "403"),
            ("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", "403"),
            ("\r\n\r\n", "403"),
        ] {
            let answer = answer(address, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer:.100}");
        }
        let mut events = BufReader::new(ask(address, "GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
        let mut told = String::new();
        while !told.ends_with("\r\n\r\n") {
            assert!(events.read_line(&mut told).unwrap() > 0, "{told}");
        }
        Writer::open_at(&run.metrics(), 400).unwrap().append(&line(400)).unwrap();
        while !told.contains("event: change") {
            assert!(events.read_line(&mut told).unwrap() > 0, "{told}");
        }
        let page = answer(address, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        assert!(page.contains("401 of 400"), "the new line is in the page");
    });
}

#[test]
fn a_silent_connection_does_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir.path().join("study"));
    let server = Server::bind(0, vec![run.dir().to_owned()]).unwrap();
    let address = server.address().unwrap();
    let stop = AtomicBool::new(false);
    let took = std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(&|| stop.load(Ordering::Relaxed)).unwrap());
        let _silent = TcpStream::connect(address).unwrap();
        // The one that is answered comes after it: both are accepted.
        assert!(answer(address, "\r\n\r\n").starts_with("HTTP/1.1 403"));
        stop.store(true, Ordering::Relaxed);
        let begun = std::time::Instant::now();
        serving.join().unwrap();
        begun.elapsed()
    });
    assert!(took.as_secs() < 5, "{took:?}");
}
