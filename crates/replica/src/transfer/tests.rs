use super::*;
use smr_consensus::checkpoint::Checkpoint;

const ME: ReplicaId = ReplicaId(0);

/// A state of so many chunks.
fn state(count: u32) -> Chunked {
    Chunked::of_chunks((0..count).map(|index| Chunk::new(index.to_le_bytes().to_vec())).collect())
}

fn offer(slot: u64, state: &Chunked) -> Offer {
    let checkpoint = Checkpoint { slot: Slot(slot), digest: state.digest() };
    let certificate = CheckpointCertificate { checkpoint, votes: Vec::new() };
    Offer { certificate, count: state.count(), root: state.root() }
}

/// A transfer of `state` that three peers offer.
fn begun(state: &Chunked) -> Transfer {
    let mut transfer = Transfer::default();
    assert!(transfer.want(Slot(3)) && !transfer.want(Slot(3)));
    let first = transfer.seek(ME, 4, Slot(3));
    assert!(matches!(first[..], [(ReplicaId(1), PeerMessage::StateQuery { begun: None, .. })]));
    assert!(!transfer.offered(ReplicaId(2), Slot(3), offer(8, state)), "was not asked");
    assert!(transfer.offered(ReplicaId(1), Slot(3), offer(8, state)));
    let others = transfer.seek(ME, 4, Slot(3));
    let asks = |(_, message): &(_, PeerMessage)| {
        matches!(message, PeerMessage::StateQuery { begun: Some(Slot(8)), .. })
    };
    assert!(others.iter().all(asks) && others.len() == 2);
    for peer in [2, 3].map(ReplicaId) {
        assert!(!transfer.offered(peer, Slot(3), offer(8, state)), "no new goal");
    }
    transfer
}

