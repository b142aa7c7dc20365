use super::reader::Section;
use super::*;
use proptest::prelude::*;

const GOOD: &str = include_str!("../../../../examples/kv.toml");

fn parse(text: &str) -> Result<Wish, WishError> {
    Wish::parse(text, "kv.toml", &["kv", "counter"])
}

/// What the user sees of a wrong description.
fn complaint(text: &str) -> String {
    parse(text).expect_err("it is wrong").to_string()
}

/// What the user sees of a description of five lines, which are right but for the replaced one.
fn complaint_of(right: &str, wrong: &str) -> String {
    let good = "name = \"kv\"\napplication.builtin = \"kv\"\n[wish]\nfaults = 1\nagainst = \"byzantine\"\n\
                durability = \"memory\"\n";
    assert!(good.contains(right), "{right} is in the description");
    complaint(&good.replace(right, wrong))
}

#[test]
fn the_example_is_a_wish() {
    let wish = parse(GOOD).expect("it is right");
    assert_eq!(wish.name.as_str(), "kv");
    assert_eq!(wish.application, Application::Builtin("kv".to_owned()));
    assert_eq!((wish.faults, wish.against), (1, FaultModel::Byzantine));
    assert_eq!(wish.durability, Durability::Disk);

    let program = parse(&GOOD.replace("builtin = \"kv\"", "program = \"bin/kv\"")).expect("it is right");
    assert_eq!(program.application, Application::Program("bin/kv".to_owned()));
}

#[test]
fn text_that_is_not_toml_is_shown_at_the_place() {
    assert_eq!(
        complaint_of("faults = 1", "faults = one"),
        "\
error: this is not TOML: string values must be quoted, expected literal string
 --> kv.toml:4:10
  |
4 | faults = one
  |          ^^^
  = help: a line is `key = value`, `[section]` or `# comment`; texts stand in double quotes"
    );
    assert_eq!(
        complaint_of("against", "faults"),
        "\
error: this is not TOML: duplicate key
 --> kv.toml:5:1
  |
5 | faults = \"byzantine\"
  | ^^^^^^
  = help: say it once"
    );
}

#[test]
fn all_that_is_missing_is_named() {
    assert_eq!(
        complaint("name = \"kv\"\n[application]\n"),
        "\
error: [application] names no application
 --> kv.toml:2:2
  |
2 | [application]
  |  ^^^^^^^^^^^
  = help: add builtin = \"kv\" for the example that comes along, or program = \"path to your binary\"

error: the section [wish] is missing
 --> kv.toml:2:14
  |
2 | [application]
  |              ^
  = help: add a line `[wish]`, and below it for example: faults = 1"
    );
    assert_eq!(
        complaint("[application]\nbuiltin = \"kv\"\n[wish]\n"),
        "\
error: the description does not say `name`
 --> kv.toml:1:1
  |
1 | [application]
  | ^
  = help: for example: name = \"kv\"

error: [wish] does not say `faults`
 --> kv.toml:3:2
  |
3 | [wish]
  |  ^^^^
  = help: for example: faults = 1

error: [wish] does not say `against`
 --> kv.toml:3:2
  |
3 | [wish]
  |  ^^^^
  = help: for example: against = \"byzantine\""
    );
}

