//! The log: a line for each event on standard error, whatever text of others is in it.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

use crate::output::is_shown;

/// Writes the log from now on. What to log: `MARKET_LOG`, in the syntax of `RUST_LOG`, else `default`.
pub(crate) fn start(default: &str) {
    let filter = EnvFilter::try_from_env("MARKET_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // Without colours: the subscriber would let those of others through as well.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Lines(io::stderr()))
        .with_ansi(false)
        .init();
}

/// Takes an event at a time, as the subscriber writes it, and leaves nothing in it that a terminal obeys or that begins
/// another line. Bytes that are no text are replaced.
struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let inside = text.strip_suffix('\n');
        let mut line = String::with_capacity(event.len());
        for c in inside.unwrap_or(&text).chars() {
            if is_shown(c) {
                line.push(c);
            } else {
                line.extend(c.escape_default());
            }
        }
        line.extend(inside.map(|_| '\n'));
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_a_line_whatever_others_put_into_it() {
        const HOSTILE: &str = "a\x1b[2Jb\r\nlevel=ERROR forged\u{9b}31m\u{202e}gpj\u{7f}";
        let kept = Kept::default();
        let to = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Lines(to.clone()))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let error = anyhow::anyhow!(HOSTILE);
            tracing::warn!(name = HOSTILE, shown = %HOSTILE, text = ?HOSTILE, %error, "{HOSTILE}");
            tracing::info!("the next one");
        });
        let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches('\n').count(), 2, "{log:?}");
        let harmful = ["\x1b", "\r", "\u{9b}", "\u{202e}", "\u{7f}"];
        assert!(!harmful.iter().any(|harm| log.contains(harm)), "{log:?}");
    }
}
