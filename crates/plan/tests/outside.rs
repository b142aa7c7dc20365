//! Service descriptions that somebody changed: read or refused, with words that can be shown, and planned or refused.

use smr_mutate::{Dice, runs, text};
use smr_plan::{Blueprint, Facts, FaultModel, ProtocolFact, Wish, plan};

const EXAMPLES: [&str; 3] = [
    include_str!("../../../examples/kv.toml"),
    include_str!("../../../examples/bank.toml"),
    include_str!("../../../examples/trusted.toml"),
];

fn facts() -> Facts {
    let fact = |name: &str, model, per_fault| ProtocolFact {
        name: name.into(),
        model,
        per_fault,
        faults_max: 5,
        strength: "strong".into(),
    };
    let protocols = vec![fact("pbft", FaultModel::Byzantine, 3), fact("ebawa", FaultModel::Hybrid, 2)];
    Facts { protocols, cores: 2 }
}

#[test]
fn no_description_makes_the_reader_or_the_planner_panic() {
    let mut dice = Dice::new(runs::seed());
    let (mut read, mut planned) = (0u64, 0u64);
    let executions = runs::executions(8_000);
    let mut counted = runs::Counted::new("descriptions");
    for _ in 0..executions {
        counted.one();
        let (one, other) = (EXAMPLES[dice.below(EXAMPLES.len())], EXAMPLES[dice.below(EXAMPLES.len())]);
        let changed = text::change(one, other, &mut dice);
        match Wish::parse(&changed, "changed.toml", &["kv", "bank"]) {
            Ok(wish) => {
                read += 1;
                planned += u64::from(plan(&wish, &facts()).is_ok());
            }
            Err(error) => {
                let shown = error.to_string();
                assert!(shown.contains("error") && !shown.contains('\u{0}'), "{changed:?}: {shown}");
            }
        }
    }
    println!("descriptions: {executions} executions, {read} read, {planned} planned");
    assert!(read > executions / 50 && planned > 0);
}

#[test]
fn no_kept_blueprint_makes_the_reader_panic_and_what_is_read_is_written_alike() {
    let wish = Wish::parse(EXAMPLES[0], "kv.toml", &["kv", "bank"]).expect("an example");
    let kept = serde_json::to_string(&plan(&wish, &facts()).expect("it can be built")).expect("plain");
    let mut dice = Dice::new(runs::seed());
    let mut read = 0u64;
    let mut counted = runs::Counted::new("blueprints");
    for _ in 0..runs::executions(4_000) {
        counted.one();
        let changed = text::change(&kept, &kept, &mut dice);
        let Ok(blueprint) = serde_json::from_str::<Blueprint>(&changed) else { continue };
        let again = serde_json::to_string(&blueprint).expect("plain");
        assert_eq!(serde_json::from_str::<Blueprint>(&again).ok(), Some(blueprint));
        read += 1;
    }
    println!("blueprints: {read} read");
    assert!(read > 0);
}
