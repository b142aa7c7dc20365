use super::*;

fn fact(name: &str, model: FaultModel, per_fault: u16, faults_max: u16) -> ProtocolFact {
    ProtocolFact {
        name: name.to_owned(),
        model,
        per_fault,
        faults_max,
        strength: format!("strength of {name}"),
    }
}

fn facts() -> Facts {
    let solo = ProtocolFact {
        strength: "one process, no waiting for others; for development and as the floor for latency"
            .to_owned(),
        ..fact("solo", FaultModel::Byzantine, 0, 0)
    };
    let pbft = ProtocolFact {
        strength:
            "survives machines that lie, without trusted hardware; the most studied protocol of its kind"
                .to_owned(),
        ..fact("pbft", FaultModel::Byzantine, 3, 5)
    };
    Facts { protocols: vec![solo, pbft], cores: 2 }
}

fn wish(against: &str, faults: u16) -> Wish {
    let text = format!(
        "name = \"kv\"\n[application]\nbuiltin = \"kv\"\n[wish]\nfaults = {faults}\nagainst = \"{against}\"\n\
         durability = \"memory\""
    );
    Wish::parse(&text, "kv.toml", &["kv"]).expect("it is right")
}

/// The plan of a service that the facts of these tests can serve.
pub(crate) fn blueprint(against: &str, faults: u16) -> Blueprint {
    plan(&wish(against, faults), &facts()).expect("it can be served")
}

#[test]
fn the_example_is_planned_as_recorded() {
    let example = include_str!("../../../../examples/kv.toml");
    let wish = Wish::parse(example, "kv.toml", &["kv"]).expect("it is right");
    let blueprint = plan(&wish, &facts()).expect("it can be served");
    assert_eq!(blueprint.render() + "\n", include_str!("kv.txt"));
}

#[test]
fn a_wish_to_survive_nothing_is_planned_as_recorded() {
    assert_eq!(blueprint("byzantine", 0).render() + "\n", include_str!("solo.txt"));
    assert_eq!(blueprint("crash", 0).protocol, "solo");
}

#[test]
fn replicas_quorum_and_threshold_follow_from_the_faults() {
    for (faults, replicas, quorum) in [(0, 1, 1), (1, 4, 3), (2, 7, 5), (3, 10, 7), (4, 13, 9), (5, 16, 11)] {
        let blueprint = blueprint("byzantine", faults);
        assert_eq!((blueprint.replicas, blueprint.quorum), (replicas, quorum));
        assert_eq!(blueprint.threshold, faults + 1);
    }
    let mut facts = facts();
    facts.protocols.push(fact("paxos", FaultModel::Crash, 2, 3));
    let crash = plan(&wish("crash", 2), &facts).expect("there is paxos");
    assert_eq!((crash.protocol.as_str(), crash.replicas, crash.quorum, crash.threshold), ("paxos", 5, 3, 3));
}

#[test]
fn every_plan_can_be_kept_read_back_and_shown() {
    for faults in 0..=5 {
        let blueprint = blueprint("byzantine", faults);
        let json = serde_json::to_string(&blueprint).expect("is JSON");
        assert_eq!(serde_json::from_str::<Blueprint>(&json).expect("the same"), blueprint);
        assert!(blueprint.render().lines().all(|line| line.chars().count() <= crate::words::WIDTH));
    }
}

#[test]
fn fewer_replicas_win_and_then_the_order_of_the_list() {
    let protocols = vec![
        fact("many", FaultModel::Byzantine, 5, 5),
        fact("first", FaultModel::Byzantine, 3, 5),
        fact("second", FaultModel::Byzantine, 3, 5),
    ];
    let blueprint = plan(&wish("byzantine", 1), &Facts { protocols, cores: 64 }).expect("three serve it");
    assert_eq!(blueprint.protocol, "first");
    assert!(!blueprint.warnings.iter().any(|warning| warning.contains("cores")));
}

