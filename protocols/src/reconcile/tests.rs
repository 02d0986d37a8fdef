//! Machines against each other in memory: every message is delivered in order unless a test interferes.
#![allow(clippy::unwrap_used)]

mod declined;

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use serde_bytes::{ByteArray, ByteBuf};

use bytes::Bytes;

use super::fingerprint::{Branch, Prefix, branch_of};
use super::*;
use crate::cbor;
use crate::hash;
use crate::id::{NetworkId, PublicKey};
use crate::limits;
use crate::message::{Hello, Page, PageRequest, Request};
use crate::record;

fn envelope(n: u64) -> (RecordId, Bytes) {
    let key = PublicKey::from_bytes([7; 32]);
    let payload = n.to_be_bytes().to_vec();
    let id = record::id(NetworkId::main(), key, &payload);
    let signature = ByteArray::new([0; 64]);
    let key = ByteArray::new(*key.as_bytes());
    let envelope = cbor::encode(&(1u64, key, ByteBuf::from(payload), signature));
    (id, envelope.into())
}

fn peer(n: usize) -> PeerId {
    PeerId::from_bytes([n as u8 + 1; 32])
}

type Liar = fn(&Node, &Question) -> Option<Response>;
const HONEST: Liar = |_, _| None;

/// One catalogue and its machine.
struct Node {
    machine: Reconciler,
    records: BTreeMap<RecordId, Bytes>,
    /// The keys of `records`, so that branches need no walk.
    ids: Vec<RecordId>,
    root: Root,
    wake_at: Option<Moment>,
    finished: Vec<(PeerId, Outcome)>,
    /// How it answers instead of honestly.
    liar: Liar,
    asked: Vec<Question>,
}

impl Node {
    fn new(seed: u64, numbers: impl IntoIterator<Item = u64>) -> Self {
        let records: BTreeMap<_, _> = numbers.into_iter().map(envelope).collect();
        let mut node = Self {
            machine: Reconciler::new(Root::default(), seed),
            ids: Vec::new(),
            root: Root::default(),
            records,
            wake_at: None,
            finished: Vec::new(),
            liar: HONEST,
            asked: Vec::new(),
        };
        node.index();
        node.machine = Reconciler::new(node.root, seed);
        node
    }

    /// Brings what is derived from `records` up to date.
    fn index(&mut self) {
        self.ids = self.records.keys().copied().collect();
        self.root = branch_of(Prefix::ROOT, &self.ids).root();
    }

    fn branch(&self, prefix: &Prefix) -> Branch {
        let from = self.ids.partition_point(|id| *id < prefix.first());
        let to = self.ids.partition_point(|id| *id <= prefix.last());
        branch_of(*prefix, &self.ids[from..to])
    }

    fn answer(&self, question: &Question) -> Response {
        if let Some(lie) = (self.liar)(self, question) {
            return lie;
        }
        match question {
            Question::Hello => Response::Hello(hello(self.root)),
            Question::Branches(prefixes) => {
                Response::Branches(prefixes.iter().map(|prefix| self.branch(prefix)).collect())
            }
            Question::Page(PageRequest { prefix, after }) => {
                let below = self.records.range(prefix.first()..=prefix.last());
                let mut rest = below.filter(|(id, _)| after.is_none_or(|after| **id > after));
                let page: Vec<_> = rest.by_ref().take(limits::ANSWER_RECORDS_MAX).collect();
                Response::Page(Page {
                    next: rest.next().and(page.last().map(|(id, _)| **id)),
                    envelopes: page
                        .into_iter()
                        .map(|(_, envelope)| ByteBuf::from(envelope.to_vec()))
                        .collect(),
                })
            }
            // One in three is left for the next answer, as with large records.
            Question::Records(ids) => Response::Records(
                ids.iter()
                    .take(ids.len().div_ceil(3) * 2)
                    .map(|id| Some(ByteBuf::from(self.records.get(id)?.to_vec())))
                    .collect(),
            ),
        }
    }

