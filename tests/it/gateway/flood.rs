//! Slow, huge, malformed and parallel requests: whoever asks as usual is answered meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::place::{Place, Up};

/// How long an answer may take while others do their worst: less than a stalled connection may rest, so that nobody is
/// answered only because others were cut off. It takes milliseconds otherwise.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(25);
const STALLED: usize = 1000;

struct Target {
    place: Place,
    up: Up,
    address: SocketAddr,
}

impl Target {
    fn start() -> Self {
        let place = Place::new();
        let up = Up::start(&place, &[]);
        let address = up.told("http").strip_prefix("http://").unwrap();
        let address = address.parse().unwrap();
        Self { place, up, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, ANSWER_TIME_MAX).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).unwrap();
        stream.set_write_timeout(Some(ANSWER_TIME_MAX)).unwrap();
        stream
    }

    /// Asks as usual, on a connection of its own.
    fn is_answered(&self) {
        let begin = Instant::now();
        let mut stream = self.connect();
        let head = self.head("GET /api/v1/status", "Connection: close\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(begin.elapsed() < ANSWER_TIME_MAX, "{:?}", begin.elapsed());
    }

    fn head(&self, first: &str, headers: &str) -> String {
        format!(
            "{first} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            self.address
        )
    }

    /// A token with which uploads are read: its key is unlocked.
    fn token(&self) -> String {
        let unlocked = self.place.run(&["key", "unlock"]);
        assert!(unlocked.status.success());
        let made = self.place.json(&["token", "new", "--scope", "publish-new"]);
        made["token"].as_str().unwrap().to_owned()
    }

    fn stop(self) {
        assert_eq!(self.up.stop(), Some(0));
    }
}

/// What comes back until the other side is done, or a time without a byte.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset after the answer is how a body is refused.
    drop(stream.read_to_end(&mut answer));
    answer
}

#[test]
fn a_thousand_clients_that_stall_keep_nobody_out() {
    // They are all open here at once, beside what other tests have open.
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all).unwrap();
    let target = Target::start();
    let begun = target.head("GET /healthz", "");
    let token = target.token();
    let upload = format!("Authorization: {token}\r\nContent-Length: 1000000\r\n");
    let upload = target.head("PUT /cargo/_/api/v1/crates/new", &upload);
    let mut stalled = Vec::new();
    for number in 0..STALLED {
        let mut stream = target.connect();
        let said = match number % 4 {
            0 => "",
            1 => "G",
            2 => &begun[..begun.len() - 2],
            _ => &upload,
        };
        // One that had to go already does not take it.
        drop(stream.write_all(said.as_bytes()));
        stalled.push(stream);
        if number % 50 == 0 {
            target.is_answered();
        }
    }
    for _ in 0..20 {
        target.is_answered();
    }
    assert_eq!(stalled.len(), STALLED);
    target.stop();
}

#[test]
fn a_body_without_end_is_refused_and_takes_no_memory() {
    let target = Target::start();
    let token = target.token();
    let upload = "PUT /cargo/_/api/v1/crates/new";
    let authorised = format!("Authorization: {token}\r\n");
    for (first, headers, statuses) in [
        (upload, authorised.as_str(), &[413][..]),
        (upload, "", &[401][..]),
        ("POST /api/v1/status", &authorised, &[405][..]),
        ("GET /healthz", "", &[200][..]),
    ] {
        let kind = match first == upload {
            true => "",
            false => "Content-Type: application/json\r\n",
        };
        let sized = format!("{headers}{kind}Content-Length: 1073741824\r\n");
        let mut stream = target.connect();
        stream
            .write_all(target.head(first, &sized).as_bytes())
            .unwrap();
        let answer = String::from_utf8_lossy(&rest(&mut stream)).into_owned();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{first}: {answer}");

        let chunked = format!("{headers}{kind}Transfer-Encoding: chunked\r\n");
        let mut stream = target.connect();
        stream
            .write_all(target.head(first, &chunked).as_bytes())
            .unwrap();
        let piece = [b"100000\r\n", vec![b'x'; 1 << 20].as_slice(), b"\r\n"].concat();
        let mut taken = 0;
        for mebibyte in 0..1024 {
            if stream.write_all(&piece).is_err() {
                break;
            }
            taken = mebibyte;
            if mebibyte == 20 {
                target.is_answered();
            }
        }
        // What is on its way in the buffers of the system comes on top of the limit.
        assert!(taken < 64, "{first}: {taken} MiB were taken");
        let answer = String::from_utf8_lossy(&rest(&mut stream)).into_owned();
        // The system may drop the answer with what was not read.
        if !answer.is_empty() {
            let is_expected = |status: &u16| answer.starts_with(&format!("HTTP/1.1 {status} "));
            assert!(statuses.iter().any(is_expected), "{first}: {answer}");
        }
        target.is_answered();
    }
    target.stop();
}

#[test]
fn what_is_no_http_is_refused_and_others_are_answered() {
    let target = Target::start();
    let seed = 20_261_123;
    let mut random = StdRng::seed_from_u64(seed);
    for number in 0..200 {
        let mut bytes = vec![0; 1 + (random.next_u32() as usize % 4096)];
        random.fill_bytes(&mut bytes);
        let head = target.head("GET /healthz", "X: y\r\n");
        let sent = match number % 4 {
            0 => bytes,
            // A good beginning, a good end, and one byte of it changed.
            1 => [head.as_bytes(), &bytes].concat(),
            2 => [&head.as_bytes()[..20], &bytes].concat(),
            _ => {
                let mut head = head.into_bytes();
                let at = random.next_u32() as usize % head.len();
                head[at] = bytes[0];
                head
            }
        };
        let mut stream = target.connect();
        let written = stream.write_all(&sent);
        if let Err(error) = written {
            let kind = error.kind();
            let is_gone = matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
            assert!(is_gone, "seed {seed}, {number}: {error}");
        }
        stream
            .shutdown(std::net::Shutdown::Write)
            .unwrap_or_default();
        let answer = rest(&mut stream);
        let is_answer = answer.is_empty() || answer.starts_with(b"HTTP/1.1 ");
        assert!(is_answer, "seed {seed}, {number}: {answer:?}");
        if number % 20 == 0 {
            target.is_answered();
        }
    }
    target.is_answered();
    target.stop();
}
