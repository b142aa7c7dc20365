//! What can be said of a bank from outside: the sum of all accounts lies between what was surely brought by then and
//! what can have been, no command fails, and who waits for money gets it. (Linearizability of commands that lock many
//! accounts costs too much to decide; that replicas agree is watched elsewhere.)

use crate::clients::NEVER;
use crate::history::{Ask, BankOp, Record};

/// Whether what clients saw is what a bank may say. What was asked after `healed_us` has an answer.
///
/// # Errors
/// What is wrong, in words.
pub fn check_bank(history: &[Record], healed_us: u64) -> Result<(), String> {
    for record in history {
        match &record.answer {
            None if record.asked_us > healed_us && !may_stay_unpaid(record, history) => {
                return Err(format!("no outcome: {record:?}"));
            }
            Some((_, text)) if text.starts_with("fault: ") => return Err(format!("it failed: {record:?}")),
            Some((answered_us, text)) if record.ask == Ask::Bank(BankOp::Total) && text != NEVER => {
                let sum = text.split(' ').next_back().and_then(|sum| sum.parse().ok());
                let (least, most) = brought(history, record.asked_us, *answered_us);
                if sum.is_none_or(|sum: u64| !(least..=most).contains(&sum)) {
                    return Err(format!("not from {least} to {most}: {record:?}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Payments may wait for ever if one of their client's deposits has not come.
fn may_stay_unpaid(record: &Record, history: &[Record]) -> bool {
    let lost = |other: &Record| {
        let is_deposit = matches!(other.ask, Ask::Bank(BankOp::Deposit(..)));
        other.client == record.client && is_deposit && !is_done(other)
    };
    matches!(record.ask, Ask::Bank(BankOp::Pay(..))) && history.iter().any(lost)
}

/// Whether a deposit is known to have been made: the answer is a balance.
fn is_done(deposit: &Record) -> bool {
    deposit.answer.as_ref().is_some_and(|(_, text)| text.parse::<u64>().is_ok())
}

/// What deposits have surely brought by `asked_us`, and what they can have brought by `answered_us`.
fn brought(history: &[Record], asked_us: u64, answered_us: u64) -> (u64, u64) {
    let (mut least, mut most) = (0, 0);
    for record in history {
        let Ask::Bank(BankOp::Deposit(_, amount)) = &record.ask else { continue };
        let done = is_done(record);
        if done && record.answer.as_ref().is_some_and(|(done_us, _)| *done_us < asked_us) {
            least += amount;
        }
        if (done || record.answer.is_none()) && record.asked_us <= answered_us {
            most += amount;
        }
    }
    (least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(op: BankOp, asked_us: u64, answer: Option<(u64, &str)>) -> Record {
        let answer = answer.map(|(when, text)| (when, text.to_owned()));
        Record { client: 0, ask: Ask::Bank(op), asked_us, answer }
    }

    fn deposit(amount: u64, asked_us: u64, answer: Option<(u64, &str)>) -> Record {
        record(BankOp::Deposit("a".into(), amount), asked_us, answer)
    }

    #[test]
    fn a_total_holds_what_was_brought_and_may_hold_what_is_under_way() {
        let total = |text: &str| {
            let seen = record(BankOp::Total, 20, Some((30, text)));
            let under_way = [deposit(2, 25, Some((40, "3"))), deposit(4, 0, None)];
            let not = [deposit(8, 0, Some((10, "(none)"))), deposit(16, 31, Some((50, "19")))];
            let history = [&[deposit(1, 0, Some((10, "1"))), seen], &under_way[..], &not[..]].concat();
            check_bank(&history, 100).is_ok()
        };
        let right = (0..32).filter(|sum| total(&format!("1 {sum}"))).collect::<Vec<u64>>();
        assert_eq!(right, (1..=7).collect::<Vec<u64>>());
        assert!(!total("fault: panicked") && !total("(none)") && total(NEVER));
    }

    #[test]
    fn a_payment_stays_open_only_if_its_money_did_not_come() {
        let pay = record(BankOp::Pay("p".into(), "a".into(), 5), 20, None);
        assert!(check_bank(&[pay.clone(), deposit(5, 25, Some((30, "5")))], 10).is_err());
        assert!(check_bank(&[pay.clone(), deposit(5, 25, Some((30, NEVER)))], 10).is_ok());
        assert!(check_bank(&[pay, deposit(5, 25, Some((30, "5")))], 20).is_ok());
    }
}
