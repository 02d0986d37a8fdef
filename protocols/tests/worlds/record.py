#!/usr/bin/env python3
"""Records worlds, and what they mean by the executable model of the rules, for `worlds.rs`.

Run: python3 record.py PATH/TO/trust_model.py FOLDER     (writes namespaces.txt, trust.txt, views.txt; same bytes each time)

namespaces.txt has one word-separated line for each record, blocks of worlds that share their first records:
  B NAME                                    a block begins: no records, no keys
  i KEY                                     record: the implicit genesis of a bare key, which is never sent
  g DOC                                     record: genesis, signed by its root
  a KEY SEQ PARENT DOC                      record: acl
  p KEY SEQ PREV TIME NAME VERSION CONTENT  record: publish
  s KEY SEQ PREV TIME NAME VERSION REV Y|N  record: state, yanked or not
  e KEY SEQ PREV TIME SUBJECT REV LEVEL DEPTH   record: endorse
  v NAME ALL|I,I,..                         another world of the block: all first records or these, and those that follow
  = STATUS SLOTS STATES ENDORSE FORKED      what the world means that stands here
Keys are numbers; so are records, by their place in the block (those of a `v` come after the first ones, and are
forgotten at its `=`). `-` is nothing or an empty list. DOC is ROOT;RECOVERY KEY;KEY:SCOPE+..,..;KEY@RECORD,..;MARK.
STATUS is u, or a, f or d and the document. SLOTS are NAME@VERSION=RECORD for the content of that record, or !N for N
contents; STATES NAME@VERSION=Y|N; ENDORSE SUBJECT=LEVEL:DEPTH; FORKED keys.
trust.txt:  ANCHOR:WEIGHT:DEPTH,.. ISSUER>SUBJECT:LEVEL:DEPTH,.. BLOCKED,.. OWNER:SCORE,..
views.txt:  CLAIMANT,.. PIN OWN,.. OWNER:SCORE,.. OWNER=WHY|contested|none
"""
import importlib.util, os, random, sys

spec = importlib.util.spec_from_file_location("model", sys.argv[1])
M = importlib.util.module_from_spec(spec)
sys.modules["model"] = M
spec.loader.exec_module(M)
Rec, doc, acl, commit = M.Rec, M.doc, M.acl, M.commit


def fit(r):
    """The model ignores places in feeds; the grammar does not: only the first record has no previous one."""
    if r.kind not in ("publish", "state", "endorse"):
        return r
    seq = 1 if r.prev is None else max(2, r.seq)
    return Rec((r.kind, r.ns, r.key, seq, r.prev, r.time, r.body))