#[test]
fn what_cannot_be_served_is_refused_with_what_could() {
    let refused = |against, faults, protocols| {
        plan(&wish(against, faults), &Facts { protocols, cores: 1 })
            .expect_err("nothing serves it")
            .to_string()
    };
    assert_eq!(
        refused("crash", 1, facts().protocols),
        "there is no protocol yet for faults = 1 against = \"crash\"; against = \"byzantine\" survives crashes as \
         well as lies: pbft serves it with 4 replicas"
    );
    assert_eq!(
        refused("byzantine", 1, vec![fact("paxos", FaultModel::Crash, 2, 5)]),
        "there is no protocol yet for faults = 1 against = \"byzantine\"; against = \"crash\" survives machines \
         that stop, but none that lie: paxos serves it with 3 replicas"
    );
    assert_eq!(
        refused("byzantine", 1, vec![fact("solo", FaultModel::Byzantine, 0, 0)]),
        "there is no protocol yet for faults = 1 against = \"byzantine\"; faults = 0 runs one unprotected copy"
    );
    assert_eq!(
        refused("byzantine", 5, vec![fact("pbft", FaultModel::Byzantine, 3, 2)]),
        "against = \"byzantine\" can be served for at most faults = 2, by pbft, not for 5"
    );
}

#[test]
fn a_refusal_points_at_what_cannot_be_served() {
    let text = include_str!("../../../../examples/kv.toml").replace("byzantine", "crash");
    let wish = Wish::parse(&text, "kv.toml", &["kv"]).expect("it is right");
    let refusal = plan(&wish, &facts()).expect_err("nothing serves it");
    let shown = refusal.problem(&wish, "kv.toml", &text).to_string();
    assert!(shown.contains("--> kv.toml:11:11"), "{shown}");
    assert!(
        shown.contains("^^^^^^^\n") && shown.contains("= help: against = \"byzantine\" survives"),
        "{shown}"
    );
    let many = Wish::parse(&text.replace("crash", "byzantine").replace("= 1 ", "= 5 "), "kv.toml", &["kv"]);
    let (many, facts) = (
        many.expect("it is right"),
        Facts { protocols: vec![fact("pbft", FaultModel::Byzantine, 3, 2)], cores: 1 },
    );
    let shown = plan(&many, &facts).expect_err("too many").problem(&many, "kv.toml", &text).to_string();
    assert!(shown.contains("--> kv.toml:10:10") && shown.contains("say faults = 2 or less"), "{shown}");
}

/// The facts of these tests and the family of 2f+1.
fn all_protocols() -> Facts {
    let mut facts = facts();
    facts.protocols.extend([
        fact("paxos", FaultModel::Crash, 2, 5),
        fact("minbft", FaultModel::Hybrid, 2, 5),
        fact("ebawa", FaultModel::Hybrid, 2, 2),
    ]);
    facts
}

fn asked(against: &str, faults: u16, hardware: &str, protocol: &str) -> Result<Blueprint, String> {
    let text = format!(
        "name = \"kv\"\n[application]\nbuiltin = \"kv\"\n[wish]\nfaults = {faults}\nagainst = \"{against}\"\n\
         durability = \"memory\"\n{hardware}\n{protocol}"
    );
    let wish = Wish::parse(&text, "kv.toml", &["kv"]).map_err(|wrong| wrong.to_string())?;
    plan(&wish, &all_protocols()).map_err(|refusal| refusal.problem(&wish, "kv.toml", &text).to_string())
}

#[test]
fn a_trusted_core_serves_liars_with_fewer_replicas_and_its_limits_are_told() {
    let plain = asked("byzantine", 1, "", "").expect("there is pbft");
    assert_eq!((plain.protocol.as_str(), plain.replicas), ("pbft", 4));
    let software = "trusted_hardware = \"software\"";
    let cores = asked("byzantine", 1, software, "").expect("there is minbft");
    assert_eq!((cores.protocol.as_str(), cores.replicas, cores.quorum), ("minbft", 3, 2));
    assert!(cores.warnings.iter().any(|text| text.contains("do not stop whoever becomes root on a machine")));
    assert!(cores.choices.iter().any(|choice| choice.what == "trusted core"));
    assert!(plain.choices.iter().all(|choice| choice.what != "trusted core"));
    assert_eq!((cores.trusted_hardware, plain.trusted_hardware), (Some(TrustedHardware::Software), None));
    let tpm = asked("byzantine", 1, "trusted_hardware = \"tpm\"", "").expect("there is minbft");
    assert_eq!((tpm.trusted_hardware, tpm.protocol.as_str()), (Some(TrustedHardware::Tpm), "minbft"));
    assert!(tpm.warnings.iter().any(|text| text.contains("takes no part in votes")));
    let wrong = asked("byzantine", 1, "trusted_hardware = \"sgx\"", "").expect_err("not known");
    assert!(wrong.contains("\"software\" or \"tpm\""), "{wrong}");
}

