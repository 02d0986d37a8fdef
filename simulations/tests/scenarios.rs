//! Each scenario with a few seeds, in every check.
#![allow(clippy::unwrap_used)]

use ggen_simulations::run::run;
use ggen_simulations::scenario::Scenario;

#[test]
fn every_scenario_ends_with_equal_catalogues() {
    for scenario in Scenario::all() {
        for seed in 0..3 {
            let report = run(&scenario, seed);
            let report = report
                .unwrap_or_else(|violation| panic!("{} seed {seed}: {violation}", scenario.name));
            assert!(
                report.pulled > 0,
                "{}: nothing was reconciled",
                scenario.name
            );
        }
    }
}

#[test]
fn a_seed_is_one_run() {
    for scenario in Scenario::all() {
        let (once, again) = (run(&scenario, 7).unwrap(), run(&scenario, 7).unwrap());
        assert_eq!(once, again, "{}", scenario.name);
        assert_ne!(
            once.trace,
            run(&scenario, 8).unwrap().trace,
            "{}",
            scenario.name
        );
    }
}

#[test]
fn liars_are_caught_lying() {
    let scenario = Scenario::all()
        .into_iter()
        .find(|scenario| scenario.liars > 0)
        .unwrap();
    let report = run(&scenario, 1).unwrap();
    assert!(
        report.outcomes.keys().any(|name| name.starts_with("lied")),
        "{:?}",
        report.outcomes
    );
}

#[test]
fn an_oracle_that_is_asked_too_soon_sees_what_is_missing() {
    let mut scenario = Scenario::all()
        .into_iter()
        .find(|scenario| scenario.name == "join")
        .unwrap();
    scenario.converged_within_ms = 0;
    scenario.start_ms = (39_900, 40_000);
    assert!(run(&scenario, 1).is_err());
}