class Block:
    def __init__(self, out, name, ns, first, implicit=False):
        self.out, self.ns, self.keys, self.worlds = out, ns, {}, 0
        self.commits = {commit(k): k for k in KEYS}
        out.append("B " + name)
        self.first, self.index = [], {}
        for r in first:
            self.add(r, self.first, implicit and r.kind == "genesis")
        self.expect(self.first)

    def key(self, k):
        return str(self.keys.setdefault(k, len(self.keys)))

    def ref(self, rid):
        return "-" if rid is None else str(self.index[rid])

    def doc(self, d):
        recovery = "-" if d[2] is None else self.key(self.commits[d[2]])
        pubs = ",".join("%s:%s" % (self.key(k), "+".join(sc)) for k, sc in d[3]) or "-"
        retired = ",".join("%s@%s" % (self.key(k), self.ref(h)) for k, h in d[4]) or "-"
        return ";".join([self.key(d[1]), recovery, pubs, retired, str(d[5])])

    def add(self, r, world, implicit=False):
        if r.rid in self.index:
            return
        k = self.key(r.key)
        if implicit:
            line = "i " + k
        elif r.kind == "genesis":
            line = "g " + self.doc(r.body)
        elif r.kind == "acl":
            line = "a %s %d %s %s" % (k, r.seq, self.ref(r.prev), self.doc(r.body))
        else:
            b = list(r.body)
            if r.kind == "state":
                b[3] = "Y" if b[3] else "N"
            line = " ".join([r.kind[0], k, str(r.seq), self.ref(r.prev), str(r.time)] + [str(x) for x in b])
        self.out.append(line)
        self.index[r.rid] = len(self.index)
        world.append(r)

    def variant(self, name, extra, only=None):
        """A world of the first records, or of some, and of `extra`. The extra ones are forgotten afterwards."""
        known = dict(self.index)
        base = self.first if only is None else only
        places = "ALL" if only is None else ",".join(self.ref(r.rid) for r in only)
        self.out.append("v %s %s" % (name, places))
        world = list(base)
        have = {r.rid for r in world}
        for r in extra:
            if r.rid in have:
                continue
            assert r.rid not in known, "a first record that was left out came back"
            self.add(r, world)
            have.add(r.rid)
        self.expect(world)
        self.index = known

    def expect(self, recs):
        self.worlds += 1
        m = M.resolve_ns(self.ns, recs)
        st, what = M.resolve_acl(self.ns, recs)
        if st == "unknown":
            status = "u"
        elif st == "active":
            holders = [r for r in recs if r.kind in ("genesis", "acl") and r.body is what]
            assert len(holders) == 1, "one record holds each document object"
            status = "a" + self.ref(holders[0].rid)
        else:
            status = st[0] + self.ref(what)
        slots = []
        for (n, v), c in sorted(m["slots"].items()):
            if c[0] == "ok":
                at = next(r for r in recs if r.kind == "publish" and tuple(r.body) == c[1])
                slots.append("%s@%s=%s" % (n, v, self.ref(at.rid)))
            else:
                slots.append("%s@%s!%d" % (n, v, c[1]))
        states = ["%s@%s=%s" % (n, v, "Y" if y else "N") for (n, v), y in sorted(m["states"].items())]
        endorse = ["%s=%d:%d" % (s, l, d) for s, (l, d) in sorted(m["endorse"].items())]
        forked = sorted(self.key(k) for k in m["forked"])
        lists = [",".join(x) or "-" for x in (slots, states, endorse, forked)]
        self.out.append(" ".join(["=", status] + lists))


KEYS = ["root%d" % i for i in range(3)] + ["rootN", "rootB", "rec0", "rec1", "rec2", "evil", "thief", "t", "k"]
NAMES = ["Foo_x", "foo-x", "bar"]
VERSIONS = ["1.0.0", "1.0.0+b", "1.1.0"]


