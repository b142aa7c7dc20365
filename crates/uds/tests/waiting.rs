//! Conditions, barriers, semaphores, readers, spawned tasks and checkpoints, by real tasks under every executor.

#![expect(clippy::unwrap_used, reason = "helpers of tests may, as tests do")]

use std::num::NonZeroUsize;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use smr_uds::{
    Barrier, Condvar, Config, Fault, Mutex, MutexGuard, Resume, RwLock, Scheduler, Seeded, Semaphore, Sink,
    TaskEnd, WokenBy, Workers, advance, preset, spawn, yield_now,
};

/// What a run leaves behind.
type Result<T> = (u64, u32, u32, T);

/// Runs `admit` under many executors and checks that each leaves the same behind, which is returned. A run is
/// over when nothing changes any more.
fn always<T: PartialEq + std::fmt::Debug + Clone>(
    config: Config,
    admit: impl Fn(&Scheduler) -> Arc<Mutex<T>>,
) -> Result<T> {
    let finish = |scheduler: &Scheduler, value: &Mutex<T>| {
        let value = value.at_rest(|value| value.clone()).unwrap();
        (scheduler.trace(), scheduler.live(), scheduler.waiting(), value)
    };
    let seeded = |seed| {
        let scheduler = Scheduler::new(config).unwrap();
        let value = admit(&scheduler);
        Seeded::new(seed).run(&scheduler);
        finish(&scheduler, &value)
    };
    let first = seeded(0);
    for seed in 1..40 {
        assert_eq!(seeded(seed), first, "seed {seed}");
    }
    for count in [1, 2, 4, 2, 4] {
        let scheduler = Scheduler::new(config).unwrap();
        let workers = Workers::start(&scheduler, NonZeroUsize::new(count).unwrap()).unwrap();
        let value = admit(&scheduler);
        let mut looks = 0;
        while (scheduler.trace(), scheduler.live(), scheduler.waiting()) != (first.0, first.1, first.2) {
            looks += 1;
            assert!(looks < 20_000, "{count} workers: {scheduler:?} differs from {first:?}");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        workers.stop();
        assert_eq!(finish(&scheduler, &value), first, "{count} workers");
    }
    first
}

#[expect(clippy::needless_pass_by_value, reason = "it is a sink")]
fn done(end: TaskEnd<()>) {
    assert_eq!(end, TaskEnd::Done(()));
}

type Log = Arc<Mutex<Vec<u32>>>;

fn all_presets() -> Vec<Config> {
    preset::NAMES.iter().map(|name| preset::by_name(name, 3).unwrap()).collect()
}

#[test]
fn a_queue_with_conditions_hands_over_in_the_same_order_everywhere() {
    for config in all_presets() {
        let (_, live, waiting, log) = always(config, |scheduler| {
            let log = Log::default();
            let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
            for consumer in 0..3 {
                let (shared, log) = (shared.clone(), log.clone());
                let task = async move {
                    for _ in 0..2 {
                        let mut queue = shared
                            .1
                            .wait_while(shared.0.lock().await, |queue: &Vec<u32>| queue.is_empty())
                            .await;
                        let item = queue.remove(0);
                        drop(queue);
                        log.lock().await.push(item * 10 + consumer);
                    }
                };
                scheduler.admit(task, done).unwrap();
            }
            for producer in 0..6 {
                let shared = shared.clone();
                let task = async move {
                    shared.0.lock().await.push(producer);
                    if producer % 2 == 0 { shared.1.notify_one().await } else { shared.1.notify_all().await }
                };
                scheduler.admit(task, done).unwrap();
            }
            scheduler.fill().unwrap();
            log
        });
        assert_eq!((live, waiting, log.len()), (0, 0, 6), "{config:?}");
    }
}

#[test]
fn readers_share_and_writers_do_not_starve() {
    let config = preset::rounds(4, 1);
    let (.., log) = always(config, |scheduler| {
        let log = Log::default();
        let value = Arc::new(RwLock::new(0));
        for number in 0..8 {
            let (log, value) = (log.clone(), value.clone());
            let task = async move {
                if number % 3 == 2 {
                    *value.write().await += 1;
                } else {
                    let seen = value.read().await;
                    yield_now().await;
                    log.lock().await.push(*seen);
                }
            };
            scheduler.admit(task, done).unwrap();
        }
        scheduler.fill().unwrap();
        log
    });
    assert_eq!(log.len(), 6);
    assert!(log.contains(&0) && log.contains(&2), "{log:?}");
}

#[test]
fn a_semaphore_lets_as_many_in_as_it_has_permits() {
    for config in all_presets() {
        let (.., most) = always(config, |scheduler| {
            let semaphore = Arc::new(Semaphore::new(2));
            let inside = Arc::new(Mutex::new(0));
            let most = Arc::new(Mutex::new(0));
            for _ in 0..7 {
                let (semaphore, inside, most) = (semaphore.clone(), inside.clone(), most.clone());
                let task = async move {
                    let _permit = semaphore.acquire().await;
                    let now = {
                        let mut inside = inside.lock().await;
                        *inside += 1;
                        *inside
                    };
                    {
                        let mut most = most.lock().await;
                        *most = now.max(*most);
                    }
                    *inside.lock().await -= 1;
                };
                scheduler.admit(task, done).unwrap();
            }
            scheduler.fill().unwrap();
            most
        });
        assert!((1..=2).contains(&most), "{most}");
    }
}

#[test]
fn a_barrier_lets_all_go_on_when_the_last_has_come() {
    for config in all_presets() {
        let (_, live, waiting, log) = always(config, |scheduler| {
            let log = Log::default();
            let barrier = Arc::new(Barrier::new(3));
            for number in 0..6 {
                let (log, barrier) = (log.clone(), barrier.clone());
                let task = async move {
                    log.lock().await.push(number);
                    let leads = barrier.wait().await.is_leader();
                    log.lock().await.push(if leads { 200 } else { 100 });
                };
                scheduler.admit(task, done).unwrap();
            }
            scheduler.fill().unwrap();
            log
        });
        assert_eq!((live, waiting), (0, 0), "{config:?}");
        assert_eq!(log.iter().filter(|entry| **entry == 200).count(), 2);
    }
}

#[test]
fn children_come_behind_their_creator_in_the_order_of_their_creation() {
    let (.., log) = always(preset::mat(), |scheduler| {
        let log = Log::default();
        let outer = log.clone();
        let parent = async move {
            for child in 1..4 {
                let log = outer.clone();
                spawn(async move { log.lock().await.push(child) }).await;
                advance(3);
            }
            outer.lock().await.push(0);
        };
        scheduler.admit(parent, done).unwrap();
        let log_of_next = log.clone();
        scheduler.admit(async move { log_of_next.lock().await.push(9) }, done).unwrap();
        log
    });
    assert_eq!(log, [0, 1, 2, 3, 9]);
}

/// Writes down what it is told.
struct Notes(u32, Sender<(u32, &'static str, u64)>);

impl Sink<()> for Notes {
    fn waits(&mut self) {
        self.1.send((self.0, "waits", 0)).unwrap();
    }

    fn woken(&mut self, by: WokenBy) {
        let by = if let WokenBy::Task(by) = by { by } else { 1000 };
        self.1.send((self.0, "woken", by)).unwrap();
    }

    fn ended(self, end: TaskEnd<()>) {
        let what = if end == TaskEnd::Done(()) { "done" } else { "fault" };
        self.1.send((self.0, what, 0)).unwrap();
    }
}

type Gate = Arc<(Mutex<u32>, Condvar)>;

/// A task that waits until the gate stands at `at` and then takes one off.
fn waiter(
    gate: &Gate,
    log: &Log,
    number: u32,
    at: u32,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + use<> {
    let (gate, log) = (gate.clone(), log.clone());
    move || {
        let (gate, log) = (gate.clone(), log.clone());
        Box::pin(async move {
            let open = gate.0.lock().await;
            if *open < at {
                drop(gate.1.wait(open).await);
                unreachable!("a restartable task begins from the top");
            }
            drop(open);
            log.lock().await.push(number);
        })
    }
}

fn opener(gate: &Gate) -> impl Future<Output = ()> + use<> {
    let gate = gate.clone();
    async move {
        *gate.0.lock().await += 1;
        gate.1.notify_all().await;
    }
}

#[test]
fn a_restartable_task_begins_from_the_top_and_its_sink_hears_of_it_in_order() {
    for seed in 0..50 {
        let scheduler = Scheduler::new(preset::rounds(2, 2)).unwrap();
        let (gate, log) = (Gate::default(), Log::default());
        let (notes, heard) = channel();
        assert_eq!(scheduler.admit_restartable(waiter(&gate, &log, 0, 2), Notes(0, notes.clone())), Ok(0));
        for number in 1..3 {
            let sender = notes.clone();
            let sink = move |end| {
                done(end);
                sender.send((number, "done", 0)).unwrap();
            };
            scheduler.admit(opener(&gate), sink).unwrap();
        }
        scheduler.fill().unwrap();
        Seeded::new(seed).run(&scheduler);
        let heard: Vec<_> = heard.try_iter().filter(|(number, ..)| *number == 0).collect();
        let expected: [(u32, &str, u64); 5] =
            [(0, "waits", 0), (0, "woken", 1), (0, "waits", 0), (0, "woken", 2), (0, "done", 0)];
        // Both openers may have been first; then it waits once.
        assert!(expected.ends_with(&heard[1..]) && heard[0].1 == "waits", "{heard:?}");
        assert_eq!(log.at_rest(|log| log.clone()), Ok(vec![0]));
    }
}

#[test]
fn a_replica_restored_from_a_suspension_goes_on_like_the_others() {
    let config = preset::rounds(3, 2);
    let later = |scheduler: &Scheduler, gate: &Gate, log: &Log| {
        for _ in 0..2 {
            scheduler.admit(opener(gate), done).unwrap();
        }
        scheduler.admit_restartable(waiter(gate, log, 7, 3), done).unwrap();
        scheduler.admit(opener(gate), done).unwrap();
        scheduler.fill().unwrap();
    };
    for seed in 0..50 {
        let scheduler = Scheduler::new(config).unwrap();
        let (gate, log) = (Gate::default(), Log::default());
        for number in 0..4 {
            scheduler.admit_restartable(waiter(&gate, &log, number, 3 - number % 2), done).unwrap();
        }
        scheduler.admit(opener(&gate), done).unwrap();
        let reached = Arc::new(StdMutex::new(None));
        let at_cut = reached.clone();
        scheduler.suspend(move |suspension| *at_cut.lock().unwrap() = Some(suspension)).unwrap();
        // Whatever comes behind the cut does not show in the snapshot.
        later(&scheduler, &gate, &log);
        Seeded::new(seed).run(&scheduler);
        let suspension = reached.lock().unwrap().take().unwrap();
        assert_eq!(gate.0.at_rest(|open| *open), Ok(1));
        assert_eq!(suspension.waiting.len(), 4);

        let restored = Scheduler::new(config).unwrap();
        let (gate_there, log_there) = (Gate::default(), Log::default());
        gate_there.0.at_rest(|open| *open = 1).unwrap();
        for number in suspension.waiting {
            let number = u32::try_from(number).unwrap();
            let make = waiter(&gate_there, &log_there, number, 3 - number % 2);
            restored.admit_restartable(make, done).unwrap();
        }
        later(&restored, &gate_there, &log_there);
        Seeded::new(seed + 1).run(&restored);

        scheduler.resume(Resume::Recall).unwrap();
        assert!(scheduler.resume(Resume::GoOn).is_err());
        Seeded::new(seed + 2).run(&scheduler);
        assert_eq!(log.at_rest(|log| log.clone()), log_there.at_rest(|log| log.clone()), "seed {seed}");
        assert_eq!(scheduler.trace(), restored.trace(), "seed {seed}");
        assert_eq!((scheduler.live(), scheduler.waiting()), (0, 0));
    }
}

/// The end of a task behind one that has made ready what it is to trip over.
fn fault_of<F>(
    config: Config,
    restartable: bool,
    bad: impl Fn(Arc<Things>) -> F + Send + Clone + 'static,
) -> TaskEnd<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let run = |seed| {
        let scheduler = Scheduler::new(config).unwrap();
        let things = Arc::new(Things::default());
        let (sender, end) = channel();
        let sink = move |end: TaskEnd<()>| sender.send(end).unwrap();
        let others = things.clone();
        let first = async move { drop(others.condvar.wait(others.first.lock().await).await) };
        scheduler.admit(first, |_: TaskEnd<()>| {}).unwrap();
        let (bad, things) = (bad.clone(), things);
        if restartable {
            scheduler.admit_restartable(move || bad(things.clone()), sink).unwrap();
        } else {
            scheduler.admit(bad(things), sink).unwrap();
        }
        scheduler.fill().unwrap();
        Seeded::new(seed).run(&scheduler);
        end.try_recv().unwrap()
    };
    let first = run(0);
    (1..30).for_each(|seed| assert_eq!(run(seed), first));
    first
}

#[derive(Default)]
struct Things {
    first: Mutex<u32>,
    second: Mutex<u32>,
    table: RwLock<u32>,
    condvar: Condvar,
}

#[test]
fn a_condition_serves_one_mutex_at_a_time() {
    let end = fault_of(preset::rounds(2, 2), false, |things| async move {
        drop(things.condvar.wait(things.second.lock().await).await);
    });
    assert_eq!(end, TaskEnd::Fault(Fault::OtherMutex));
}

#[test]
fn one_waiting_task_too_many_ends() {
    let config = Config { waiting_max: 1, ..preset::rounds(2, 2) };
    let end = fault_of(config, false, |things| async move {
        drop(things.condvar.wait(things.first.lock().await).await);
    });
    assert_eq!(end, TaskEnd::Fault(Fault::TooManyWaiting));
}

#[test]
fn one_spawned_task_too_many_ends_its_creator() {
    let config = Config { spawned_max: 1, ..preset::rounds(2, 2) };
    let end = fault_of(config, false, |_| async move {
        spawn(async { yield_now().await }).await;
        spawn(async {}).await;
    });
    assert_eq!(end, TaskEnd::Fault(Fault::TooManySpawned));
}

#[test]
fn more_permits_than_there_are_end_the_task() {
    let end = fault_of(preset::mat(), false, |_| async move {
        drop(Semaphore::new(2).acquire_many(3).await);
    });
    assert_eq!(end, TaskEnd::Fault(Fault::TooManyPermits));
}

#[test]
fn a_reader_that_wants_to_write_ends() {
    let end = fault_of(preset::mat(), false, |things| async move {
        let _reads = things.table.read().await;
        *things.table.write().await += 1;
    });
    assert_eq!(end, TaskEnd::Fault(Fault::Relock));
}

#[test]
fn a_restartable_task_may_wait_only_before_it_has_had_an_effect() {
    let wait = |things: Arc<Things>| async move {
        drop(things.condvar.wait(things.first.lock().await).await);
    };
    let ends = [
        fault_of(preset::rounds(2, 2), true, move |things| async move {
            *things.second.lock().await += 1;
            wait(things).await;
        }),
        fault_of(preset::rounds(2, 2), true, move |things| async move {
            *things.table.write().await += 1;
            wait(things).await;
        }),
        fault_of(preset::rounds(2, 2), true, move |things| async move {
            spawn(async {}).await;
            wait(things).await;
        }),
        fault_of(preset::rounds(2, 2), true, move |things| async move {
            let _held = things.table.read().await;
            wait(things.clone()).await;
        }),
        fault_of(preset::rounds(2, 2), true, |things| async move {
            let mut value = things.first.lock().await;
            *value += 1;
            drop(things.condvar.wait(value).await);
        }),
        fault_of(preset::rounds(2, 2), true, |_| async move {
            Barrier::new(1).wait().await;
        }),
    ];
    assert_eq!(ends, [const { TaskEnd::Fault(Fault::WaitAfterWrite) }; 6]);
}

/// The ends of two tasks, side by side in rounds of 2, which are the same for all seeds.
fn ends_of_two<A, B>(older: impl Fn(Arc<Things>) -> A, younger: impl Fn(Arc<Things>) -> B) -> [TaskEnd<()>; 2]
where
    A: Future<Output = ()> + Send + 'static,
    B: Future<Output = ()> + Send + 'static,
{
    let run = |seed| {
        let scheduler = Scheduler::new(preset::rounds(2, 4)).unwrap();
        let things = Arc::new(Things::default());
        let [(to_first, first), (to_second, second)] = [channel(), channel()];
        scheduler.admit(older(things.clone()), move |end| to_first.send(end).unwrap()).unwrap();
        scheduler.admit(younger(things), move |end| to_second.send(end).unwrap()).unwrap();
        scheduler.fill().unwrap();
        Seeded::new(seed).run(&scheduler);
        [first.try_recv().unwrap(), second.try_recv().unwrap()]
    };
    let first = run(0);
    (1..30).for_each(|seed| assert_eq!(run(seed), first));
    first
}

#[test]
fn a_circle_through_readers_and_a_writer_ends_its_youngest() {
    let ends = ends_of_two(
        |things| async move {
            let _reads = things.table.read().await;
            yield_now().await;
            *things.second.lock().await += 1;
        },
        |things| async move {
            let _second = things.second.lock().await;
            *things.table.write().await += 1;
        },
    );
    assert_eq!(ends, [TaskEnd::Done(()), TaskEnd::Fault(Fault::Deadlock)]);
}

#[test]
fn waiting_with_the_guard_of_another_task_ends_who_does_so() {
    // Between the tasks, behind `second`, so that it is there whenever the younger one looks.
    let kept: Arc<StdMutex<Option<MutexGuard<'static, u32>>>> = Arc::default();
    let put = kept.clone();
    let ends = ends_of_two(
        move |things| {
            let lent: &'static Mutex<u32> = Box::leak(Box::default());
            let put = put.clone();
            async move {
                let guard = lent.lock().await;
                let _second = things.second.lock().await;
                *put.lock().unwrap() = Some(guard);
            }
        },
        move |things| {
            let kept = kept.clone();
            async move {
                yield_now().await;
                let _second = things.second.lock().await;
                let guard = kept.lock().unwrap().take().unwrap();
                drop(things.condvar.wait(guard).await);
            }
        },
    );
    assert_eq!(ends, [TaskEnd::Done(()), TaskEnd::Fault(Fault::MutexNotHeld)]);
}

#[test]
fn who_waits_in_vain_is_counted_and_holds_up_nobody() {
    let (_, live, waiting, log) = always(preset::rounds(2, 1), |scheduler| {
        let log = Log::default();
        let things = Arc::new(Things::default());
        let waits = things.clone();
        scheduler
            .admit(
                async move {
                    let _kept = waits.second.lock().await;
                    drop(waits.condvar.wait(waits.first.lock().await).await);
                },
                done,
            )
            .unwrap();
        for number in 0..3 {
            let (things, log) = (things.clone(), log.clone());
            let task = async move {
                if number == 1 {
                    *things.second.lock().await += 1;
                }
                log.lock().await.push(number);
            };
            scheduler.admit(task, done).unwrap();
        }
        scheduler.fill().unwrap();
        log
    });
    assert_eq!((live, waiting), (1, 1));
    assert_eq!(log, [0, 2]);
}