    fn admit(&mut self, expected: &Expected, envelopes: Vec<Bytes>) -> Result<Taken, Lie> {
        let checked = expected.check(NetworkId::main(), envelopes.clone())?;
        let mut new = 0;
        for ((id, _), envelope) in checked.into_iter().zip(envelopes) {
            new += usize::from(self.records.insert(id, envelope).is_none());
        }
        self.index();
        Ok(Taken { new, refused: 0 })
    }
}

fn hello(root: Root) -> Hello {
    Hello {
        network: NetworkId::main(),
        root,
        time_ms: 0,
        blob_addresses: Vec::new(),
        agent: String::new(),
    }
}

struct World {
    now: Moment,
    nodes: Vec<Node>,
    inputs: VecDeque<(usize, Input)>,
    /// Which of the questions from now on are lost, counted from 0.
    lose: Box<dyn Fn(usize) -> bool>,
    questions: usize,
}

impl World {
    fn new(nodes: Vec<Node>) -> Self {
        Self {
            now: Moment::default(),
            nodes,
            inputs: VecDeque::new(),
            lose: Box::new(|_| false),
            questions: 0,
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        self.inputs.push_back((a, Input::Connected(peer(b))));
        self.inputs.push_back((b, Input::Connected(peer(a))));
    }

    /// Delivers what is under way, until nothing is.
    fn settle(&mut self) {
        let mut steps = 0;
        while let Some((at, input)) = self.inputs.pop_front() {
            steps += 1;
            assert!(steps < 100_000, "the machines never come to rest");
            for effect in self.nodes[at].machine.handle(self.now, input) {
                self.carry_out(at, effect);
            }
        }
    }

    /// Lets time pass in steps of the machines' own choice.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while let Some(next) = self.nodes.iter().filter_map(|node| node.wake_at).min()
            && next <= end
        {
            self.now = self.now.max(next);
            for at in 0..self.nodes.len() {
                if self.nodes[at].wake_at.is_some_and(|at| at <= self.now) {
                    self.nodes[at].wake_at = None;
                    self.inputs.push_back((at, Input::Tick));
                }
            }
            self.settle();
        }
        self.now = end;
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        let input = match effect {
            Effect::Ask {
                peer: to,
                ticket,
                question,
            } => {
                let to = (0..self.nodes.len()).find(|n| peer(*n) == to).unwrap();
                if question == Question::Hello {
                    let root = self.nodes[at].root;
                    let told = Input::Told {
                        peer: peer(at),
                        root,
                    };
                    self.inputs.push_back((to, told));
                }
                self.nodes[at].asked.push(question.clone());
                self.questions += 1;
                if (self.lose)(self.questions - 1) {
                    Input::Failed(ticket)
                } else {
                    let response = self.nodes[to].answer(&question);
                    // What no decoder lets through never reaches a machine.
                    let response = Response::decode(&response.encode()).unwrap();
                    Input::Answered { ticket, response }
                }
            }
            Effect::LookUp { ticket, lookup } => {
                let node = &self.nodes[at];
                let found = match lookup {
                    Lookup::Branches(prefixes) => {
                        Found::Branches(prefixes.iter().map(|p| node.branch(p)).collect())
                    }
                    Lookup::Known(ids) => {
                        Found::Known(ids.iter().map(|id| node.records.contains_key(id)).collect())
                    }
                };
                Input::LookedUp { ticket, found }
            }
            Effect::Admit {
                ticket,
                envelopes,
                expected,
                ..
            } => {
                let taken = self.nodes[at].admit(&expected, envelopes);
                let own = self.nodes[at].root;
                Input::Admitted { ticket, taken, own }
            }
            Effect::Finished { peer, outcome } => {
                return self.nodes[at].finished.push((peer, outcome));
            }
            Effect::WakeAt(moment) => {
                self.nodes[at].wake_at = Some(moment);
                return;
            }
        };
        self.inputs.push_back((at, input));
    }

