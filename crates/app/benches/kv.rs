//! What the containers cost or gain the key-value store, beside one with hand-written locks around `BTreeMap`s.
//!
//! `cargo bench -p smr-app --bench kv`. Each figure is the median of [`REPEATS`] ratios of commands in a second; both
//! sides of a ratio are measured one after the other, so that other load on the machine hits both.

#[path = "common/chance.rs"]
mod chance;
#[path = "common/service.rs"]
mod service;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use chance::{Draws, now};
use service::{COMMANDS, Service};
use smr_app::builtin::kv::{Kv, Limits};
use smr_app::text::{Words, write_word};
use smr_app::{Application, Context, RestoreError};
use smr_uds::RwLock;

const REPEATS: usize = 9;

/// Slots of a measurement.
const SLOTS: u64 = 400;

/// The store with a lock around each of a few maps, which counts its bytes: as an author without containers would write
/// it, and as the built-in one was written.
#[derive(Default)]
struct Plain([RwLock<Shard>; 16]);

#[derive(Default)]
struct Shard {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl Plain {
    fn shard(&self, key: &[u8]) -> &RwLock<Shard> {
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        &self.0[usize::try_from((hash ^ (hash >> 32)) % 16).expect("few")]
    }

    async fn scan(&self, start: &[u8], count: usize) -> Vec<u8> {
        let mut shards = Vec::new();
        for shard in &self.0 {
            shards.push(shard.read().await);
        }
        let mut rests: Vec<_> = shards.iter().map(|shard| shard.entries.range(start.to_vec()..)).collect();
        let mut heads: BinaryHeap<_> = BinaryHeap::new();
        for (place, rest) in rests.iter_mut().enumerate() {
            heads.extend(rest.next().map(|pair| Reverse((pair, place))));
        }
        let mut reply = Vec::new();
        for _ in 0..count {
            let Some(Reverse(((key, value), place))) = heads.pop() else { break };
            write_word(&mut reply, key);
            reply.push(b' ');
            write_word(&mut reply, value);
            reply.push(b'\n');
            heads.extend(rests[place].next().map(|pair| Reverse((pair, place))));
        }
        reply
    }
}

impl Application for Plain {
    async fn execute(&self, _: &Context, command: &[u8]) -> Vec<u8> {
        let mut words = Words::new(command);
        let mut word = || words.word().ok().flatten().map(|word| word.bytes).unwrap_or_default();
        let (verb, key) = (word(), word());
        match verb.as_slice() {
            b"get" => self.shard(&key).read().await.entries.get(&key).cloned().unwrap_or_default(),
            b"put" => {
                let value = words.rest().unwrap_or_default().to_vec();
                let mut shard = self.shard(&key).write().await;
                let before = shard.entries.get(&key).map_or(0, |old| key.len() + old.len());
                shard.bytes = shard.bytes - before + key.len() + value.len();
                shard.entries.insert(key, value);
                b"ok".to_vec()
            }
            _ => {
                let count = String::from_utf8(word()).ok().and_then(|text| text.parse().ok());
                self.scan(&key, count.unwrap_or(0)).await
            }
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// What clients do.
#[derive(Clone, Copy, Debug)]
enum Load {
    Gets,
    Puts,
    HalfPuts,
    Scans,
}

impl Load {
    fn command(self, draws: &mut Draws, keys: u64) -> Vec<u8> {
        let key = draws.below(keys);
        let put = match self {
            Load::Gets | Load::Scans => false,
            Load::Puts => true,
            Load::HalfPuts => draws.below(2) == 0,
        };
        match self {
            Load::Scans => format!("scan user{key:012} 10").into_bytes(),
            _ if put => put_of(key, draws.below(1000)),
            _ => format!("get user{key:012}").into_bytes(),
        }
    }
}

fn put_of(key: u64, number: u64) -> Vec<u8> {
    format!("put user{key:012} {number:0100}").into_bytes()
}

/// A store with so many keys in it.
fn filled(application: impl Application, workers: usize, keys: u64) -> Service {
    let mut service = Service::new(application, workers);
    let mut key = 0..;
    service.run(
        keys.div_ceil(COMMANDS),
        || put_of(key.next().expect("endless").min(keys - 1), 0),
        |_, _, _, _| {},
    );
    service
}

fn commands_per_s(service: &mut Service, load: Load, seed: u64, keys: u64) -> f64 {
    let mut draws = Draws::new(seed);
    let begin = now();
    service.run(SLOTS, || load.command(&mut draws, keys), |_, _, _, _| {});
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let commands = (SLOTS * COMMANDS) as f64;
    commands / begin.elapsed().as_secs_f64()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    println!("   keys  workers      load   plain/s      kv/s   kv:plain");
    for keys in [10_000, 1_000_000] {
        for workers in [1, 2] {
            let mut plain = filled(Plain::default(), workers, keys);
            let mut kv = filled(Kv::new(Limits::default()), workers, keys);
            for load in [Load::Gets, Load::Puts, Load::HalfPuts, Load::Scans] {
                let pairs: Vec<(f64, f64)> = (0..REPEATS as u64)
                    .map(|seed| {
                        let first = commands_per_s(&mut plain, load, seed, keys);
                        (first, commands_per_s(&mut kv, load, seed, keys))
                    })
                    .collect();
                let of = |pick: fn(&(f64, f64)) -> f64| median(pairs.iter().map(pick).collect());
                let (first, second, ratio) = (of(|p| p.0), of(|p| p.1), of(|p| p.1 / p.0));
                let load = format!("{load:?}");
                println!("{keys:7} {workers:8} {load:>9} {first:9.0} {second:9.0} {ratio:10.2}");
            }
        }
    }
}