def as_the_model_runs(R, out, n):
    """A world of the model's own generator, and with each of the adversaries of its `run`."""
    ns, g, docs, feeds, recs, root, recov, pubs = M.rnd_world(R)
    # The model makes equal documents twice; here each object stands for one record.
    seen, unique = set(), []
    for r in recs:
        if r.rid not in seen:
            seen.add(r.rid)
            unique.append(r)
    recs, docs = unique, [r for r in unique if r.kind in ("genesis", "acl")]
    block = Block(out, "run%d" % n, ns, recs)
    evil = []
    for _ in range(R.randint(1, 8)):
        p, c = R.choice(docs), R.random()
        if c < .4:
            evil.append(acl(ns, p, "evil", doc("acme", "evil", R.choice([p.body[2], commit("evil")]), [("evil", ("*",))])))
        elif c < .7:
            evil.append(fit(Rec(("publish", ns, "evil", 1, R.choice(recs).rid, 0, ("bar", "1.0.0", "E")))))
        else:
            evil.append(fit(Rec(("state", ns, "evil", 1, None, 0, ("bar", "1.0.0", 10**9, True)))))
    block.variant("outsiders", evil)
    tips = [(x, feeds[x][-1].rid) for x in pubs if feeds[x]]
    newdoc = lambda: doc("acme", "rootN", commit("rec1"), [("pN", ("*",))], tips)
    rec = acl(ns, g, recov, newdoc())
    thief, extra = list(docs), []
    for _ in range(R.randint(1, 6)):
        q = R.choice(thief)
        a = acl(ns, q, q.body[1], doc("acme", R.choice(["thief", q.body[1]]), q.body[2], [("thief", ("*",))], (), R.randint(0, 9)))
        if a.rid in {r.rid for r in thief}:
            continue
        thief.append(a)
        extra.append(a)
    stolen_name = Rec(("publish", ns, "thief", 1, None, 0, ("bar", "1.0.0", "T")))
    block.variant("thief", extra + ([stolen_name] if extra else []))
    block.variant("thief-recovered", extra + [rec])
    q = R.choice(docs)
    block.variant("commitment-swapped", [acl(ns, q, q.body[1], doc("acme", q.body[1], commit("thief"), [("thief", ("*",))]))])
    again = acl(ns, g, recov, doc("acme", "thief", commit("t"), [("thief", ("*",))]))
    block.variant("recovery-twice", [rec, again])
    block.variant("recovery", [rec])
    stolen = []
    for x in pubs:
        for _ in range(3):
            pv = R.choice([None] + [r.rid for r in feeds[x]])
            stolen.append(fit(Rec(("publish", ns, x, R.randint(1, 9), pv, 0, ("bar", R.choice(["1.0.0", "9.9.9"]), "S")))))
    block.variant("retired-stolen", [rec] + stolen)
    ev = Rec(("publish", ns, "evil", 1, None, 0, ("bar", "6.6.6", "E")))
    k0 = pubs[0]
    tip = Rec(("publish", ns, k0, 2, ev.rid, 0, ("bar", "7.0.0", "A")))
    d2 = acl(ns, g, recov, doc("acme", "rootN", commit("rec1"), [("pN", ("*",))], [(k0, tip.rid)]))
    block.variant("smuggling", [ev, tip, d2])
    # The same where the outsider's records are held, because a document names its key.
    listed = acl(ns, g, root, doc("acme", root, g.body[2], [("evil", ("baz",))], (), 77))
    block.variant("smuggling-listed", [listed, ev, tip, d2])
    a1 = acl(ns, g, root, doc("acme", "rootB", g.body[2], [("pB", ("*",))]))
    grind = [acl(ns, g, root, doc("acme", "thief", g.body[2], [("thief", ("*",))], (), j)) for j in range(R.randint(1, 8))]
    block.variant("grinding", [a1] + grind, [g])
    plain = acl(ns, g, recov, doc("acme", "rootN", commit("rec1"), [("pN", ("*",))]))
    block.variant("grinding-recovered", [a1] + grind + [plain], [g])
    more = [Rec(("publish", ns, R.choice(pubs), 1, None, 50 + i, ("bar", R.choice(["1.0.0", "1.1.0"]), R.choice("ABC")))) for i in range(3)]
    block.variant("extra-publishes", more)
    return block.worlds


def item(R, subjects):
    c = R.random()
    if c < .5:
        return "publish", (R.choice(NAMES), R.choice(VERSIONS), R.choice("AB"))
    if c < .7:
        return "state", (R.choice(["foo-x", "bar"]), R.choice(["1.0.0", "1.1.0"]), R.randint(1, 3), R.random() < .5)
    return "endorse", (R.choice(subjects), R.randint(1, 2), R.randint(0, 3), R.randint(0, 3))


