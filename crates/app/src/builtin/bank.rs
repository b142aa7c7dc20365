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
//! An account that does not exist is answered `(none)`. Two accounts are locked in one call, so nobody waits in a
//! circle. `total` sees every account at one moment, and so never sees money under way.

mod command;

use crate::application::{Application, Context, RestoreError};
use crate::state::{Counter, State, Table};
use crate::text::write_word;
use command::{BadCommand, Command};

/// Accounts at most.
const ACCOUNTS_MAX: u64 = 1 << 16;

/// The bank.
#[derive(Debug)]
pub struct Bank {
    state: State,
    /// Balances, by name. Whoever lets one grow says so to those who wait at it.
    accounts: Table<Vec<u8>, u64>,
    /// How many accounts there are. Locked after them.
    opened: Counter,
}

impl Default for Bank {
    fn default() -> Bank {
        let mut state = State::new();
        let (accounts, opened) = (state.table("accounts"), state.counter("opened"));
        Bank { state, accounts, opened }
    }
}

impl Bank {
    async fn open(&self, name: &[u8]) -> Vec<u8> {
        let mut account = self.accounts.lock(name).await;
        if account.is_some() {
            return b"exists".to_vec();
        }
        if self.opened.add_up_to(1, ACCOUNTS_MAX).await.is_none() {
            return BadCommand::Full.reply();
        }
        *account = Some(0);
        b"ok".to_vec()
    }

    async fn deposit(&self, name: &[u8], amount: u64) -> Vec<u8> {
        let mut account = self.accounts.lock(name).await;
        let Some(balance) = *account else { return none() };
        match grown(balance, amount) {
            Err(error) => error.reply(),
            Ok(new) => {
                *account = Some(new);
                account.notify_all().await;
                new.to_string().into_bytes()
            }
        }
    }

    async fn withdraw(&self, name: &[u8], amount: u64) -> Vec<u8> {
        let mut account = self.accounts.lock(name).await;
        let Some(balance) = *account else { return none() };
        match balance.checked_sub(amount) {
            None => short(balance),
            Some(left) => {
                *account = Some(left);
                left.to_string().into_bytes()
            }
        }
    }

    /// Moves money, if it is there.
    async fn transfer(&self, from: &[u8], to: &[u8], amount: u64) -> Vec<u8> {
        if from == to {
            return match *self.accounts.lock(from).await {
                None => none(),
                Some(balance) if balance < amount => short(balance),
                Some(_) => b"ok".to_vec(),
            };
        }
        let mut both = self.accounts.lock_each([from, to]).await;
        let [Some(has), Some(gets)] = *both else { return none() };
        let Some(left) = has.checked_sub(amount) else { return short(has) };
        match grown(gets, amount) {
            Err(error) => error.reply(),
            Ok(new) => {
                *both = [Some(left), Some(new)];
                both.notify_all(1).await;
                b"ok".to_vec()
            }
        }
    }

    /// Moves money, once it is there. It waits before it has changed anything, holding nothing but the one lock.
    async fn pay(&self, from: &[u8], to: &[u8], amount: u64) -> Vec<u8> {
        if !self.accounts.contains(to).await {
            return none();
        }
        loop {
            let short_of_it = |balance: &Option<u64>| balance.is_some_and(|balance| balance < amount);
            let giver = self.accounts.lock(from).await.wait_while(short_of_it).await;
            if giver.is_none() {
                return none();
            }
            drop(giver);
            // Between the two locks somebody else may have been faster.
            let reply = self.transfer(from, to, amount).await;
            if !reply.starts_with(SHORT) {
                return reply;
            }
        }
    }

    async fn total(&self) -> Vec<u8> {
        let view = self.accounts.view().await;
        let sum: u128 = view.iter().map(|(_, balance)| u128::from(balance)).sum();
        format!("{} {sum}", view.load().entries).into_bytes()
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
            Ok(Command::Open { name }) => self.open(&name).await,
            Ok(Command::Deposit { name, amount }) => self.deposit(&name, amount).await,
            Ok(Command::Withdraw { name, amount }) => self.withdraw(&name, amount).await,
            Ok(Command::Transfer { from, to, amount }) => self.transfer(&from, &to, amount).await,
            Ok(Command::Pay { from, to, amount }) => self.pay(&from, &to, amount).await,
            Ok(Command::Balance { name }) => {
                self.accounts.get(&name).await.map_or_else(none, |balance| balance.to_string().into_bytes())
            }
            Ok(Command::Total) => self.total().await,
            Ok(Command::Each { from, amount, to }) => Bank::each(ctx, &from, amount, to).await,
            Ok(Command::After { delay_ms, command }) => match ctx.after(delay_ms, command.to_vec()).await {
                Ok(()) => b"ok".to_vec(),
                Err(error) => format!("error: {error}").into_bytes(),
            },
            Ok(Command::Help) => HELP.as_bytes().to_vec(),
        }
    }

    fn state(&self) -> Option<&State> {
        Some(&self.state)
    }

    fn restored(&self) -> Result<(), RestoreError> {
        let accounts = self.accounts.view_at_rest().load().entries;
        if accounts > ACCOUNTS_MAX || self.opened.at_rest() != accounts {
            return Err(RestoreError::new("it does not have as many accounts as were opened, or too many"));
        }
        Ok(())
    }
}

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

fn grown(balance: u64, amount: u64) -> Result<u64, BadCommand> {
    balance.checked_add(amount).ok_or(BadCommand::TooMuch)
}

#[cfg(test)]
mod tests;