/// What an honest peer answers.
fn answer(state: &Chunked, transfer: &mut Transfer, from: ReplicaId, query: &PeerMessage) -> bool {
    match query {
        PeerMessage::LeavesQuery { slot, block } => {
            let (leaves, path) = state.leaves(*block).unwrap();
            transfer.received_leaves(from, *slot, leaves, &path)
        }
        PeerMessage::ChunksQuery { slot, indexes } => {
            let chunk = |index: &u32| (*index, state.chunks()[*index as usize].bytes().to_vec());
            transfer.received(from, *slot, indexes.iter().map(chunk).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_sources_are_asked_at_once_and_the_state_is_the_certified_one() {
    let state = state(5000);
    let mut transfer = begun(&state);
    let (mut asked, mut done) = (BTreeMap::new(), None);
    while done.is_none() {
        let asks = transfer.ask();
        assert!(!asks.is_empty(), "it stands still at {:?}", transfer.progress());
        for (peer, query) in asks {
            *asked.entry(peer).or_insert(0) += 1;
            assert!(answer(&state, &mut transfer, peer, &query));
        }
        done = transfer.complete();
    }
    let (certificate, fetched) = done.unwrap();
    assert_eq!((certificate.checkpoint.slot, fetched.digest()), (Slot(8), state.digest()));
    assert!(asked.values().all(|count| *count > 20), "{asked:?}");
}

#[test]
fn what_is_at_hand_is_not_fetched_unless_memory_has_failed() {
    let state = state(1000);
    let mut transfer = begun(&state);
    let other = Chunk::new(b"of no use".to_vec());
    transfer.has_at_hand(state.chunks()[..990].iter().chain([&other]));
    let [(peer, query)] = &transfer.ask()[..] else { panic!("one block of leaves") };
    assert!(answer(&state, &mut transfer, *peer, query));
    assert_eq!(transfer.progress(), Some((990, 1000)));
    let [(_, PeerMessage::ChunksQuery { indexes, .. })] = &transfer.ask()[..] else { panic!("ten chunks") };
    assert_eq!(*indexes, (990..1000).collect::<Vec<u32>>());
}

#[test]
fn a_lie_is_not_taken_and_costs_no_more_than_asking_somebody_else() {
    let state = state(3);
    let mut transfer = begun(&state);
    let [(liar, PeerMessage::LeavesQuery { slot, .. })] = transfer.ask()[..] else { panic!("leaves") };
    let (mut leaves, path) = state.leaves(0).unwrap();
    leaves.swap(0, 1);
    assert!(!transfer.received_leaves(ReplicaId(0), slot, leaves.clone(), &path), "was not asked");
    assert!(!transfer.received_leaves(liar, slot, leaves, &path));
    assert!(
        !transfer.received(ReplicaId(2), slot, vec![(0, vec![0; 4])]),
        "whatever it is of, that is unknown"
    );
    let [(other, query)] = &transfer.ask()[..] else { panic!("the leaves, of somebody else") };
    assert_ne!(*other, liar);
    assert!(answer(&state, &mut transfer, *other, query));
    let [(liar, PeerMessage::ChunksQuery { slot, .. })] = transfer.ask()[..] else { panic!("chunks") };
    assert!(!transfer.received(liar, slot, vec![(1, b"a lie".to_vec()), (7, Vec::new())]));
    let [(other, PeerMessage::ChunksQuery { ref indexes, .. })] = transfer.ask()[..] else {
        panic!("chunks")
    };
    assert_eq!((other == liar, indexes.as_slice()), (false, [0, 1, 2].as_slice()));
    let right = || vec![(1, 1u32.to_le_bytes().to_vec())];
    assert!(transfer.received(other, slot, right()));
    assert!(!transfer.received(other, slot, right()), "again");
}

#[test]
fn who_does_not_answer_for_a_period_is_followed_by_others() {
    let state = state(3);
    let mut transfer = begun(&state);
    let [(silent, _)] = transfer.ask()[..] else { panic!("leaves") };
    transfer.period_passed(2);
    assert_eq!(transfer.ask(), [], "it may have been asked just before");
    transfer.period_passed(2);
    let [(other, PeerMessage::LeavesQuery { .. })] = transfer.ask()[..] else { panic!("leaves") };
    assert_ne!(other, silent);
}

#[test]
fn what_an_answer_has_no_room_for_is_asked_again() {
    let state = state(100);
    let mut transfer = begun(&state);
    let [(peer, query)] = &transfer.ask()[..] else { panic!("leaves") };
    answer(&state, &mut transfer, *peer, query);
    let asks = transfer.ask();
    let [(peer, PeerMessage::ChunksQuery { slot, .. }), (_, PeerMessage::ChunksQuery { .. })] = asks[..]
    else {
        panic!("{asks:?}")
    };
    assert!(transfer.received(peer, slot, vec![(0, 0u32.to_le_bytes().to_vec())]));
    let [(_, PeerMessage::ChunksQuery { indexes, .. })] = &transfer.ask()[..] else { panic!("the rest") };
    assert_eq!(*indexes, (1..64).collect::<Vec<u32>>());
}

#[test]
fn one_who_answers_little_by_little_does_not_hold_up_the_end() {
    let state = state(64);
    let mut transfer = begun(&state);
    let [(peer, query)] = &transfer.ask()[..] else { panic!("leaves") };
    answer(&state, &mut transfer, *peer, query);
    let (mut asked, mut slow) = (0, None);
    while transfer.complete().is_none() {
        for (peer, query) in transfer.ask() {
            asked += 1;
            match query {
                // Whoever is asked first gives one chunk for each question.
                PeerMessage::ChunksQuery { slot, indexes } if *slow.get_or_insert(peer) == peer => {
                    let index = indexes[0];
                    let bytes = state.chunks()[index as usize].bytes().to_vec();
                    assert!(transfer.received(peer, slot, vec![(index, bytes)]));
                }
                query => assert!(answer(&state, &mut transfer, peer, &query)),
            }
        }
    }
    assert_eq!(asked, 2, "the rest is asked of another one");
}

#[test]
fn a_state_that_only_one_serves_is_given_up_for_a_newer_one_and_nothing_is_lost() {
    let (old, new) = (state(10), state(12));
    let mut transfer = Transfer::default();
    transfer.want(Slot(3));
    transfer.seek(ME, 4, Slot(3));
    assert!(transfer.offered(ReplicaId(1), Slot(3), offer(8, &old)));
    let [(peer, query)] = &transfer.ask()[..] else { panic!("leaves") };
    answer(&old, &mut transfer, *peer, query);
    let [(peer, query)] = &transfer.ask()[..] else { panic!("chunks") };
    answer(&old, &mut transfer, *peer, query);
    transfer.goal.as_mut().unwrap().missing += 1;
    transfer.period_passed(2);
    assert!(transfer.goal.is_some(), "there is nothing better");
    assert!(!transfer.offered(ReplicaId(2), Slot(3), offer(9, &new)), "not yet");
    transfer.period_passed(2);
    let [(next, _)] = transfer.seek(ME, 4, Slot(3))[..] else { panic!("one is asked") };
    assert_eq!(next, ReplicaId(2));
    assert!(transfer.offered(next, Slot(3), offer(9, &new)));
    let [(peer, query)] = &transfer.ask()[..] else { panic!("leaves") };
    answer(&new, &mut transfer, *peer, query);
    assert_eq!(transfer.progress(), Some((10, 12)));
}

#[test]
fn an_offer_of_no_use_is_not_taken_up() {
    let state = state(1);
    let mut transfer = Transfer::default();
    assert!(!transfer.offered(ReplicaId(1), Slot(7), offer(8, &state)), "nothing wanted");
    transfer.want(Slot(8));
    let [(source, _)] = transfer.seek(ME, 4, Slot(8))[..] else { panic!("one is asked") };
    assert!(!transfer.offered(source, Slot(8), offer(8, &state)), "not above what we have");
    let none = Offer { count: 0, ..offer(9, &state) };
    assert!(!transfer.offered(source, Slot(8), none), "no chunks");
    transfer.finish();
    transfer.want(Slot(8));
    let [(next, _)] = transfer.seek(ME, 4, Slot(8))[..] else { panic!("one is asked") };
    assert_ne!(next, source, "the next one's turn");
}
