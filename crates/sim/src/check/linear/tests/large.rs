//! Histories as long as a night's run leaves. To measure: `cargo test --release -p smr-sim hundred_thousand --
//! --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;

const OPERATIONS: u64 = 100_000;

/// What such a history may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a history is drawn.
#[derive(Clone, Copy, Debug)]
struct Shape {
    clients: u64,
    keys: u64,
    unknown_per_mille: u64,
    /// Values that clients choose from; none if no two writes have the same.
    values: Option<u64>,
}

fn draw(shape: Shape) -> Vec<KeyOp> {
    let mut rng = Rng::new(11);
    let Shape { clients, keys, unknown_per_mille, values } = shape;
    drawn(&mut rng, clients, OPERATIONS, keys, unknown_per_mille, |rng, n| match values {
        Some(values) => format!("v{}", rng.within(1, values)),
        None => format!("v{n}"),
    })
}

fn judge(history: &[KeyOp]) -> (Result<(), NotLinear>, Duration) {
    let began = Instant::now();
    (check_keys(history), began.elapsed())
}

#[test]
#[ignore = "a measurement; takes minutes in a build that is not optimised"]
fn a_hundred_thousand_operations_are_judged_within_a_minute() {
    // On one key, everything that is open is open for everything else: 32 clients that are always busy with one key
    // are more than the search can decide.
    let contention = [(100, 32, [0, 5, 20].as_slice()), (4, 32, &[0, 5, 20]), (1, 16, &[0, 5])];
    let mut shapes = Vec::new();
    for (keys, most, unknown) in contention {
        for unknown_per_mille in unknown.iter().copied() {
            for (clients, values) in [(6, None), (6, Some(5)), (most, None), (most, Some(5))] {
                shapes.push(Shape { clients, keys, unknown_per_mille, values });
            }
        }
    }
    for shape in shapes {
        let mut history = draw(shape);
        let (verdict, good) = judge(&history);
        assert_eq!(verdict, Ok(()), "{shape:?}");
        let is_read = |operation: &KeyOp| operation.op.1 == Op::Get && operation.answer.is_some();
        let place = history.iter().rposition(is_read).unwrap();
        history[place].answer.as_mut().unwrap().1 = "never written".into();
        let (verdict, bad) = judge(&history);
        let how = if matches!(verdict, Err(NotLinear::Stuck(_))) { "found" } else { "undecided" };
        println!("{shape:?}: {good:.1?} if right, {bad:.1?} if wrong ({how})");
        assert!(verdict.is_err(), "{shape:?}");
        assert!(good < PATIENCE && bad < PATIENCE, "{shape:?}");
    }
}
