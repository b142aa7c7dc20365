use super::*;

fn why(script: &str) -> String {
    play(script).expect_err("not to be played").why
}

#[test]
fn what_was_recorded_gives_way_to_what_happens() {
    let played = play("# A comment.\nbegin ready\n----\nwrong\n\nstatus r1\n").expect("a script");
    let again = play(&played).expect("a script");
    assert_eq!(played, again);
    assert!(played.starts_with("# A comment.\nbegin ready\n----\nall are ready at s"), "{played}");
    assert!(played.contains("\nstatus r1\n----\nr1  Ready v0 "), "{played}");
    assert!(!played.contains("wrong"), "{played}");
}

#[test]
fn a_step_that_finds_nothing_to_do_is_refused() {
    assert!(why("begin ready\n\ndeliver Proposal\n").starts_with("no letter is meant"));
    assert!(why("begin ready\n\ntick new-view r1\n").starts_with("that timer of r1 is not armed"));
    assert!(why("begin ready\n\ntick c0\n").starts_with("c0 waits for nothing"));
    assert!(why("# nothing\n").starts_with("the script has no step"));
}

#[test]
fn a_step_that_means_nothing_is_refused_with_its_line() {
    let trouble = play("begin ready\n----\nx\n\ndelivr all\n").expect_err("no such step");
    assert_eq!(trouble.line, 5);
    assert!(why("begin\n\ndeliver Propsal\n").contains("is no kind of letter; there are Forward, Proposal"));
    assert!(why("begin\n\nstatus r4\n").contains("there is no r4"));
    assert!(why("service faults=9\n").contains("must be 0 to"));
    assert!(why("service r1=be-nice\n").contains("there are stay-silent"));
    assert!(why("begin\n\nservice\n").contains("is the first step"));
}

#[test]
fn only_a_replica_that_follows_the_script_lies() {
    assert!(why("begin\n\nalter Forward from r1\n").contains("r1 does not lie"));
    assert!(why("begin\n\nforge Pruned s9 from r3 to r2\n").contains("r3 does not lie"));
}
