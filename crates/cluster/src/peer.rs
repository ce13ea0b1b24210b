//! Who a peer is, and whether its process still exists where that can be seen.

use std::time::Instant;

/// Bytes of a [`Card`] on its way.
pub(crate) const CARD_BYTES: usize = 256;

/// What a rank tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) host: String,
    pub(crate) pid: u32,
    /// machine and process namespace: two ranks with the same see each other's processes
    realm: String,
}

impl Card {
    /// This process, on the machine that MPI calls `host`.
    pub(crate) fn own(host: String) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let realm = match boot.trim() {
            "" => String::new(),
            boot => format!("{boot} {}", space.display()),
        };
        Self { host, pid: std::process::id(), realm }
    }

    pub(crate) fn to_bytes(&self) -> [u8; CARD_BYTES] {
        let mut bytes = [0; CARD_BYTES];
        let host: String = self.host.chars().take(24).collect();
        let text = format!("{}\n{}\n{host}", self.pid, self.realm);
        let len = text.len().min(CARD_BYTES);
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.trim_end_matches('\0').splitn(3, '\n');
        let pid = lines.next().and_then(|pid| pid.parse().ok()).unwrap_or(0);
        let realm = lines.next().unwrap_or_default().to_owned();
        Self { host: lines.next().unwrap_or_default().to_owned(), pid, realm }
    }

    /// Whether `peer`'s process has ended, as far as this one can see.
    pub(crate) fn sees_the_end_of(&self, peer: &Self) -> bool {
        !self.realm.is_empty() && self.realm == peer.realm && has_ended(peer.pid)
    }
}

/// Ended, or a zombie that its parent has not looked after yet.
fn has_ended(pid: u32) -> bool {
    let Ok(line) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // "PID (NAME) STATE …"; the name may hold anything.
    let state = line.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('Z' | 'X'))
}

/// A peer, and when it was last heard.
pub(crate) struct Peer {
    pub(crate) card: Card,
    pub(crate) heard: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_card_arrives_as_it_was_sent() {
        let card = Card::own("node-17".into());
        assert_eq!(Card::from_bytes(&card.to_bytes()), card);
        assert_eq!(Card::from_bytes(&[0; CARD_BYTES]).pid, 0);
    }

    #[test]
    fn the_end_of_a_process_is_seen_before_and_after_it_is_reaped() {
        let own = Card::own("here".into());
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let peer = Card { pid: child.id(), ..own.clone() };
        assert!(!own.sees_the_end_of(&peer));
        child.kill().unwrap();
        while !own.sees_the_end_of(&peer) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(own.sees_the_end_of(&peer));
        let elsewhere = Card { realm: "another machine".into(), ..peer };
        assert!(!own.sees_the_end_of(&elsewhere));
    }
}
