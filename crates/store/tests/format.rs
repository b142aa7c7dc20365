//! Limits of a store, and its files byte by byte, on a disk that is a map.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;

use smr_mutate::pins::Pins;
use smr_store::{ChunkName, OpenError, Store, StoreConfig, StoreError};

use common::Memory;

const OWNER: [u8; 32] = [7; 32];

fn small() -> StoreConfig {
    StoreConfig {
        segment_bytes: 8 << 10,
        record_bytes_max: 1000,
        buffer_bytes_max: 2000,
        segments_max: 3,
        chunk_bytes_max: 100,
        chunks_max: 2,
        ..StoreConfig::with_salt(0x5a17)
    }
}

fn open() -> Store<Memory> {
    Store::open(Memory::default(), small(), &OWNER).unwrap().0
}

/// Each is called by what it begins with.
fn chunks(of: &[&[u8]]) -> Vec<(ChunkName, Vec<u8>)> {
    let name = |chunk: &[u8]| std::array::from_fn(|at| chunk.get(at).copied().unwrap_or_default());
    of.iter().map(|chunk| (name(chunk), chunk.to_vec())).collect()
}

#[test]
fn its_files_are_what_they_were() {
    let mut store = open();
    for slot in 1..=5 {
        store.append(slot, &[u8::try_from(slot).unwrap(); 900]).unwrap();
        store.sync().unwrap();
    }
    store.checkpoint_writer(store.disk().clone()).keep(4, b"header", &chunks(&[b"one", b"two"])).unwrap();
    let files = store.disk().0.borrow();

    // FNV-1a: what is pinned has to differ where the bytes do, and nobody attacks it.
    let hash = |bytes: &[u8]| {
        let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{sum:016x}")
    };
    let mut pins = Pins::new();
    for (name, bytes) in files.iter() {
        pins.add_bytes(name, bytes, hash);
    }
    pins.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format.txt"));
}

#[test]
fn what_is_too_large_is_refused_and_the_log_goes_on() {
    let mut store = open();
    let refused = store.append(1, &[0; 1001]);
    assert!(matches!(refused, Err(StoreError::TooLarge { bytes: 1001, bytes_max: 1000, .. })));
    let refused = store.prune(1, &[&[0; 1001]]);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    let mut checkpoints = store.checkpoint_writer(Memory::default());
    assert!(matches!(checkpoints.keep(1, &[0; 101], &chunks(&[b""])), Err(StoreError::TooLarge { .. })));
    assert!(matches!(
        checkpoints.keep(1, b"", &chunks(&[b"", b"", b""])),
        Err(StoreError::TooManyChunks { chunks_max: 2 })
    ));
    let refused = checkpoints.keep(1, b"", &chunks(&[&[0; 101]]));
    assert!(matches!(refused, Err(StoreError::TooLarge { what: "chunk", .. })));
    checkpoints.keep(1, &[0; 100], &chunks(&[&[0; 100], &[1; 100]])).unwrap();
    assert_eq!(store.append(1, &[0; 1000]).unwrap(), 1);
    assert_eq!(store.sync().unwrap(), 1);
}

#[test]
fn a_log_that_is_not_pruned_ends_and_goes_on_once_it_is() {
    let mut store = open();
    let mut slot = 0;
    let refused = loop {
        slot += 1;
        if let Err(refused) = store.append(slot, &[0; 1000]) {
            break refused;
        }
    };
    assert!(matches!(refused, StoreError::LogTooLong { segments_max: 3 }));
    assert_eq!((slot, store.segments()), (10, 3), "three records fit into each of three segments");
    store.prune(6, &[b"head"]).unwrap();
    assert_eq!(store.segments(), 2);
    store.append(slot, &[0; 1000]).unwrap();
    assert_eq!(store.sync().unwrap(), 11);
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let wrong = [
        StoreConfig { segment_bytes: 4096, ..small() },
        StoreConfig { segment_bytes: 10_000, ..small() },
        StoreConfig { record_bytes_max: 5000, ..small() },
        StoreConfig { segments_max: 1, ..small() },
        StoreConfig { spares_max: 17, ..small() },
        StoreConfig { checkpoints_kept: 1, ..small() },
        StoreConfig { chunk_bytes_max: 0, ..small() },
        StoreConfig { chunks_max: u32::MAX, ..small() },
        StoreConfig { chunk_file_bytes: 0, ..small() },
        StoreConfig { chunk_files_max: 31, ..small() },
    ];
    for config in wrong {
        let opened = Store::open(Memory::default(), config.clone(), &OWNER);
        assert!(matches!(opened, Err(OpenError::Config(_))), "{config:?}");
    }
    Store::open(Memory::default(), StoreConfig::with_salt(1), &OWNER).unwrap();
}