#[test]
fn state_outlives_a_stop_of_all_cores_unless_somebody_wants_it_in_memory() {
    let text = "name = \"kv\"\napplication.builtin = \"kv\"\n[wish]\nfaults = 1\nagainst = \"byzantine\"\n\
                trusted_hardware = \"software\"\n";
    let wish = Wish::parse(text, "kv.toml", &["kv"]).expect("it is right");
    let blueprint = plan(&wish, &all_protocols()).expect("there is minbft");
    assert_eq!((blueprint.protocol.as_str(), blueprint.durability), ("minbft", Durability::Disk));
    let durability = blueprint.choices.iter().find(|choice| choice.what == "durability").expect("it is told");
    assert!(durability.because.contains("once each has been asked where it is"), "{}", durability.because);
}

#[test]
fn trusted_hardware_that_nothing_would_be_made_of_is_refused_at_its_place() {
    let tpm = "trusted_hardware = \"tpm\"";
    assert_eq!(
        asked("crash", 1, tpm, "").expect_err("paxos has no use for it"),
        "\
error: `trusted_hardware` would not be used: paxos asks no trusted core for anything
 --> kv.toml:8:1
  |
8 | trusted_hardware = \"tpm\"
  | ^^^^^^^^^^^^^^^^
  = help: machines that only stop need no core; leave it out, or say against = \"byzantine\" to
          survive lies with it"
    );
    for (against, name) in [("byzantine", "pbft"), ("crash", "pbft"), ("crash", "paxos")] {
        let named =
            asked(against, 1, tpm, &format!("[protocol]\nname = \"{name}\"")).expect_err("no use for it");
        let help = "leave it out, or name a protocol that counts on cores: \"minbft\" or \"ebawa\"";
        assert!(named.contains(name) && named.contains(help), "{named}");
    }
    // More faults than the protocols with cores serve: the one that is left has no use for them either.
    let text = format!(
        "name = \"kv\"\napplication.builtin = \"kv\"\n[wish]\nfaults = 3\nagainst = \"byzantine\"\n\
                        durability = \"memory\"\n{tpm}"
    );
    let many = Wish::parse(&text, "kv.toml", &["kv"]).expect("it is right");
    let mut few = facts();
    few.protocols.push(fact("ebawa", FaultModel::Hybrid, 2, 2));
    let left = plan(&many, &few).expect_err("only pbft is left").to_string();
    assert!(left.contains("pbft asks no trusted core for anything; leave it out"), "{left}");
    let used = asked("crash", 1, tpm, "[protocol]\nname = \"ebawa\"").expect("cores are no harm");
    assert_eq!((used.trusted_hardware, used.protocol.as_str()), (Some(TrustedHardware::Tpm), "ebawa"));
    let tried = asked("byzantine", 0, tpm, "").expect("nothing is survived, which the plan says");
    assert_eq!((tried.trusted_hardware, tried.protocol.as_str()), (None, "solo"));
    assert!(tried.warnings.iter().any(|text| text.starts_with("trusted_hardware is not used")));
}

#[test]
fn a_protocol_that_is_named_is_taken_or_it_is_said_why_not() {
    let software = "trusted_hardware = \"software\"";
    let named = |against, faults, hardware, name: &str| {
        asked(against, faults, hardware, &format!("[protocol]\nname = \"{name}\""))
    };
    let ebawa = named("byzantine", 1, software, "ebawa").expect("it serves");
    assert_eq!((ebawa.protocol.as_str(), ebawa.replicas), ("ebawa", 3));
    assert_eq!(named("crash", 1, "", "pbft").expect("it survives more").replicas, 4);
    let wrong = |against, faults, hardware, name| {
        named(against, faults, hardware, name).expect_err("it does not fit")
    };
    assert!(wrong("byzantine", 1, "", "paxos").contains("say against = \"crash\""));
    assert!(wrong("byzantine", 1, "", "ebawa").contains("say trusted_hardware = \"software\""));
    assert!(wrong("byzantine", 3, software, "ebawa").contains("at most faults = 2"));
    assert!(
        wrong("byzantine", 1, "", "solo")
            .contains("it is one replica, which survives nothing: say faults = 0")
    );
    for name in ["raft", "none", ""] {
        let refused = wrong("byzantine", 1, "", name);
        assert!(
            refused.contains("there are solo, pbft, paxos, minbft, ebawa; without [protocol] one"),
            "{refused}"
        );
    }
    assert!(wrong("byzantine", 1, software, "ebwaa").contains("did you mean \"ebawa\"?"));
}
