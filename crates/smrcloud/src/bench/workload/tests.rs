use super::*;

fn complaint(text: &str) -> String {
    Workload::parse(text, "w").expect_err("it is wrong").to_string()
}

#[test]
fn the_standard_workloads_are_read() {
    let read = |text| Workload::parse(text, "w").expect("it is right");
    let a = read(include_str!("../../../../../examples/ycsb/workload_a"));
    let b = read(include_str!("../../../../../examples/ycsb/workload_b"));
    let c = read(include_str!("../../../../../examples/ycsb/workload_c"));
    let d = read(include_str!("../../../../../examples/ycsb/workload_d"));
    let e = read(include_str!("../../../../../examples/ycsb/workload_e"));
    let f = read(include_str!("../../../../../examples/ycsb/workload_f"));
    let shares = |workload: &Workload| {
        let mix = workload.mix;
        format!("{} {} {} {} {}", mix.read, mix.update, mix.insert, mix.scan, mix.read_modify_write)
    };
    assert_eq!(shares(&a), "0.5 0.5 0 0 0");
    assert_eq!(shares(&b), "0.95 0.05 0 0 0");
    assert_eq!(shares(&c), "1 0 0 0 0");
    assert_eq!(shares(&d), "0.95 0 0.05 0 0");
    assert_eq!(shares(&e), "0 0 0.05 0.95 0");
    assert_eq!(shares(&f), "0.5 0 0 0 0.5");
    assert_eq!((d.distribution, e.scan_records.clone()), (Distribution::Latest, 1..=100));
    for workload in [a, b, c, d, e, f] {
        assert_eq!((workload.records, workload.fields, workload.field_bytes), (1000, 10, 100));
        assert!(workload.ignored.is_empty());
    }
}

#[test]
fn every_way_to_write_a_property_is_understood_and_what_goes_unsaid_is_ycsbs() {
    let text = "# comment\n! comment\n\n  recordcount = 7\noperationcount:8\nfieldlength 9\r\n\
                workload=site.ycsb.workloads.CoreWorkload\nredis.host=localhost\n";
    let workload = Workload::parse(text, "w").expect("it is right");
    assert_eq!((workload.records, workload.operations, workload.field_bytes), (7, 8, 9));
    assert_eq!((workload.mix.read, workload.mix.update), (0.95, 0.05));
    assert_eq!((workload.distribution, workload.keys), (Distribution::Uniform, KeyOrder::Hashed));
    assert_eq!((workload.scan_records, workload.scan_lengths), (1..=1000, ScanLengths::Uniform));
    assert_eq!(workload.ignored, ["workload", "redis.host"]);
}

#[test]
fn each_mistake_is_shown_on_its_line() {
    assert_eq!(
        complaint("recordcount=many\noperationcont=5\nreadproportion=0.5\nrequestdistribution=zipf\n"),
        "\
error: `recordcount` cannot be \"many\"
 --> w:1:13
  |
1 | recordcount=many
  |             ^^^^
  = help: a whole number from 1 to 100000000

error: YCSB knows no \"operationcont\"
 --> w:2:1
  |
2 | operationcont=5
  | ^^^^^^^^^^^^^
  = help: did you mean `operationcount`?

error: the proportions add up to 0.55
 --> w:3:16
  |
3 | readproportion=0.5
  |                ^^^
  = help: they must add up to 1; what is not said is readproportion=0.95 and updateproportion=0.05,
          as in YCSB, and 0 for the others

error: `requestdistribution` cannot be \"zipf\"
 --> w:4:21
  |
4 | requestdistribution=zipf
  |                     ^^^^
  = help: did you mean zipfian?"
    );
}

#[test]
fn senseless_values_are_refused() {
    let good = "recordcount=10\noperationcount=10\n";
    for (line, message) in [
        ("readproportion=1.5", "`readproportion` cannot be \"1.5\""),
        ("readproportion=-0.1", "`readproportion` cannot be \"-0.1\""),
        ("readproportion=NaN", "`readproportion` cannot be \"NaN\""),
        ("readproportion=inf", "`readproportion` cannot be \"inf\""),
        ("fieldcount=0", "`fieldcount` cannot be \"0\""),
        ("fieldlength=99999999999999999999", "`fieldlength` cannot be \"99999999999999999999\""),
        ("fieldcount=11\nfieldlength=100000", "a record of 1100000 bytes is too large"),
        ("recordcount=1", "`recordcount` is said twice"),
        ("maxscanlength=5\nminscanlength=6", "`minscanlength` cannot be \"6\""),
        ("fieldcount", "a line is `key=value`"),
        ("=5", "a line is `key=value`"),
        ("table=a\\", "a workload needs no `\\`"),
        ("speed=11", "YCSB knows no \"speed\""),
        ("fieldlengthdistribution=zipfian", "`fieldlengthdistribution` cannot be \"zipfian\""),
    ] {
        let text = complaint(&format!("{good}{line}\n"));
        assert!(text.starts_with(&format!("error: {message}\n")), "{line}: {text}");
        assert_eq!(text.matches("error: ").count(), 1, "{line}: {text}");
    }
    assert!(complaint("").contains("`recordcount` is missing"));
    assert!(complaint(&"#".repeat(WORKLOAD_BYTES_MAX + 1)).contains("too many"));
}
