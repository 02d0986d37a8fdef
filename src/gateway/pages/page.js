// What the pages do beyond being read: search while typing, copy, availability, live changes.
// Text from elsewhere is only ever put in as text.
"use strict";
{
  const get = (id) => document.getElementById(id);
  const make = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const seg = encodeURIComponent;
  const short = (id) => (id.length > 16 ? `${id.slice(0, 9)}…${id.slice(-4)}` : id);

  // The same drawing as the node makes of an owner's id.
  const mark = (id) => {
    const values = Array.from(id).slice(3).map((c) => c.codePointAt(0));
    const at = (n) => (values.length ? values[n % values.length] : 0);
    const hue = (at(0) + at(1) + at(2) + at(3)) % 6;
    let path = "";
    for (let column = 0; column < 3; column += 1) {
      for (let row = 0; row < 5; row += 1) {
        if (at(4 + column * 5 + row) % 2) continue;
        for (const x of new Set([column, 4 - column])) path += `M${x} ${row}h1v1h-1z`;
      }
    }
    const space = "http://www.w3.org/2000/svg";
    const drawn = document.createElementNS(space, "svg");
    drawn.setAttribute("class", `mark hue${hue}`);
    drawn.setAttribute("viewBox", "0 0 5 5");
    drawn.setAttribute("aria-hidden", "true");
    const cells = document.createElementNS(space, "path");
    cells.setAttribute("d", path);
    drawn.append(cells);
    return drawn;
  };

  // Search while typing.
  const field = get("q");
  const results = get("results");
  if (field && results) {
    const classes = { own: "good", pinned: "good", trusted: "good", "partly trusted": "fair", distrusted: "bad", blocked: "bad" };
    const limit = 20;
    let waiting;
    let asking;
    let shown = field.value;
    const show = (hit) => {
      const href = `/packages/${seg(hit.owner)}/${seg(hit.name)}`;
      const by = make("p", { class: "by" }, mark(hit.owner), make("a", { href: `/owners/${seg(hit.owner)}` }, hit.label || short(hit.owner)));
      if (hit.badge) by.append(make("span", { class: `badge ${classes[hit.badge] || "none"}` }, hit.badge));
      const item = make("li", { class: "item whose" }, make("h3", {}, make("a", { href }, hit.name), " ", make("span", { class: "version" }, hit.version)));
      if (hit.description) item.append(make("p", {}, make("bdi", {}, hit.description)));
      item.append(by);
      return item;
    };
    const ask = async () => {
      const words = field.value;
      if (words === shown) return;
      asking?.abort();
      const own = new AbortController();
      asking = own;
      try {
        const answer = await fetch(`/api/v1/search?q=${seg(words)}&limit=${limit}`, { signal: own.signal });
        const found = await answer.json();
        if (own.signal.aborted) return;
        if (!answer.ok) throw new Error(found.detail);
        shown = words;
        results.start = 1;
        results.replaceChildren(...found.hits.map(show));
        get("none")?.remove();
        get("recent")?.remove();
        get("pager")?.remove();
        get("found").hidden = false;
        const more = found.total > limit ? `, the best ${limit} of them here` : "";
        get("said").textContent = found.total === 0 ? "Nothing found. Try fewer or other words." : found.total === 1 ? "1 package" : `${found.total} packages${more}`;
        history.replaceState(null, "", `/search?q=${seg(words)}`);
      } catch (error) {
        if (!own.signal.aborted) get("said").textContent = `The search failed: ${error.message}. Is the node still running?`;
      }
    };
    field.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(ask, 120);
    });
    // A page that the browser brings back may have words that were typed before.
    ask();
  }

  // Copy.
  for (const block of document.querySelectorAll(".copied")) {
    if (!navigator.clipboard) break;
    const button = make("button", { type: "button" }, "Copy");
    button.setAttribute("aria-describedby", block.dataset.label);
    const said = make("span", { class: "unseen", role: "status" });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.querySelector("code").textContent);
        button.textContent = "Copied";
        said.textContent = "Copied";
      } catch {
        button.textContent = "Select it";
        getSelection().selectAllChildren(block.querySelector("code"));
      }
      setTimeout(() => {
        button.textContent = "Copy";
        said.textContent = "";
      }, 2000);
    });
    block.append(button, said);
  }

  // How many peers hold an archive.
  const place = get("availability");
  if (place) {
    place.textContent = "Asking peers who holds it …";
    fetch(place.dataset.url)
      .then(async (answer) => [answer.ok, await answer.json()])
      .then(([ok, found]) => {
        if (!ok) throw new Error(found.detail);
        place.textContent = availability(found);
      })
      .catch(() => {
        place.textContent = "Who else holds it could not be found out just now.";
      });
  }
  function availability(found) {
    if (found.peers === 0) return "No peer is connected who could hold it, too.";
    if (found.answered === 0) return "No connected peer answered in time.";
    if (found.answered === 1) return found.holding ? "The one peer that answered holds it." : "The one peer that answered does not hold it.";
    return `${found.holding} of the ${found.answered} peers that answered ${found.holding === 1 ? "holds" : "hold"} it.`;
  }

  // What comes, while it comes.
  const feed = get("feed");
  if (feed && window.EventSource) {
    const rows = 100;
    const live = get("live");
    let position = Number(feed.dataset.position);
    const words = {
      publish: "published",
      state: "changed the state of",
      genesis: "founded a namespace",
      acl: "changed who may publish",
      endorse: "said whom it trusts",
      gone: "made room",
    };
    const state = (word, kind) => {
      if (!live.hidden && live.textContent === word) return;
      live.hidden = false;
      live.textContent = word;
      live.className = `badge ${kind}`;
    };
    // The page as the node makes it now: numbers, peers, and what came while the stream was away.
    const refresh = async () => {
      const answer = await fetch("/swarm", { headers: { accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const from = fresh.getElementById("feed");
      if (!answer.ok || !from) throw new Error("the node did not answer");
      for (const id of ["caught-up", "numbers", "peer-list"]) get(id).replaceChildren(...fresh.getElementById(id).childNodes);
      if (source.readyState === EventSource.OPEN) state("live", "good");
      if (Number(from.dataset.position) <= position) return;
      position = Number(from.dataset.position);
      feed.replaceChildren(...from.children);
      get("feed-empty")?.remove();
    };
    // Soon, and once for all that happens until then.
    let due;
    const refreshSoon = (wait) => {
      due ??= setTimeout(() => {
        due = undefined;
        refresh().catch(() => state("not connected", "fair"));
      }, wait);
    };
    setInterval(() => document.hidden || refreshSoon(0), 10_000);
    const source = new EventSource("/api/v1/events");
    source.addEventListener("open", () => {
      state("live", "good");
      refreshSoon(0);
    });
    source.addEventListener("lost", () => refreshSoon(0));
    source.addEventListener("error", () => state("not connected", "fair"));
    source.addEventListener("record", (event) => {
      const record = JSON.parse(event.data);
      if (!(record.position > position)) return;
      position = record.position;
      const line = make("span", {});
      // The page may know what the owner is called.
      const known = Array.from(feed.querySelectorAll("b")).find((one) => one.title === record.owner);
      if (record.owner) line.append(make("b", { title: record.owner }, known ? known.textContent : short(record.owner)), " ");
      line.append(words[record.kind] || "wrote something newer than this node");
      if (record.name && record.owner) line.append(" ", make("a", { href: `/packages/${seg(record.owner)}/${seg(record.name)}` }, record.name));
      if (record.version) line.append(" ", make("span", { class: "version" }, record.version));
      feed.prepend(make("li", { class: "fresh" }, make("span", { class: "position" }, String(record.position)), " ", line));
      while (feed.children.length > rows) feed.lastElementChild.remove();
      get("feed-empty")?.remove();
      refreshSoon(1000);
    });
    source.addEventListener("peer", () => refreshSoon(300));
  }
}
