//! A way through a case in plain words: each step, and below it what it led to.

use super::protocol::{Case, SIZE, Standing, Step, World, correct, list};

/// Prints the steps of a counterexample and what follows from each; gives the state in which it ends.
pub(crate) fn tell(case: &Case, steps: &[Step]) -> World {
    let mut world = World::new(case);
    if let Some(listed) = case.listed {
        println!(
            "   0. an earlier merge, in which all took part, has put r{listed} on everybody's blacklist"
        );
    }
    let empty = World { streams: Default::default(), ..world.clone() };
    changes(&empty, &world, case);
    for (number, step) in (1..).zip(steps) {
        println!("  {number:>2}. {}", words(step, &world, case));
        let next = world.after(step, case);
        changes(&world, &next, case);
        world = next;
    }
    world
}

fn words(step: &Step, world: &World, case: &Case) -> String {
    match step {
        Step::Take { who, of, number } => {
            format!("r{who} takes message {} of r{of}: {}", number + 1, world.streams[*of][*number])
        }
        Step::LosePatience { who } => {
            format!("r{who} loses patience with view {}", world.replicas[*who].view)
        }
        Step::Drop { who } => {
            let stable = world.replicas[*who].stable;
            format!("r{who} has a stable checkpoint after {stable} and drops what it said before")
        }
        Step::Install { who, of } => {
            format!("r{who} takes over r{of}'s state after {}", world.replicas[*of].stable)
        }
        Step::Lie(_) => {
            format!("r{}, which is faulty, has its counter sign", case.faulty.unwrap_or_default())
        }
    }
}

fn changes(before: &World, after: &World, case: &Case) {
    for who in 0..SIZE {
        let fresh = after.streams[who].iter().enumerate().skip(before.streams[who].len());
        for (number, message) in fresh {
            println!("        r{who} says (its message {}): {message}", number + 1);
        }
    }
    for who in correct(case) {
        let (old, new) = (&before.replicas[who], &after.replicas[who]);
        if new.executed != old.executed {
            println!("        r{who} has executed {}", list(&new.executed));
        }
        if new.blacklist != old.blacklist {
            println!(
                "        r{who}'s blacklist is now: {}",
                new.blacklist.map_or("empty".into(), |id| format!("r{id}"))
            );
        }
        if new.view != old.view && new.view < case.views {
            let how = if new.standing == Standing::Merged { ", after the merge" } else { "" };
            let primary = after.primary(who, new.view);
            println!("        r{who} is in view {}{how}; for it the primary is r{primary}", new.view);
        }
    }
}
