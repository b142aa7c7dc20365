use super::*;
use crate::builtin::tests::{after, beside, replies};

#[test]
fn money_moves_and_is_never_made() {
    let commands = [
        "open a",
        "open b",
        "open a",
        "deposit a 10",
        "transfer a b 4",
        "transfer a b 7",
        "transfer b a 1",
        "balance a",
        "balance b",
        "withdraw b 9",
        "withdraw b 3",
        "total",
        "transfer a a 7",
        "transfer a a 8",
    ];
    let expected =
        ["ok", "ok", "exists", "10", "ok", "short 6", "ok", "7", "3", "short 3", "0", "2 7", "ok", "short 7"];
    assert_eq!(replies(Bank::default(), &commands), expected);
}

#[test]
fn what_is_not_there_or_not_understood_is_said_so() {
    let commands = [
        "balance x",
        "pay x y 1",
        "deposit x 1",
        "",
        "frob",
        "open",
        "open a b",
        "transfer a b -1",
        "after 1",
        "each a 1",
        "open a",
        "open b",
        "deposit a 18446744073709551615",
        "deposit a 1",
        "deposit b 1",
        "transfer b a 1",
        "balance b",
    ];
    let all = replies(Bank::default(), &commands);
    assert_eq!(all[..3], ["(none)", "(none)", "(none)"]);
    assert!(all[3..10].iter().all(|reply| reply.starts_with("error: ")), "{all:?}");
    assert_eq!(all[13], "error: no account holds more than 18446744073709551615");
    assert_eq!(all[15..], [all[13].as_str(), "1"]);
}

#[test]
fn a_restored_bank_is_the_one_that_was_written() {
    let (bank, _) = after(Bank::default(), &["open b", "open a", "deposit a 5"]);
    let copy = Bank::default();
    let chunks = bank.cut().chunks().unwrap();
    copy.restore_chunks(&chunks).unwrap();
    assert_eq!(copy.cut().chunks().unwrap(), chunks);
    assert!(copy.restore_chunks(&chunks[1..]).is_err());
    assert!(copy.restore_chunks(&chunks[..chunks.len() - 1]).is_err());
    let (_, replies) = after(copy, &["transfer a b 5", "balance b", "total"]);
    assert_eq!(replies, ["ok", "5", "2 5"]);
}

#[test]
fn a_total_misses_no_money_that_goes_to_an_account_that_opens_meanwhile() {
    let names = ["b", "c", "d", "e", "f", "g", "h", "z"];
    let opens: Vec<String> = names.iter().map(|name| format!("open {name}")).collect();
    let mut commands: Vec<&str> = opens.iter().map(String::as_str).collect();
    commands.push("deposit z 10");
    let (before, _) = after(Bank::default(), &commands);
    let bank = Bank::default();
    bank.restore_chunks(&before.cut().chunks().unwrap()).unwrap();
    let replies = beside(bank, &["total", "open a", "transfer z a 4"]);
    assert!(["8 10", "9 10"].contains(&replies[0].as_str()), "{replies:?}");
}
