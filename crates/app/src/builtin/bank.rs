//! Accounts and the money in them: an example of nested locks, conditional waiting, timers and spawned commands.
//!
//! ```text
//!   open NAME                 ok; a new account with nothing in it, or: exists
//!   deposit NAME AMOUNT       the new balance
//!   withdraw NAME AMOUNT      the new balance, or: short BALANCE
//!   transfer FROM TO AMOUNT   ok, or: short BALANCE
//!   pay FROM TO AMOUNT        ok; waits until FROM has that much
//!   balance NAME              the balance
//!   total                     ACCOUNTS SUM, all at one moment
//!   each FROM AMOUNT TO...    ok; begins a `transfer` to each of them, beside each other
//!   after MS COMMAND...       ok; begins the rest of the line, as a command, so many milliseconds later
//!   help                      these lines
//! ```
//!
//! An account that does not exist is answered `(none)`. Locks are taken in the order of names, so nobody waits in a
//! circle; the list of accounts comes before them all. `total` holds it and every account at once and so never sees money under
//! way.

mod command;

use std::collections::BTreeMap;
use std::sync::Arc;

use smr_uds::{Condvar, Mutex, MutexGuard, RwLock};

use crate::application::{Application, Context, RestoreError};
use crate::text::write_word;
use command::{BadCommand, Command};

/// Accounts at most.
const ACCOUNTS_MAX: usize = 1 << 16;

/// The bank.
#[derive(Debug, Default)]
pub struct Bank {
    accounts: RwLock<BTreeMap<Vec<u8>, Arc<Account>>>,
}

#[derive(Debug, Default)]
struct Account {
    balance: Mutex<u64>,
    /// Told of every growth of the balance.
    grown: Condvar,
}

impl Bank {
    /// The account called `name`. The list of accounts is free again when this returns.
    async fn find(&self, name: &[u8]) -> Option<Arc<Account>> {
        self.accounts.read().await.get(name).cloned()
    }

    async fn open(&self, name: Vec<u8>) -> Vec<u8> {
        let mut accounts = self.accounts.write().await;
        if accounts.contains_key(&name) {
            return b"exists".to_vec();
        }
        if accounts.len() == ACCOUNTS_MAX {
            return BadCommand::Full.reply();
        }
        accounts.insert(name, Arc::default());
        b"ok".to_vec()
    }

    async fn deposit(&self, name: &[u8], amount: u64) -> Vec<u8> {
        let Some(account) = self.find(name).await else { return none() };
        let mut balance = account.balance.lock().await;
        match grow(&mut balance, amount) {
            Err(error) => error.reply(),
            Ok(()) => {
                let reply = balance.to_string().into_bytes();
                account.grown.notify_all().await;
                reply
            }
        }
    }

    async fn withdraw(&self, name: &[u8], amount: u64) -> Vec<u8> {
        let Some(account) = self.find(name).await else { return none() };
        let mut balance = account.balance.lock().await;
        match balance.checked_sub(amount) {
            None => short(*balance),
            Some(left) => {
                *balance = left;
                left.to_string().into_bytes()
            }
        }
    }

    /// Moves money, if it is there.
    async fn transfer(&self, from: &[u8], to: &[u8], amount: u64) -> Vec<u8> {
        let (Some(giver), Some(taker)) = (self.find(from).await, self.find(to).await) else { return none() };
        if from == to {
            let balance = giver.balance.lock().await;
            return if *balance < amount { short(*balance) } else { b"ok".to_vec() };
        }
        let (mut has, mut gets) = in_order(from < to, &giver, &taker).await;
        let Some(left) = has.checked_sub(amount) else { return short(*has) };
        if let Err(error) = grow(&mut gets, amount) {
            return error.reply();
        }
        *has = left;
        taker.grown.notify_all().await;
        b"ok".to_vec()
    }

    /// Moves money, once it is there. It waits before it has changed anything, holding nothing but the one lock.
    async fn pay(&self, from: &[u8], to: &[u8], amount: u64) -> Vec<u8> {
        let Some(giver) = self.find(from).await else { return none() };
        if self.find(to).await.is_none() {
            return none();
        }
        loop {
            let mut balance = giver.balance.lock().await;
            while *balance < amount {
                balance = giver.grown.wait(balance).await;
            }
            drop(balance);
            // Between the two locks somebody else may have been faster.
            let reply = self.transfer(from, to, amount).await;
            if !reply.starts_with(SHORT) {
                return reply;
            }
        }
    }

    async fn total(&self) -> Vec<u8> {
        // Held to the end: an account that opens meanwhile could get money of one that is not counted yet.
        let accounts = self.accounts.read().await;
        let mut held = Vec::with_capacity(accounts.len());
        for account in accounts.values() {
            held.push(account.balance.lock().await);
        }
        let sum: u128 = held.iter().map(|balance| u128::from(**balance)).sum();
        format!("{} {sum}", held.len()).into_bytes()
    }

