//! A peer that knows records which it does not hold.

use super::*;

/// Knows of 40,000 records and holds none of them: they were declined.
fn declining() -> World {
    let mut world = World::new(vec![Node::new(1, 0..100), Node::new(2, 0..40_000)]);
    world.nodes[1].liar = |_, question| match question {
        Question::Page(_) => Some(Response::Page(Page {
            envelopes: Vec::new(),
            next: None,
        })),
        Question::Records(ids) => Some(Response::Records(vec![None; ids.len()])),
        _ => None,
    };
    world.connect(0, 1);
    world
}

#[test]
fn what_a_peer_declined_is_asked_of_it_once_and_is_no_lie() {
    let mut world = declining();
    world.run(Duration::from_secs(300));
    let node = &world.nodes[0];
    let found = (peer(1), Outcome::Ahead);
    assert!(node.finished.contains(&found), "{:?}", node.finished);
    assert!(
        node.finished.iter().all(|end| *end == found),
        "{:?}",
        node.finished
    );
    assert!(node.machine.wanted.is_empty());
    let asked = node.asked.len();
    world.nodes[0].asked.clear();
    world.run(Duration::from_secs(600));
    let again = &world.nodes[0].asked;
    assert!(asked > 80 && again.len() > 5, "{asked}, {}", again.len());
    let greeting = |question: &Question| matches!(question, Question::Hello);
    assert!(again.iter().all(greeting), "{again:?}");
}

#[test]
fn a_record_among_many_declined_ones_is_found_with_few_questions() {
    let mut world = declining();
    world.run(Duration::from_secs(300));
    world.nodes[0].asked.clear();
    world.nodes[1].records.extend([envelope(1 << 40)]);
    world.nodes[1].index();
    world.nodes[1].liar = |node, question| match question {
        Question::Records(ids) => {
            let last = envelope(1 << 40);
            let item = |id: &RecordId| (*id == last.0).then(|| ByteBuf::from(last.1.to_vec()));
            assert!(node.records.contains_key(&last.0));
            Some(Response::Records(ids.iter().map(item).collect()))
        }
        _ => None,
    };
    world.run(Duration::from_secs(120));
    let node = &world.nodes[0];
    assert!(node.records.contains_key(&envelope(1 << 40).0));
    assert!(node.asked.len() < 40, "{}", node.asked.len());
}