    fn assert_equal(&self) {
        for node in &self.nodes {
            assert_eq!(node.root, self.nodes[0].root);
        }
    }
}

fn count(node: &Node, kind: fn(&Question) -> bool) -> usize {
    node.asked.iter().filter(|question| kind(question)).count()
}

const BRANCHES: fn(&Question) -> bool = |q| matches!(q, Question::Branches(_));
const PAGE: fn(&Question) -> bool = |q| matches!(q, Question::Page(_));
const RECORDS: fn(&Question) -> bool = |q| matches!(q, Question::Records(_));

#[test]
fn equal_catalogues_exchange_their_roots_and_nothing_else() {
    let mut world = World::new(vec![Node::new(1, 0..500), Node::new(2, 0..500)]);
    world.connect(0, 1);
    world.settle();
    for node in &world.nodes {
        assert_eq!(node.asked, [Question::Hello]);
        assert!(node.finished.iter().all(|(_, o)| *o == Outcome::InSync));
    }
}

#[test]
fn one_difference_in_many_costs_a_few_questions() {
    let mut world = World::new(vec![Node::new(1, 0..20_000), Node::new(2, 0..20_001)]);
    world.connect(0, 1);
    world.settle();
    world.assert_equal();
    let node = &world.nodes[0];
    assert!(count(node, BRANCHES) <= 5, "{:?}", node.asked.len());
    assert_eq!(count(node, RECORDS), 1);
    assert_eq!(count(node, PAGE), 0);
    assert_eq!(node.finished.last(), Some(&(peer(1), Outcome::InSync)));
}

#[test]
fn an_empty_catalogue_is_filled_by_pages_from_three_peers_at_once() {
    let full = |seed| Node::new(seed, 0..10_000);
    let mut world = World::new(vec![Node::new(1, []), full(2), full(3), full(4), full(5)]);
    for other in 1..5 {
        world.connect(0, other);
    }
    world.settle();
    world.assert_equal();
    let node = &world.nodes[0];
    // 16 ranges of about 625 records, 512 to a page; every page brings something.
    assert!(count(node, PAGE) <= 16 * 3, "{}", count(node, PAGE));
    assert_eq!(count(node, BRANCHES) + count(node, RECORDS), 0);
}

#[test]
fn who_has_more_lets_the_other_pull() {
    let mut world = World::new(vec![Node::new(1, 0..5_000), Node::new(2, [])]);
    world.connect(0, 1);
    world.run(Duration::from_secs(5));
    world.assert_equal();
    assert_eq!(count(&world.nodes[0], BRANCHES), 0);
    assert_eq!(world.nodes[0].finished.last().unwrap().1, Outcome::InSync);
}

#[test]
fn peers_meet_again_every_minute_and_soon_after_a_change() {
    let mut world = World::new(vec![Node::new(1, 0..10), Node::new(2, 0..10)]);
    world.connect(0, 1);
    world.run(Duration::from_secs(600));
    let greetings = world.nodes[0].asked.len();
    assert!((8..=14).contains(&greetings), "{greetings}");

    let (id, bytes) = envelope(99);
    world.nodes[0].records.insert(id, bytes);
    world.nodes[0].index();
    let own = world.nodes[0].root;
    world.inputs.push_back((0, Input::Own(own)));
    world.run(Duration::from_secs(3));
    world.assert_equal();
}

#[test]
fn a_lost_answer_is_asked_for_again_after_a_pause() {
    let mut world = World::new(vec![Node::new(1, []), Node::new(2, 0..3_000)]);
    world.lose = Box::new(|n| n % 2 == 1 && n < 30);
    world.connect(0, 1);
    world.settle();
    assert_ne!(world.nodes[0].root, world.nodes[1].root);
    world.run(Duration::from_secs(120));
    world.assert_equal();
}