    async fn each(ctx: &Context, from: &[u8], amount: u64, to: Vec<Vec<u8>>) -> Vec<u8> {
        for name in to {
            let mut command = b"transfer ".to_vec();
            write_word(&mut command, from);
            command.push(b' ');
            write_word(&mut command, &name);
            command.extend(format!(" {amount}").into_bytes());
            if let Err(error) = ctx.spawn(command).await {
                return format!("error: {error}").into_bytes();
            }
        }
        b"ok".to_vec()
    }
}

impl Application for Bank {
    async fn execute(&self, ctx: &Context, command: &[u8]) -> Vec<u8> {
        match Command::parse(command) {
            Err(error) => error.reply(),
            Ok(Command::Open { name }) => self.open(name).await,
            Ok(Command::Deposit { name, amount }) => self.deposit(&name, amount).await,
            Ok(Command::Withdraw { name, amount }) => self.withdraw(&name, amount).await,
            Ok(Command::Transfer { from, to, amount }) => self.transfer(&from, &to, amount).await,
            Ok(Command::Pay { from, to, amount }) => self.pay(&from, &to, amount).await,
            Ok(Command::Balance { name }) => match self.find(&name).await {
                None => none(),
                Some(account) => account.balance.lock().await.to_string().into_bytes(),
            },
            Ok(Command::Total) => self.total().await,
            Ok(Command::Each { from, amount, to }) => Bank::each(ctx, &from, amount, to).await,
            Ok(Command::After { delay_ms, command }) => match ctx.after(delay_ms, command.to_vec()).await {
                Ok(()) => b"ok".to_vec(),
                Err(error) => format!("error: {error}").into_bytes(),
            },
            Ok(Command::Help) => HELP.as_bytes().to_vec(),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let list: Vec<(Vec<u8>, u64)> = self
            .accounts
            .at_rest(|accounts| {
                let pairs = accounts.iter().map(|(name, account)| {
                    (name.clone(), account.balance.at_rest(|balance| *balance).expect(AT_REST))
                });
                pairs.collect()
            })
            .expect(AT_REST);
        borsh::to_vec(&list).expect("writing to memory cannot fail")
    }

    fn restore(&self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let list: Vec<(Vec<u8>, u64)> =
            borsh::from_slice(snapshot).map_err(|error| RestoreError::new(error.to_string()))?;
        if !list.is_sorted_by(|(before, _), (after, _)| before < after) || list.len() > ACCOUNTS_MAX {
            return Err(RestoreError::new("its accounts do not ascend, or there are too many"));
        }
        let account = |balance| Arc::new(Account { balance: Mutex::new(balance), grown: Condvar::default() });
        let accounts = list.into_iter().map(|(name, balance)| (name, account(balance))).collect();
        self.accounts.at_rest(|old| *old = accounts).expect(AT_REST);
        Ok(())
    }
}

const AT_REST: &str = "no command runs meanwhile, and none leaks its guard";

const HELP: &str = "\
open NAME                 a new account with nothing in it
deposit NAME AMOUNT       the new balance
withdraw NAME AMOUNT      the new balance, or: short BALANCE
transfer FROM TO AMOUNT   ok, or: short BALANCE
pay FROM TO AMOUNT        ok; waits until FROM has that much
balance NAME              the balance
total                     ACCOUNTS SUM, all at one moment
each FROM AMOUNT TO...    begins a `transfer` to each of them
after MS COMMAND...       begins the rest of the line, as a command, so many milliseconds later
Words with spaces stand in double quotes, with \\\" \\\\ \\n \\r \\t \\xHH inside.
";

const SHORT: &[u8] = b"short ";

fn short(balance: u64) -> Vec<u8> {
    [SHORT, balance.to_string().as_bytes()].concat()
}

fn none() -> Vec<u8> {
    b"(none)".to_vec()
}

fn grow(balance: &mut u64, amount: u64) -> Result<(), BadCommand> {
    *balance = balance.checked_add(amount).ok_or(BadCommand::TooMuch)?;
    Ok(())
}

/// Both balances, locked in the order of names.
async fn in_order<'a>(
    giver_first: bool,
    giver: &'a Account,
    taker: &'a Account,
) -> (MutexGuard<'a, u64>, MutexGuard<'a, u64>) {
    if giver_first {
        let has = giver.balance.lock().await;
        (has, taker.balance.lock().await)
    } else {
        let gets = taker.balance.lock().await;
        (giver.balance.lock().await, gets)
    }
}

#[cfg(test)]
mod tests;
