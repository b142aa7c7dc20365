use super::*;

/// Replies to `commands`, one after the other, to a store with small limits.
fn replies(commands: &[&str]) -> Vec<String> {
    let limits = Limits {
        key_bytes_max: 8,
        value_bytes_max: 16,
        store_bytes_max: 64,
        scan_lines_max: 100,
        scan_bytes_max: 24,
    };
    crate::builtin::tests::replies(Kv::new(limits), commands)
}

#[test]
fn values_are_put_read_replaced_and_deleted() {
    let commands = ["get k", "put k v", "get k", "put k w", "get k", "size", "delete k", "delete k", "size"];
    assert_eq!(replies(&commands), ["(none)", "ok", "v", "ok", "w", "1", "ok", "(none)", "0"]);
}

#[test]
fn a_value_is_the_rest_of_the_line_as_it_is() {
    let commands = ["put k  a \"b\"  ", "get k", "put k", "get k", "put \"a b\" c", "get \"a b\""];
    assert_eq!(replies(&commands), ["ok", " a \"b\"  ", "ok", "", "ok", "c"]);
}

#[test]
fn cas_stores_only_what_was_expected_to_change() {
    let commands = [
        "cas k x y",
        "cas k (none) y z",
        "cas k (none) n",
        "cas k y n",
        "cas k \"y z\" n",
        "get k",
        "put k (none)",
        "cas k (none) n",
        "cas k \"(none)\" n",
    ];
    let expected = [
        "differs (none)",
        "ok",
        "differs \"y z\"",
        "differs \"y z\"",
        "ok",
        "n",
        "ok",
        "differs \"(none)\"",
        "ok",
    ];
    assert_eq!(replies(&commands), expected);
}

#[test]
fn a_scan_gives_lines_in_order_up_to_its_limits() {
    let commands = [
        "put b 2",
        "put a 1 1",
        "put c",
        "scan \"\" 9",
        "scan b 1",
        "scan d 9",
        "put a 123456789012345",
        "put b 123456789",
        "scan \"\" 9",
    ];
    let all = replies(&commands);
    assert_eq!(all[3..6], ["a \"1 1\"\nb 2\nc \"\"\n", "b 2\n", ""]);
    assert_eq!(all[8], "a 123456789012345\nb 123456789\n");
}

#[test]
fn what_is_wrong_is_answered_with_what_would_be_right() {
    let commands = [
        "",
        "frob",
        "get",
        "get a b",
        "cas k v",
        "scan a",
        "scan a x",
        "scan a 101",
        "get 123456789",
        "put k 12345678901234567",
        "get \"k",
    ];
    let expected = [
        "error: the command is empty; try: help",
        "error: there is no command \"frob\"; there are get, put, delete, cas, scan, size and help",
        "error: write: get KEY",
        "error: write: get KEY",
        "error: write: cas KEY EXPECTED NEW",
        "error: write: scan START COUNT",
        "error: COUNT is a number from 0 to 100",
        "error: COUNT is a number from 0 to 100",
        "error: the key has 9 bytes; at most 8 are allowed",
        "error: the value has 17 bytes; at most 16 are allowed",
        "error: a word that begins with \" ends with \"",
    ];
    assert_eq!(replies(&commands), expected);
}

#[test]
fn a_full_store_refuses_growth_and_takes_it_again_after_a_delete() {
    let commands = [
        "put a 123456789012345",
        "put b 123456789012345",
        "put c 123456789012345",
        "put d 123456789012345",
        "put e x",
        "put a x",
        "put e x",
    ];
    let full = "error: the store holds 64 bytes at most; delete something first";
    assert_eq!(replies(&commands), ["ok", "ok", "ok", "ok", full, "ok", "ok"]);
}

#[test]
fn a_store_with_more_than_its_limits_allow_is_not_restored() {
    let limits = Limits::default();
    let (full, _) = crate::builtin::tests::after(Kv::new(limits), &["put a 12345", "put b 1"]);
    let chunks = full.cut().chunks().unwrap();
    let restore = |limits| Kv::new(limits).restore_chunks(&chunks);
    assert_eq!(restore(limits), Ok(()));
    for small in [
        Limits { store_bytes_max: 7, ..limits },
        Limits { key_bytes_max: 0, ..limits },
        Limits { value_bytes_max: 4, ..limits },
    ] {
        assert!(restore(small).is_err(), "{small:?}");
    }
}

#[test]
fn a_restored_store_has_as_much_room_as_the_one_that_wrote_the_snapshot() {
    let limits = Limits { store_bytes_max: 3 * 4096, ..Limits::default() };
    let full = Kv::new(limits);
    let puts: Vec<String> =
        (0..400).map(|number| format!("put k{number} 0123456789012345678901234567890")).collect();
    let puts: Vec<&str> = puts.iter().map(String::as_str).collect();
    let (full, replies) = crate::builtin::tests::after(full, &puts);
    assert!(replies.iter().any(|reply| reply.starts_with("error: the store holds")), "{replies:?}");
    let copy = Kv::new(limits);
    let chunks = full.cut().chunks().unwrap();
    copy.restore_chunks(&chunks).unwrap();
    assert_eq!(copy.cut().chunks().unwrap(), chunks);
    let free = |kv: &Kv| kv.free.at_rest(|free| *free).unwrap();
    assert_eq!(free(&copy), free(&full));
}
