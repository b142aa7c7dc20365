use super::*;

fn workload(rest: &str) -> Workload {
    let text = format!("recordcount=1000\noperationcount=1000\n{rest}");
    Workload::parse(&text, "w").expect("it is right")
}

fn generator(rest: &str) -> Generator {
    Generator::new(workload(rest), 7)
}

/// How often each of 1000 records is met in 100,000 reads.
fn frequencies(distribution: &str) -> Vec<u32> {
    let rest = format!("readproportion=1\nupdateproportion=0\nrequestdistribution={distribution}");
    let mut generator = generator(&rest);
    let mut frequencies = vec![0; 1000];
    for _ in 0..100_000 {
        let Operation::Read { record } = generator.next(1000) else { panic!("only reads were asked for") };
        frequencies[usize::try_from(record).expect("small")] += 1;
    }
    frequencies
}

#[test]
fn the_sum_for_ten_thousand_million_items_is_the_constant_that_ycsb_states() {
    assert!((zeta(POPULARITY_ITEMS) - 26.469_028_201_783_02).abs() < 1e-6);
    assert!((zeta(2) - ZETA_OF_TWO).abs() < 1e-15);
    let exact: f64 = (1..=5000).map(|i| float(i).powf(-THETA)).sum();
    assert!((zeta(5000) - exact).abs() < 1e-9);
}

#[test]
fn one_seed_is_one_history_and_another_is_another() {
    let history = |seed| {
        let mut generator = Generator::new(workload("requestdistribution=zipfian"), seed);
        (0..100).map(|_| (generator.next(1000), generator.field())).collect::<Vec<_>>()
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}

#[test]
fn operations_come_in_their_proportions() {
    let mut generator = generator(
        "readproportion=0.4\nupdateproportion=0.3\ninsertproportion=0.15\nscanproportion=0.1\n\
         readmodifywriteproportion=0.05\nmaxscanlength=20",
    );
    let mut counts = [0u32; 5];
    for _ in 0..100_000 {
        let kind = match generator.next(1000) {
            Operation::Read { .. } => 0,
            Operation::Update { .. } => 1,
            Operation::Insert => 2,
            Operation::Scan { records, .. } => {
                assert!((1..=20).contains(&records));
                3
            }
            Operation::ReadModifyWrite { .. } => 4,
        };
        counts[kind] += 1;
    }
    for (count, expected) in counts.into_iter().zip([40_000u32, 30_000, 15_000, 10_000, 5000]) {
        assert!(count.abs_diff(expected) < 600, "{counts:?}");
    }
}

#[test]
fn uniform_meets_all_records_alike() {
    let frequencies = frequencies("uniform");
    assert!(frequencies.iter().all(|count| (50..=160).contains(count)), "{frequencies:?}");
}

#[test]
fn zipfian_meets_few_records_mostly_and_strews_them() {
    let frequencies = frequencies("zipfian");
    let hottest = frequencies.iter().copied().max().expect("not empty");
    // The first item has 1/26.47 of all draws; the record that it stands for shares in the others.
    assert!((3500..=4300).contains(&hottest), "{hottest}");
    let mut sorted = frequencies.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let top_tenth: u32 = sorted[..100].iter().sum();
    assert!((25_000..=45_000).contains(&top_tenth), "{top_tenth}");
    let lower_half: u32 = frequencies[..500].iter().sum();
    assert!((30_000..=70_000).contains(&lower_half), "{lower_half}");
    assert!(frequencies.iter().all(|count| *count > 0), "every record is met");
}

#[test]
fn latest_meets_the_newest_record_mostly() {
    let frequencies = frequencies("latest");
    let newest = frequencies[999];
    // 1 / zeta(1000) of all draws.
    assert!((12_500..=13_700).contains(&newest), "{newest}");
    assert!(newest > frequencies[998] && frequencies[998] > frequencies[900]);
    let newest_tenth: u32 = frequencies[900..].iter().sum();
    assert!(newest_tenth > 60_000, "{newest_tenth}");
}

#[test]
fn popular_records_stay_popular_while_records_are_inserted() {
    for item in 0..200 {
        let before = consistent_bucket(scrambled(item), 1000);
        let after = consistent_bucket(scrambled(item), 1100);
        assert!(after == before || after >= 1000, "item {item} moved from {before} to {after}");
    }
}

#[test]
fn every_choice_stays_within_the_records_however_few() {
    for distribution in ["uniform", "zipfian", "latest"] {
        let mut generator = generator(&format!("requestdistribution={distribution}"));
        for records in [1, 2, 3, 65, u64::MAX >> 12] {
            for _ in 0..200 {
                if let Operation::Read { record } | Operation::Update { record } = generator.next(records) {
                    assert!(record < records, "{distribution}: {record} of {records}");
                }
            }
        }
    }
}

#[test]
fn scans_are_as_long_as_was_asked() {
    for (lengths, shortest_share) in [("uniform", 100..400), ("zipfian", 1500..3500)] {
        let mut generator = generator(&format!(
            "scanproportion=1\nreadproportion=0\nupdateproportion=0\nminscanlength=5\nmaxscanlength=44\n\
             scanlengthdistribution={lengths}"
        ));
        let mut shortest = 0;
        for _ in 0..10_000 {
            let Operation::Scan { records, .. } = generator.next(1000) else { panic!("only scans") };
            assert!((5..=44).contains(&records), "{records}");
            shortest += u32::from(records == 5);
        }
        assert!(shortest_share.contains(&shortest), "{lengths}: {shortest}");
    }
}

#[test]
fn values_and_keys_have_the_shape_that_was_asked() {
    let mut hashed = generator("fieldcount=3\nfieldlength=50");
    let value = hashed.value();
    assert_eq!((value.len(), value.iter().all(u8::is_ascii_graphic)), (150, true));
    assert_ne!(value, hashed.value());
    let (field, bytes) = hashed.field();
    assert!(field < 3 && bytes.len() == 50);
    assert_eq!(hashed.key(0), "user12161962213042174405");
    assert_eq!(generator("insertorder=ordered").key(41), "user000000000041");
}
