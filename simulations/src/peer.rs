//! One peer: a set of records, the real reconciler, and answers to what others ask; or lies.

use std::collections::BTreeMap;

use bytes::Bytes;
use ggen_protocols::Moment;
use ggen_protocols::id::{NetworkId, PublicKey, RecordId};
use ggen_protocols::limits;
use ggen_protocols::message::{Page, PageRequest, Response};
use ggen_protocols::reconcile::fingerprint::{Branch, FAN, Prefix, Root, branch_of};
use ggen_protocols::reconcile::{Expected, Found, Lie, Lookup, Question, Reconciler, Taken};
use ggen_protocols::record::CheckSignature;

/// Stands for Ed25519: whoever knows a key's bytes can sign, which nobody but the world's publishers does.
#[derive(Debug, Clone, Copy)]
pub struct KeyedHash;

impl KeyedHash {
    /// The signature of `key` over `message`.
    pub fn sign(key: &PublicKey, message: &[u8]) -> [u8; 64] {
        use ggen_protocols::hash::ContentHash;
        let inner = ContentHash::blake3([key.as_bytes(), message].concat());
        let outer = ContentHash::blake3([inner.as_bytes().as_slice(), b"again"].concat());
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(inner.as_bytes());
        signature[32..].copy_from_slice(outer.as_bytes());
        signature
    }
}

impl CheckSignature for KeyedHash {
    fn check(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        Self::sign(key, message) == *signature
    }
}

/// One peer. What it stored survives a crash; the reconciler does not.
#[derive(Debug)]
pub struct Peer {
    /// Its records, by id.
    pub records: BTreeMap<RecordId, Bytes>,
    /// Its decisions, while it is up.
    pub reconciler: Option<Reconciler>,
    /// Counts its starts: what was meant for an earlier life is lost.
    pub life: u64,
    /// When it asked to be woken, so that an older wish is not carried out.
    pub wake_at: Option<Moment>,
    ids: Vec<RecordId>,
    /// The roots of the sixteen subtrees, as far as nothing was stored there since they were computed.
    children: [Option<Root>; FAN],
}

impl Peer {
    /// A peer that is not up yet.
    pub fn new(records: BTreeMap<RecordId, Bytes>) -> Self {
        let ids = records.keys().copied().collect();
        Self {
            records,
            reconciler: None,
            life: 0,
            wake_at: None,
            ids,
            children: [None; FAN],
        }
    }

    /// Starts it.
    pub fn start(&mut self, seed: u64) {
        self.life += 1;
        self.wake_at = None;
        let root = self.root();
        self.reconciler = Some(Reconciler::new(root, seed));
    }

    /// Stops it at once.
    pub fn crash(&mut self) {
        self.reconciler = None;
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.reconciler.is_some()
    }

    /// The root over its records.
    pub fn root(&mut self) -> Root {
        if self.ids.len() <= limits::BUCKET_IDS_MAX {
            return branch_of(Prefix::ROOT, &self.ids).root();
        }
        let children = std::array::from_fn(|nibble| {
            let Some(child) = Prefix::ROOT.child(nibble) else {
                return Root::default();
            };
            let ids = below(&self.ids, &child);
            *self.children[nibble].get_or_insert_with(|| branch_of(child, ids).root())
        });
        Root::of_children(&children)
    }

    /// Stores a record that was checked; whether it is new.
    pub fn store(&mut self, id: RecordId, envelope: Bytes) -> bool {
        if self.records.insert(id, envelope).is_some() {
            return false;
        }
        let at = self.ids.partition_point(|known| *known < id);
        self.ids.insert(at, id);
        self.children[Prefix::ROOT.nibble_of(&id)] = None;
        true
    }

