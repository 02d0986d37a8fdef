//! What befalls peers: crashes with later restarts, partitions that heal.

use std::collections::BTreeSet;

use crate::scenario::Scenario;
use crate::world::World;

/// A fault, or its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A peer stops at once; what it had stored stays.
    Crash(usize),
    /// A peer that stopped starts again with what it had stored.
    Restart(usize),
    /// The peers of this set reach each other only, and so do the others.
    Split(BTreeSet<usize>),
    /// Everybody reaches everybody.
    Heal,
}

/// Plans the faults of a scenario; all of them have ended when it becomes calm.
pub fn plan<E: From<Fault>>(scenario: &Scenario, world: &mut World<E>) {
    let (least, most) = scenario.outage_ms;
    for _ in 0..scenario.crashes {
        let victim = world.below(scenario.peers as u64) as usize;
        let (from, to) = outage(scenario, world, least, most);
        world.plan(from, Fault::Crash(victim).into());
        world.plan(to, Fault::Restart(victim).into());
    }
    for _ in 0..scenario.partitions {
        let all = scenario.peers + scenario.liars;
        let side = (0..all).filter(|_| world.chance(500)).collect();
        let (from, to) = outage(scenario, world, least, most);
        world.plan(from, Fault::Split(side).into());
        world.plan(to, Fault::Heal.into());
    }
}

fn outage<E>(
    scenario: &Scenario,
    world: &mut World<E>,
    least_ms: u64,
    most_ms: u64,
) -> (ggen_protocols::Moment, ggen_protocols::Moment) {
    let calm =
        ggen_protocols::Moment::default() + std::time::Duration::from_millis(scenario.calm_at_ms);
    let start = ggen_protocols::Moment::default() + world.between(0, scenario.calm_at_ms);
    let end = start + world.between(least_ms, most_ms);
    (start, end.min(calm))
}