def wide(R, out, n, implicit):
    """A world with everything at once: documents of all signers hang off all documents, feeds fork, keys are narrowed."""
    pubs = ["p%d" % i for i in range(R.randint(1, 3))]
    if implicit:
        g = M.implicit_genesis("k")
        pubs[0] = "k"
    else:
        g = M.genesis(doc("acme", "root0", R.choice([commit("rec0")] * 3 + [None]), [(p, ("*",)) for p in pubs]))
    ns, recs, docs, feeds = g.rid, [g], [g], {}
    for p in pubs:
        feed = feeds[p] = []
        for i in range(R.randint(0, 6)):
            prev = feed[-1] if feed and R.random() < .85 else (R.choice(feed) if feed and R.random() < .7 else None)
            kind, body = item(R, ["1", "2"])
            feed.append(Rec((kind, ns, p, prev.seq + 1 if prev else 1, prev.rid if prev else None, i, body)))
        recs += feed
    tidy = R.choice([.95, .7, .3])
    for i in range(R.choice([0, 1, 1, 1, 2, 2, 3, 5, 8])):
        # Mostly after the newest document, so that some worlds stay active.
        p = docs[-1] if R.random() < tidy else R.choice([g, R.choice(docs)])
        c = R.random()
        signer, recovery = p.body[1], p.body[2]
        if c > .7:
            committed = {commit(k): k for k in KEYS}.get(p.body[2], "rec0")
            signer, recovery = R.choice([committed, committed, "rec0", "rec1"]), R.choice([commit("rec1"), commit("rec2"), p.body[2], None])
        elif c > .63:
            signer = R.choice(["evil", "root0", "root1"])
        elif c > .58:
            recovery = R.choice([None, commit("thief")])
        retired = {(x, R.choice(feeds[x]).rid) for x in pubs for _ in range(2) if feeds[x] and R.random() < .3}
        scopes = lambda: R.choice([("*",)] * 4 + [("bar",), ("foo-x",), ("bar", "foo-x")])
        d = doc("acme", R.choice([p.body[1]] * 3 + ["root1", "root2"]), recovery, [(x, scopes()) for x in pubs if R.random() < .7], retired, i)
        a = acl(ns, p, signer, d)
        if R.random() < .04:
            a = Rec((a[0], a[1], a[2], a[3] + 1, a[4], a[5], a[6]))
        docs.append(a)
        recs.append(a)
    name = "bare" if implicit else "wide"
    return Block(out, "%s%d" % (name, n), ns, recs, implicit).worlds


def commas(items):
    return ",".join(items) or "-"


def trust_world(R):
    owners = [str(i) for i in range(R.randint(3, 14))]
    anchors = {a: (R.choice([1, 3]), R.randint(0, 4)) for a in R.sample(owners, R.randint(1, min(5, len(owners))))}
    density = R.choice([.1, .3, .6])
    level = lambda: R.choice([0, 1, 2, 2, 3, 3, 3])
    E = {}
    for u in owners:
        for v in owners:
            if u != v and R.random() < density:
                E.setdefault(u, {})[v] = (level(), R.randint(0, 3))
    blocked = frozenset(o for o in owners if R.random() < R.choice([0, 0, .1]))
    scores = {o: s for o, s in M.trust(anchors, E, blocked).items() if s}
    return " ".join([
        commas("%s:%d:%d" % (a, w, d) for a, (w, d) in anchors.items()),
        commas("%s>%s:%d:%d" % (u, v, l, d) for u, m in E.items() for v, (l, d) in m.items()),
        commas(sorted(blocked)),
        commas("%s:%d" % x for x in sorted(scores.items()))])


def view_world(R):
    owners = list(range(R.randint(1, 9)))
    some = lambda p: {o for o in owners if R.random() < p}
    claims, own = some(R.choice([0, .2, .5, 1])), some(R.choice([0, .15, .4]))
    pin = R.choice([None, None, R.choice(owners)])
    scores = {o: R.randint(1, 3) for o in some(R.choice([0, .3, .8]))}
    answer = M.resolve_name(claims, pin, scores, own)
    word = "%d=%s" % answer[1:] if answer[0] == "ok" else answer[0]
    return " ".join([
        commas(map(str, sorted(claims))), "-" if pin is None else str(pin), commas(map(str, sorted(own))),
        commas("%d:%d" % x for x in sorted(scores.items())), word])


def main():
    M.examples()
    R, out, worlds = random.Random(2026), [], 0
    for n in range(600):
        worlds += as_the_model_runs(R, out, n)
    for n in range(2600):
        worlds += wide(R, out, n, False)
    for n in range(400):
        worlds += wide(R, out, n, True)
    files = {
        "namespaces.txt": out,
        "trust.txt": [trust_world(R) for _ in range(1500)],
        "views.txt": [view_world(R) for _ in range(1500)],
    }
    for name, lines in files.items():
        with open(os.path.join(sys.argv[2], name), "w") as f:
            f.write("\n".join(lines) + "\n")
    print(worlds, "namespaces,", sum(len(l) + 1 for ls in files.values() for l in ls), "bytes")


main()
