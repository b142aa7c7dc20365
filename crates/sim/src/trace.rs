//! What happened, in words: a line per happening, for people who repeat a run. Off in long campaigns.

/// Where lines go.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Vec<String>>);

impl Trace {
    /// Keeps nothing.
    #[must_use]
    pub fn off() -> Trace {
        Trace(None)
    }

    /// Keeps every line.
    #[must_use]
    pub fn on() -> Trace {
        Trace(Some(Vec::new()))
    }

    /// Notes a line, which is made only if somebody keeps it.
    pub fn note(&mut self, at_us: u64, step: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(format!("{:>10}.{:03} ms  #{step:<7} {}", at_us / 1000, at_us % 1000, line()));
        }
    }

    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}
