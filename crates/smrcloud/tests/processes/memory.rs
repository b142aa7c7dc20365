//! Bits of the memory of a replica's process flip, from outside: it finds that out, fetches the right state, and no client sees a
//! wrong value.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use crate::clients::{Clients, client};
use crate::deployed::{Deployed, PBFT};
use crate::until;

/// Clients that write and read meanwhile.
const CLIENTS: usize = 8;

/// Values that are found again in memory: enough that each lock of the table guards some.
const MARKS: usize = 64;

const VICTIM: usize = 2;

/// Bytes read at once.
const PIECE: usize = 1 << 20;

fn mark(number: usize) -> String {
    format!("mark {number:03} that nobody would write by chance 7c1f1a90")
}

/// Flips a bit in every copy of the marks that a process has in its memory; how many there were.
fn flip_marks(pid: u32) -> io::Result<usize> {
    let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let writable = maps.lines().filter(|line| line.contains(" rw-p "));
    let ranges = writable.filter_map(|line| {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
    });
    let mut flipped = 0;
    for (from, to) in ranges {
        flipped += flip_in(&memory, from, to)?;
    }
    Ok(flipped)
}

fn flip_in(memory: &File, from: u64, to: u64) -> io::Result<usize> {
    let (mut flipped, mut at) = (0, from);
    let marked = mark(0).len() as u64;
    while at < to {
        let mut bytes = vec![0; PIECE.min(usize::try_from(to - at).expect("small"))];
        // Pages that are not there are none of the application's.
        if memory.read_exact_at(&mut bytes, at).is_err() {
            at += PIECE as u64;
            continue;
        }
        for place in (0..bytes.len()).filter(|place| bytes[*place..].starts_with(b"mark ")) {
            if bytes[place..].get(8..33) == Some(b" that nobody would write ") {
                memory.write_all_at(&[bytes[place + 6] ^ 1], at + place as u64 + 6)?;
                flipped += 1;
            }
        }
        // One that lies across the end is found in the next piece.
        at += (bytes.len() as u64).saturating_sub(marked).max(1);
        if to - at <= marked {
            break;
        }
    }
    Ok(flipped)
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_of_a_live_replica_are_found_and_healed_and_no_client_sees_them() {
    let deployed = Deployed::up(PBFT);
    let reader = client(&deployed.descriptor(), 60_000);
    for number in 0..MARKS {
        let put = format!("put \"m{number}\" \"{}\"", mark(number));
        reader.call(put.into_bytes()).await.expect("an answer");
    }
    let clients = Clients::start(deployed.descriptor(), CLIENTS);
    clients.answered(40).await;
    match flip_marks(deployed.pid(VICTIM)) {
        Ok(flipped) => assert!(flipped >= MARKS, "only {flipped} marks were found"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            println!("skipped: the system lets nobody write to another process's memory ({error})");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    // Writes to the same pages go on, so the replica differs from the others at the next checkpoint.
    let mut number = 0;
    let healed = || deployed.status()["replicas"][VICTIM]["heals"].as_u64().is_some_and(|heals| heals > 0);
    while !healed() {
        let answer =
            reader.call(format!("get \"m{}\"", number % MARKS).into_bytes()).await.expect("an answer");
        let said = String::from_utf8(answer.outcome).expect("text");
        assert!(said.contains(&mark(number % MARKS)), "{said}");
        number += 1;
        clients.answered(20).await;
    }
    clients.judge().await;
    let stands = |of: &serde_json::Value| (of["slot"].clone(), of["digest"].clone());
    let alike = |status: &serde_json::Value| {
        let replicas = status["replicas"].as_array().expect("a list");
        replicas.iter().all(|of| of["state"] == "ready" && stands(of) == stands(&replicas[0]))
    };
    until("all stand alike again", || deployed.is_healthy(alike)).await;
    let said = String::from_utf8(deployed.run(&["status", "kv"]).stdout).expect("text");
    assert!(said.contains("its state was wrong once, and it fetched the right one"), "{said}");
}
