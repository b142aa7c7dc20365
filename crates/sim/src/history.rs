//! What clients asked and saw, as it can be judged afterwards.

/// One operation of the key-value application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// The value.
    Get,
    /// Store this.
    Put(String),
    /// Remove it.
    Delete,
    /// Store the second if the first stands there; none stands for no value.
    Cas(Option<String>, String),
}

/// One command of one client, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Whose.
    pub client: usize,
    /// On which key.
    pub key: String,
    /// What.
    pub op: Op,
    /// When it was asked, in microseconds.
    pub asked_us: u64,
    /// When its outcome was learned, and the reply. None if it is not known: it may have been executed at any time
    /// since, or never.
    pub answer: Option<(u64, String)>,
}

impl Record {
    /// The command as the application gets it.
    #[must_use]
    pub fn command(&self) -> Vec<u8> {
        let key = &self.key;
        match &self.op {
            Op::Get => format!("get {key}"),
            Op::Put(value) => format!("put {key} {value}"),
            Op::Delete => format!("delete {key}"),
            Op::Cas(expected, new) => {
                format!("cas {key} {} {new}", expected.as_deref().unwrap_or("(none)"))
            }
        }
        .into_bytes()
    }
}