#[test]
fn an_unknown_key_is_named_once_with_what_was_meant() {
    assert_eq!(
        complaint_of("faults", "fautls"),
        "\
error: [wish] has no `fautls`
 --> kv.toml:4:1
  |
4 | fautls = 1
  | ^^^^^^
  = help: did you mean `faults`?"
    );
    assert_eq!(
        complaint_of("faults = 1", "faults = 1\nreplicas = 4"),
        "\
error: [wish] has no `replicas`
 --> kv.toml:5:1
  |
5 | replicas = 4
  | ^^^^^^^^
  = help: [wish] has `faults`, `against`, `durability`, `checkpoints` and `trusted_hardware`"
    );
    assert_eq!(
        complaint_of("[wish]\nfaults = 1", "faults = 1\n[wish]"),
        "\
error: the description has no `faults`
 --> kv.toml:3:1
  |
3 | faults = 1
  | ^^^^^^
  = help: `faults` stands below [wish]"
    );
    assert_eq!(
        complaint_of("[wish]", "[wisch]"),
        "\
error: the description has no `wisch`
 --> kv.toml:3:2
  |
3 | [wisch]
  |  ^^^^^
  = help: did you mean `wish`?"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_shown_with_an_example() {
    assert_eq!(
        complaint_of("faults = 1", "faults = \"one\""),
        "\
error: `faults` must be a whole number, not a text
 --> kv.toml:4:10
  |
4 | faults = \"one\"
  |          ^^^^^
  = help: for example: faults = 1"
    );
    for (wrong, given) in [("1.5", "a number with a point"), ("true", "true or false"), ("[1]", "a list")] {
        let text = complaint_of("faults = 1", &format!("faults = {wrong}"));
        assert!(
            text.starts_with(&format!("error: `faults` must be a whole number, not {given}\n")),
            "{text}"
        );
    }
    assert_eq!(
        complaint_of("application.builtin = \"kv\"", "application = \"kv\""),
        "\
error: `application` must be a section
 --> kv.toml:2:1
  |
2 | application = \"kv\"
  | ^^^^^^^^^^^
  = help: write a line `[application]`, and below it for example: builtin = \"kv\""
    );
}

#[test]
fn a_value_of_any_wrong_type_is_refused_wherever_a_description_takes_one() {
    let mut tried = 0;
    for section in Section::ALL {
        for key in section.keys() {
            for wrong in ["true", "1.5", "[1]", "1979-05-27"] {
                let begun = if section == Section::Root { "" } else { section.title() };
                // Steps are looked at only where there are rounds.
                let beside = if *key == "steps" { "primaries = 4\n" } else { "" };
                let text = complaint(&format!("{begun}\n{beside}{key} = {wrong}\n"));
                let told = text.contains(&format!("error: `{key}` must be ")) && text.contains("example: ");
                assert!(told, "{begun} {key} = {wrong}: {text}");
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "only {tried}");
}

#[test]
fn a_section_written_as_a_value_is_shown_as_a_section() {
    for (right, wrong) in [
        ("faults = 1", "faults = 1\nprotocol = \"minbft\""),
        ("name = \"kv\"\napp", "protocol = \"minbft\"\nname = \"kv\"\napp"),
    ] {
        let text = complaint_of(right, wrong);
        assert!(
            text.contains("= help: write a line `[protocol]`, and below it: name = \"minbft\""),
            "{text}"
        );
    }
    let text = complaint_of("faults = 1", "faults = 1\nscheduler = \"mat\"");
    assert!(
        text.contains("write a line `[scheduler]`, and below it for example: preset = \"mat\""),
        "{text}"
    );
    let text = complaint(&format!("{GOOD}\n[protocol]\n"));
    assert!(
        text.contains("[protocol] does not say `name`") && text.contains("example: name = \"ebawa\""),
        "{text}"
    );
    let text = complaint_of("faults = 1", "faults = 1\ntrusted_hardware = \"none\"");
    assert!(text.ends_with("= help: to do without, leave `trusted_hardware` out"), "{text}");
}

#[test]
fn an_impossible_number_of_faults_is_refused_with_the_reason() {
    let reason =
        "  = help: say 0 to 5; every replica talks to every other, and 6 faults take 13 to 19 replicas, which
          would be slower than it is worth";
    let expected = format!(
        "\
error: `faults` cannot be more than 5
 --> kv.toml:4:10
  |
4 | faults = 6
  |          ^
{reason}"
    );
    assert_eq!(complaint_of("faults = 1", "faults = 6"), expected);
    for (faults, message) in [
        ("-1", "`faults` counts machines and cannot be negative"),
        ("-99999999999999999999999999999999999999999999", "`faults` counts machines and cannot be negative"),
        ("99999999999999999999999999999999999999999999", "`faults` cannot be more than 5"),
        ("65536", "`faults` cannot be more than 5"),
    ] {
        let text = complaint_of("faults = 1", &format!("faults = {faults}"));
        assert!(text.starts_with(&format!("error: {message}\n")) && text.ends_with(reason), "{text}");
    }
}

#[test]
fn an_unknown_choice_is_refused_with_the_nearest() {
    assert_eq!(
        complaint_of("\"byzantine\"", "\"byzantin\""),
        "\
error: `against` cannot be \"byzantin\"
 --> kv.toml:5:11
  |
5 | against = \"byzantin\"
  |           ^^^^^^^^^^
  = help: did you mean \"byzantine\"?"
    );
    let text = complaint_of("\"byzantine\"", "\"fire\"");
    assert!(text.ends_with("= help: against is \"byzantine\" or \"crash\""), "{text}");
}

#[test]
fn how_states_are_taken_may_be_said_or_left_open() {
    let said = |line: &str| {
        let text = format!(
            "name = \"kv\"\napplication.builtin = \"kv\"\n[wish]\nfaults = 1\nagainst = \"crash\"\n{line}"
        );
        parse(&text).map(|wish| wish.checkpoints)
    };
    assert_eq!(said("").expect("it is right"), None);
    assert_eq!(
        said("checkpoints = \"quiescent\"\n").expect("it is right"),
        Some(CheckpointStrategy::Quiescent)
    );
    assert_eq!(said("checkpoints = \"rolling\"\n").expect("it is right"), Some(CheckpointStrategy::Rolling));
    assert!(said("checkpoints = \"daily\"\n").is_err());
}

#[test]
fn what_is_not_said_of_durability_is_the_safe_choice() {
    let said = |line: &str| {
        let text = format!(
            "name = \"kv\"\n[application]\nbuiltin = \"kv\"\n[wish]\nfaults = 1\nagainst = \"crash\"\n{line}"
        );
        parse(&text).expect("it is right").durability
    };
    assert_eq!([said(""), said("durability = \"disk\"\n")], [Durability::Disk; 2]);
    assert_eq!(said("durability = \"memory\"\n"), Durability::Memory);
    let text = complaint_of("\"memory\"", "\"tape\"");
    assert!(text.ends_with("= help: durability is \"disk\" or \"memory\""), "{text}");
}

#[test]
fn a_bad_name_is_refused_with_one_that_would_do() {
    assert_eq!(
        complaint_of("\"kv\"\napp", "\"My Störe\"\napp"),
        "\
error: \"My Störe\" cannot be the name of a service
 --> kv.toml:1:8
  |
1 | name = \"My Störe\"
  |        ^^^^^^^^^^
  = help: a service's name has 1 to 40 characters, only a-z, 0-9 and `-`, and begins with a letter;
          for example \"my-st-re\""
    );
    assert!(ServiceName::new(&"a".repeat(40)).is_ok());
    for bad in ["", "9lives", "-a", "Kv", "a_b", "../a", &"a".repeat(41)] {
        assert_eq!(ServiceName::new(bad), Err(BadName), "{bad}");
    }
}

#[test]
fn one_application_is_named_and_it_exists() {
    assert_eq!(
        complaint_of(".builtin = \"kv\"", ".builtin = \"countr\""),
        "\
error: there is no builtin application \"countr\"
 --> kv.toml:2:23
  |
2 | application.builtin = \"countr\"
  |                       ^^^^^^^^
  = help: did you mean \"counter\"?"
    );
    let text = complaint_of(".builtin = \"kv\"", ".builtin = \"redis\"");
    let help = "= help: there is \"kv\" or \"counter\"; your own is given as program = \"path\"";
    assert!(text.ends_with(help), "{text}");
    assert_eq!(
        complaint_of(".builtin = \"kv\"", " = { builtin = \"kv\", program = \"a\" }"),
        "\
error: both `builtin` and `program` are given, but one application runs in a service
 --> kv.toml:2:33
  |
2 | application = { builtin = \"kv\", program = \"a\" }
  |                                 ^^^^^^^
  = help: leave one of them out"
    );
    assert_eq!(
        complaint_of("builtin = \"kv\"", "program = \"a\\u001b[2J\""),
        "\
error: this cannot be the path of a program
 --> kv.toml:2:23
  |
2 | application.program = \"a\\u001b[2J\"
  |                       ^^^^^^^^^^^^
  = help: a path has 1 to 4096 bytes and no control characters"
    );
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let text = complaint(&"#".repeat(WISH_BYTES_MAX + 1));
    let message =
        "error: 65537 bytes are too many; a service description has at most 65536\n --> kv.toml:1:1";
    assert!(text.starts_with(message), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_text_is_read_or_refused_and_what_is_shown_is_harmless(text in "[a-c\"'= \\[\\]{}.#\n\t\r0-9\u{0}\u{1b}ä]{0,80}") {
        let shown = complaint(&text);
        let harmless = !shown.contains('\u{1b}') && shown.contains("error: ");
        prop_assert!(harmless);
    }

    #[test]
    fn any_damage_to_the_example_is_read_or_refused(at in 0..GOOD.len(), length in 0usize..40, by in "\\PC{0,3}") {
        prop_assume!(GOOD.is_char_boundary(at) && GOOD.is_char_boundary((at + length).min(GOOD.len())));
        let mut text = GOOD.to_owned();
        text.replace_range(at..(at + length).min(GOOD.len()), &by);
        if let Err(error) = parse(&text) {
            prop_assert!(error.to_string().contains(" --> kv.toml:"));
        }
    }
}

#[test]
fn a_scheduler_is_a_preset_or_numbers_and_may_be_left_out() {
    let read = |section: &str| Wish::parse(&format!("{GOOD}{section}"), "kv.toml", &["kv"]);
    assert_eq!(read("").expect("right").scheduler, None);
    for (section, title) in [
        ("[scheduler]\npreset = \"sequential\"", "sequential"),
        ("[scheduler]\npreset = \"pds2\"\nprimaries = 6", "pds2 6"),
        ("[scheduler]\nprimaries = 4", "rounds 4 x 1"),
        ("[scheduler]\nprimaries = 4\nsteps = 2\norder = \"blocks\"", "blocks 4 x 2"),
        ("[scheduler]\nprimaries = 3\norder = \"clocks\"", "kendo 3"),
    ] {
        let scheduler = read(section).expect(section).scheduler.expect("stated");
        assert_eq!(scheduler.title(), title);
    }
    for (section, complaint) in [
        ("[scheduler]", "[scheduler] names no scheduler"),
        ("[scheduler]\npreset = \"mut\"", "did you mean \"mat\"?"),
        (
            "[scheduler]\npreset = \"mat\"\nprimaries = 4",
            "the scheduler \"mat\" has no choice of `primaries`",
        ),
        ("[scheduler]\npreset = \"mat\"\norder = \"blocks\"", "both `preset` and `order` are given"),
        ("[scheduler]\npreset = \"pds1\"", "does not say `primaries`"),
        ("[scheduler]\nprimaries = 0", "say 1 to 256"),
        ("[scheduler]\nprimaries = 4\nsteps = 65", "say 1 to 64"),
        ("[scheduler]\nprimarys = 4", "did you mean `primaries`?"),
        ("scheduler = 4", "`scheduler` must be a section"),
    ] {
        let text =
            if section.starts_with('[') { format!("{GOOD}{section}") } else { format!("{section}\n{GOOD}") };
        let error = Wish::parse(&text, "kv.toml", &["kv"]).expect_err(section).to_string();
        assert!(error.contains(complaint), "{section}: {error}");
    }
}