#[test]
fn a_peer_that_never_answers_is_asked_ever_more_rarely() {
    let mut world = World::new(vec![Node::new(1, []), Node::new(2, 0..3_000)]);
    world.lose = Box::new(|_| true);
    world.connect(0, 1);
    world.run(Duration::from_secs(600));
    let asked = world.nodes[0].asked.len();
    assert!((10..=30).contains(&asked), "{asked}");
}

#[test]
fn a_busy_peer_is_asked_again_when_it_says_so() {
    let mut world = World::new(vec![Node::new(1, 0..100), Node::new(2, 0..120)]);
    world.nodes[1].liar =
        |_, question| (*question != Question::Hello).then_some(Response::Busy(200));
    world.connect(0, 1);
    world.run(Duration::from_millis(300));
    world.nodes[1].liar = HONEST;
    world.run(Duration::from_millis(300));
    world.assert_equal();
}

#[test]
fn a_peer_that_goes_away_leaves_nothing_behind() {
    let mut world = World::new(vec![Node::new(1, []), Node::new(2, 0..3_000)]);
    let machine = &mut world.nodes[0].machine;
    let effects = machine.handle(Moment::default(), Input::Connected(peer(1)));
    let Some(Effect::Ask { ticket, .. }) = effects.first() else {
        panic!("a greeting: {effects:?}");
    };
    let root = Node::new(0, 0..3_000).root;
    let response = Response::Hello(hello(root));
    let ticket = *ticket;
    machine.handle(Moment::default(), Input::Answered { ticket, response });
    assert!(!machine.tasks.is_empty());
    machine.handle(Moment::default(), Input::Disconnected(peer(1)));
    assert!(machine.tasks.is_empty() && machine.haul.is_none() && machine.wanted.is_empty());
    world.connect(0, 1);
    world.settle();
    world.assert_equal();
}

/// Each way of lying, the catalogue sizes that make the other ask the question lied about, and what is found.
const LIARS: &[(&str, Liar, Lie)] = &[
    (
        "ids outside the prefix",
        |_, question| match question {
            Question::Branches(prefixes) => {
                let outside = Branch::Bucket(vec![RecordId::from_bytes([0; 32]); 2]);
                Some(Response::Branches(vec![outside; prefixes.len()]))
            }
            _ => None,
        },
        Lie::Misshapen,
    ),
    (
        "fewer branches than asked for",
        |_, question| {
            matches!(question, Question::Branches(_)).then_some(Response::Branches(Vec::new()))
        },
        Lie::Unfitting,
    ),
    (
        "other records",
        |_, question| match question {
            Question::Records(_) => {
                let other = ByteBuf::from(envelope(1 << 40).1.to_vec());
                Some(Response::Records(vec![Some(other)]))
            }
            _ => None,
        },
        Lie::NotAsked,
    ),
    (
        "no envelopes",
        |_, question| match question {
            Question::Records(_) => Some(Response::Records(vec![Some(ByteBuf::from(vec![1]))])),
            _ => None,
        },
        Lie::Invalid,
    ),
    (
        "an answer of another kind",
        |_, question| {
            matches!(question, Question::Records(_)).then_some(Response::Holds(Vec::new()))
        },
        Lie::Unfitting,
    ),
];

#[test]
fn a_lie_ends_the_meeting_and_the_liar_is_left_alone() {
    for (what, liar, lie) in LIARS {
        let mut world = World::new(vec![Node::new(1, 0..200), Node::new(2, 0..260)]);
        world.nodes[1].liar = *liar;
        world.connect(0, 1);
        world.run(Duration::from_secs(300));
        let node = &world.nodes[0];
        let found = (peer(1), Outcome::Lied(*lie));
        assert!(
            node.finished.contains(&found),
            "{what}: {:?}",
            node.finished
        );
        assert!(
            node.asked.len() < 10,
            "{what}: {} questions",
            node.asked.len()
        );
        assert!(
            node.machine.tasks.is_empty() && node.machine.wanted.is_empty(),
            "{what}"
        );
        assert_eq!(node.machine.descents.len(), 0, "{what}");
    }
}

