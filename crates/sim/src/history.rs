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

/// One operation of the bank.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BankOp {
    /// All that there is, the only thing that a history can be held against.
    Total,
    /// Bring so much to this account. Nothing else changes the total.
    Deposit(String, u64),
    /// Wait until there is so much in the first account, and move it to the second.
    Pay(String, String, u64),
    /// Something that leaves the total as it is, as the bank reads it.
    Neutral(String),
}

/// What a client may ask, by application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// An operation on this key.
    Kv(String, Op),
    /// An operation of the bank.
    Bank(BankOp),
}

impl Ask {
    /// What `text` asks of the key-value application, if a history can be held against it.
    #[must_use]
    pub fn of_store(text: &str) -> Option<Ask> {
        let words: Vec<&str> = text.split(' ').collect();
        let (key, op) = match words.as_slice() {
            ["get", key] => (key, Op::Get),
            ["put", key, value] => (key, Op::Put((*value).into())),
            ["delete", key] => (key, Op::Delete),
            ["cas", key, "(none)", new] => (key, Op::Cas(None, (*new).into())),
            ["cas", key, expected, new] => (key, Op::Cas(Some((*expected).into()), (*new).into())),
            _ => return None,
        };
        Some(Ask::Kv((*key).into(), op))
    }
}

/// One command of one client, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Whose.
    pub client: usize,
    /// What.
    pub ask: Ask,
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
        match &self.ask {
            Ask::Kv(key, Op::Get) => format!("get {key}"),
            Ask::Kv(key, Op::Put(value)) => format!("put {key} {value}"),
            Ask::Kv(key, Op::Delete) => format!("delete {key}"),
            Ask::Kv(key, Op::Cas(expected, new)) => {
                format!("cas {key} {} {new}", expected.as_deref().unwrap_or("(none)"))
            }
            Ask::Bank(BankOp::Total) => "total".into(),
            Ask::Bank(BankOp::Deposit(account, amount)) => format!("deposit {account} {amount}"),
            Ask::Bank(BankOp::Pay(from, to, amount)) => format!("pay {from} {to} {amount}"),
            Ask::Bank(BankOp::Neutral(text)) => text.clone(),
        }
        .into_bytes()
    }
}
