//! Passphrases typed into a terminal: never shown, and the terminal is as before afterwards.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use ggen_marketplace::crypto::PrivateKey;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::place::{DEADLINE, Place};

const PASSPHRASE: &str = "typed 5B1D and never shown";

/// A command that runs on a terminal of its own.
pub(crate) struct Terminal {
    pub(crate) child: Child,
    keyboard: File,
    slave: OwnedFd,
    screen: mpsc::Receiver<Vec<u8>>,
    pub(crate) shown: String,
}

impl Terminal {
    fn run(place: &Place, args: &[&str]) -> Self {
        Self::of(place.market(args))
    }

    /// Runs a command there, of which only standard output goes elsewhere.
    pub(crate) fn of(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let slave = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        command.stdin(slave.try_clone().unwrap());
        command.stderr(slave.try_clone().unwrap());
        command.stdout(Stdio::null());
        let child = command.spawn().unwrap();
        let keyboard = File::from(master);
        let mut display = keyboard.try_clone().unwrap();
        let (sender, screen) = mpsc::sync_channel(1000);
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(read) = display.read(&mut piece) {
                if sender.send(piece[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keyboard,
            slave,
            screen,
            shown: String::new(),
        }
    }

    /// Waits until this is on the screen.
    pub(crate) fn shows(&mut self, text: &str) {
        let end = Instant::now() + DEADLINE;
        while !self.shown.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(piece) = self.screen.recv_timeout(left) else {
                panic!("never showed {text:?}: {:?}", self.shown);
            };
            self.shown.push_str(&String::from_utf8_lossy(&piece));
        }
    }

    pub(crate) fn types(&mut self, line: &str) {
        self.presses(line.as_bytes());
        self.presses(b"\n");
    }

    /// Presses keys.
    pub(crate) fn presses(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    pub(crate) fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        modes.contains(LocalModes::ECHO)
    }
}

#[test]
fn a_passphrase_is_asked_for_twice_and_never_shown() {
    let place = Place::empty();
    let mut terminal = Terminal::run(&place, &["init"]);
    terminal.shows("passphrase for the key `identity`: ");
    assert!(!terminal.echoes());
    terminal.types(PASSPHRASE);
    terminal.shows("the same again: ");
    terminal.types(PASSPHRASE);
    assert!(terminal.child.wait().unwrap().success());
    assert!(terminal.echoes());
    assert!(PrivateKey::is_locked(&place.path("home/keys/identity.pem")).unwrap());

    let package = place.package("parser", "1.0.0", "// 1");
    let mut publish = Terminal::run(&place, &["publish", &package]);
    publish.shows("passphrase of the key `identity`: ");
    publish.types(PASSPHRASE);
    assert!(publish.child.wait().unwrap().success(), "{}", publish.shown);
    for shown in [terminal.shown, publish.shown] {
        assert!(!shown.contains("5B1D"), "{shown}");
    }
}

#[test]
fn passphrases_that_differ_or_are_empty_make_no_key() {
    for (first, second, why) in [(PASSPHRASE, "other", "differ"), ("", "", "--plain")] {
        let place = Place::empty();
        let mut terminal = Terminal::run(&place, &["init"]);
        terminal.shows("passphrase for");
        terminal.types(first);
        if !first.is_empty() {
            terminal.shows("the same again");
            terminal.types(second);
        }
        terminal.shows(why);
        assert_eq!(terminal.child.wait().unwrap().code(), Some(1));
        assert!(!place.path("home/keys/identity.pem").exists());
    }
}

#[test]
fn an_interruption_does_not_leave_the_terminal_mute() {
    // What a user, a system that ends all, and a terminal that goes away send.
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let place = Place::empty();
        let mut terminal = Terminal::run(&place, &["init"]);
        terminal.shows("passphrase for");
        assert!(!terminal.echoes());
        let pid = Pid::from_child(&terminal.child);
        kill_process(pid, signal).unwrap();
        let ended = terminal.child.wait().unwrap();
        assert_eq!(ended.code(), Some(1), "{signal:?}: {ended}");
        assert!(terminal.echoes(), "{signal:?}");
        assert!(!place.path("home/keys/identity.pem").exists());
    }
}