#[test]
fn a_liar_does_not_keep_honest_peers_from_filling_the_catalogue() {
    let full = |seed| Node::new(seed, 0..5_000);
    let mut world = World::new(vec![Node::new(1, []), full(2), full(3)]);
    world.nodes[1].liar = |_, question| match question {
        Question::Page(_) => Some(Response::Page(Page {
            envelopes: vec![ByteBuf::from(envelope(1 << 40).1.to_vec()); 2],
            next: None,
        })),
        _ => None,
    };
    world.connect(0, 1);
    world.connect(0, 2);
    world.run(Duration::from_secs(10));
    assert_eq!(world.nodes[0].root, world.nodes[2].root);
    let found = (peer(1), Outcome::Lied(Lie::NotAsked));
    assert!(world.nodes[0].finished.contains(&found));
}

#[test]
fn a_page_that_leads_backwards_is_a_lie() {
    let mut world = World::new(vec![Node::new(1, []), Node::new(2, 0..9_000)]);
    world.nodes[1].liar = |_, question| match question {
        Question::Page(request) => Some(Response::Page(Page {
            envelopes: Vec::new(),
            next: Some(request.prefix.first()),
        })),
        _ => None,
    };
    world.connect(0, 1);
    world.run(Duration::from_secs(60));
    let found = (peer(1), Outcome::Lied(Lie::NotAsked));
    assert!(world.nodes[0].finished.contains(&found));
    assert!(world.nodes[0].asked.len() < 50);
}

#[test]
fn what_a_machine_asks_keeps_the_bounds_of_the_wire() {
    let mut world = World::new(vec![Node::new(1, 0..30_000), Node::new(2, 29_000..60_000)]);
    world.connect(0, 1);
    world.run(Duration::from_secs(10));
    world.assert_equal();
    for question in world.nodes.iter().flat_map(|node| &node.asked) {
        let request = match question.clone() {
            Question::Hello => continue,
            Question::Branches(prefixes) => Request::Branches(prefixes),
            Question::Page(page) => Request::Page(page),
            Question::Records(ids) => Request::Records(ids),
        };
        assert_eq!(Request::decode(&request.encode()).unwrap(), request);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_catalogues_in_a_row_converge_to_their_union(
        sets in prop::collection::vec((0u64..2_000, 0u64..900), 2..5),
        seed: u64,
        lossy: bool,
    ) {
        let nodes: Vec<_> = sets
            .iter()
            .zip(0..)
            .map(|((from, count), n)| Node::new(seed ^ n, *from..from + count))
            .collect();
        let union: BTreeMap<_, _> = nodes.iter().flat_map(|node| node.records.clone()).collect();
        let mut world = World::new(nodes);
        if lossy {
            world.lose = Box::new(move |n| hash::derive("loss", &[&seed.to_be_bytes(), &n.to_be_bytes()])[0] < 40);
        }
        for at in 1..world.nodes.len() {
            world.connect(at - 1, at);
        }
        world.run(Duration::from_secs(400));
        for node in &world.nodes {
            prop_assert_eq!(node.records.len(), union.len());
            prop_assert!(node.machine.wanted.is_empty());
        }
    }
}

#[test]
fn what_changes_while_a_greeting_is_under_way_is_told_soon() {
    let (before, after) = (Node::new(1, 0..1).root, Node::new(1, 0..2).root);
    let mut machine = Reconciler::new(before, 1);
    let now = Moment::default();
    let asked = machine.handle(now, Input::Connected(peer(1)));
    let [Effect::Ask { ticket, .. }] = asked[..] else {
        panic!("{asked:?}");
    };
    machine.handle(now, Input::Own(after));
    let response = Response::Hello(hello(Root::default()));
    let effects = machine.handle(now, Input::Answered { ticket, response });
    let wake_at = effects.iter().find_map(|effect| match effect {
        Effect::WakeAt(at) => Some(*at),
        _ => None,
    });
    assert!(wake_at.unwrap() <= now + SETTLE * 2, "{effects:?}");
}