    /// Checks the envelopes of an answer as a node does, and stores those that are good; tells which are new.
    ///
    /// # Errors
    /// [`Lie`] if no honest peer answers so.
    pub fn admit(
        &mut self,
        network: NetworkId,
        expected: &Expected,
        envelopes: Vec<Bytes>,
    ) -> Result<(Vec<RecordId>, Taken), Lie> {
        let mut new = Vec::new();
        let mut refused = 0;
        for (id, signed) in expected.check(network, envelopes)? {
            match signed.verify(&KeyedHash, network) {
                Ok(record) if self.store(id, record.envelope().clone()) => new.push(id),
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        }
        let taken = Taken {
            new: new.len(),
            refused,
        };
        Ok((new, taken))
    }

    /// Looks something up for its own reconciler.
    pub fn look_up(&self, lookup: &Lookup) -> Found {
        match lookup {
            Lookup::Branches(prefixes) => Found::Branches(self.branches(prefixes)),
            Lookup::Known(ids) => {
                Found::Known(ids.iter().map(|id| self.records.contains_key(id)).collect())
            }
        }
    }

    /// Answers a question truthfully. `None` for a greeting, which the caller answers.
    pub fn answer(&self, question: &Question) -> Option<Response> {
        match question {
            Question::Hello => None,
            Question::Branches(prefixes) => Some(Response::Branches(self.branches(prefixes))),
            Question::Page(request) => Some(Response::Page(self.page(request))),
            Question::Records(ids) => Some(Response::Records(self.answer_records(ids))),
        }
    }

    fn branches(&self, prefixes: &[Prefix]) -> Vec<Branch> {
        prefixes
            .iter()
            .map(|prefix| branch_of(*prefix, below(&self.ids, prefix)))
            .collect()
    }

    fn page(&self, request: &PageRequest) -> Page {
        let first = request.prefix.first();
        let held = self.records.range(first..=request.prefix.last());
        let after = held.filter(|(id, _)| request.after.is_none_or(|after| **id > after));
        let mut page = Page {
            envelopes: Vec::new(),
            next: None,
        };
        let mut last = None;
        let mut bytes = 0;
        for (id, envelope) in after {
            bytes += envelope.len();
            let full = page.envelopes.len() == limits::ANSWER_RECORDS_MAX
                || bytes > limits::ANSWER_BYTES_MAX;
            if full && last.is_some() {
                page.next = last;
                break;
            }
            page.envelopes.push(serde_bytes(envelope));
            last = Some(*id);
        }
        page
    }

    fn answer_records(&self, ids: &[RecordId]) -> Vec<Option<serde_bytes::ByteBuf>> {
        ids.iter()
            .map(|id| self.records.get(id).map(serde_bytes))
            .collect()
    }
}

/// Those of the sorted `ids` that lie below `prefix`.
fn below<'a>(ids: &'a [RecordId], prefix: &Prefix) -> &'a [RecordId] {
    let from = ids.partition_point(|id| *id < prefix.first());
    let to = ids.partition_point(|id| *id <= prefix.last());
    &ids[from..to]
}

fn serde_bytes(envelope: &Bytes) -> serde_bytes::ByteBuf {
    serde_bytes::ByteBuf::from(envelope.to_vec())
}

/// Makes a wrong answer out of a right one, in one of several ways.
pub fn lie(response: Response, way: u64) -> Response {
    match response {
        Response::Hello(mut hello) => {
            hello.root.count += 1 + way % 2000;
            hello.root.hash[0] ^= 1 + (way % 255) as u8;
            Response::Hello(hello)
        }
        Response::Branches(branches) => {
            Response::Branches(branches.into_iter().map(|b| lie_branch(b, way)).collect())
        }
        Response::Page(mut page) => {
            match way % 5 {
                0 => page
                    .envelopes
                    .iter_mut()
                    .for_each(|envelope| spoil(envelope, way)),
                1 => page.envelopes.reverse(),
                2 => page.next = Some(RecordId::from_bytes([0; 32])),
                3 => page.envelopes.clear(),
                _ => return Response::Busy(way % 100_000),
            }
            Response::Page(page)
        }
        Response::Records(mut records) => {
            match way % 4 {
                0 => records
                    .iter_mut()
                    .flatten()
                    .for_each(|envelope| spoil(envelope, way)),
                1 => records.rotate_left(1),
                2 => records.iter_mut().for_each(|record| *record = None),
                _ => records.clear(),
            }
            Response::Records(records)
        }
        other => other,
    }
}

fn lie_branch(branch: Branch, way: u64) -> Branch {
    match branch {
        Branch::Bucket(mut ids) => {
            match way % 3 {
                0 => ids.reverse(),
                1 => ids.push(RecordId::from_bytes([(way % 256) as u8; 32])),
                _ => ids.iter_mut().for_each(|id| {
                    let mut bytes = *id.as_bytes();
                    bytes[31] ^= 1;
                    *id = RecordId::from_bytes(bytes);
                }),
            }
            Branch::Bucket(ids)
        }
        Branch::Inner(mut children) => {
            let child = &mut children[(way % 16) as usize];
            child.hash[3] ^= 0x80;
            child.count += way % 3;
            Branch::Inner(children)
        }
    }
}

/// Flips one bit: of the signature, which the id does not cover, or anywhere.
fn spoil(envelope: &mut serde_bytes::ByteBuf, way: u64) {
    let len = envelope.len().max(1);
    let at = match way % 2 {
        0 => len - 1,
        _ => (way as usize) % len,
    };
    if let Some(byte) = envelope.get_mut(at) {
        *byte ^= 1 << (way % 8);
    }
}
