// The pages in headless Chromium, on real nodes: what they do with scripts and without, that nothing of strangers
// runs, that they can be used by everybody (axe), and how they look (screenshots). Called by run.sh.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { assertFits, assertHarmless, assertUsable, poke } from "./checks.mjs";
import { Swarm, pack, quoted } from "./nodes.mjs";

const [program, chromium, modules, shots] = process.argv.slice(2);
const require = createRequire(resolve(modules, "x.js"));
const puppeteer = require("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const DEADLINE_MS = 60_000;
const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 390, height: 844 };
// The narrowest that accessible pages must bear: WCAG 2.2, 1.4.10.
const TINY = { width: 320, height: 640 };

const HOSTILE = `# A friendly tool

<script>window.canary = "script"</script>
<img src="x" onerror="window.canary = 'image'">
<svg onload="window.canary = 'svg'"><script>window.canary = "svg script"</script></svg>
<iframe srcdoc="<script>parent.canary = 'frame'</script>"></iframe>
<details open ontoggle="window.canary = 'toggle'"><summary>More</summary>Text</details>
<a id="trap" href="javascript:window.canary='link'">Click me</a> [and me](javascript:window.canary='markdown')
<form action="/search"><input name="q" autofocus onfocus="window.canary = 'focus'"></form>
<style>body { display: none }</style>
<p style="position:fixed;inset:0;background:red" onclick="window.canary = 'click'">cover</p>
<p id="q" class="note bad" title="a title">named</p><a name="feed" href="//evil.example/">named, too</a>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.canary='mxss'&gt;">
<base href="https://evil.example/"><meta http-equiv="refresh" content="0;url=https://evil.example/">
`;

const README = `# acme-http

A small **client** for the rest of the *acme* tools. It does one thing, and says what went wrong when it does not.

[![build](https://ci.example/badge.svg)](https://ci.example/acme)

## Use

\`\`\`rust
let answer = acme_http::get("https://example.org")?;
println!("{}", answer.status());
\`\`\`

| setting | default | meaning |
|---|---:|---|
| \`timeout\` | 30 s | how long an answer may take |
| \`retries\` | 3 | how often a request is tried again |

> Nothing is retried that changes something.

More in [the guide](docs/guide.md), [the licence](LICENSE) and ![a picture of it](docs/picture.png).

1. Add it.
2. Call \`get\`.
   - over TLS where the address says so
   - otherwise in the clear

See [the documentation](https://docs.example/acme-http).
`;

// As long as names, versions and words may be, without a place to break a line.
const LONG = {
  name: `a-name-that-is-as-long-as-any-may-be-${"x".repeat(27)}`,
  version: "10.200.3000-alpha.20260101000000.deadbeefdeadbeefdeadbeef",
  words: "Donaudampfschifffahrtsgesellschaftskapitaen".repeat(5),
};
const LONG_README = `# ${LONG.words}

${LONG.words} and \`${LONG.words}\` and https://docs.example/${LONG.words}

\`\`\`
${LONG.words}
\`\`\`

| ${LONG.words} | b |
|---|---|
| 1 | ${LONG.words} |

> - 1. > - ${LONG.words}
`;

// Waits until a condition holds.
async function until(what, condition) {
  const deadline = Date.now() + DEADLINE_MS;
  while (Date.now() < deadline) {
    if (await condition()) return;
    await new Promise((next) => setTimeout(next, 50));
  }
  throw new Error(`in ${DEADLINE_MS} ms it did not happen that ${what}`);
}

// Everything that a browser complains about on any page.
const complaints = [];

async function open(browser, { scripts = true, scheme = "light", size = WIDE } = {}) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.setViewport(size);
  await page.setJavaScriptEnabled(scripts);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  page.expected = [];
  const complain = (text) => {
    if (!page.expected.some((known) => known.test(text))) complaints.push(`${page.url()}: ${text}`);
  };
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && complain(message.text()));
  page.on("pageerror", (error) => complain(error.message));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.hostname !== "127.0.0.1") complain(`asks ${url.href}`);
  });
  page.on("dialog", (dialog) => {
    complain(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.evaluateOnNewDocument(() => {
    window.canary = "silent";
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  return page;
}

async function go(page, url, status = 200) {
  if (status !== 200) page.expected = [/the server responded with a status/];
  const answer = await page.goto(url, { waitUntil: "load" });
  assert.equal(answer.status(), status, url);
  // The wall behind the one that cleans READMEs.
  assert.match(answer.headers()["content-security-policy"] ?? "", /^default-src 'none'; script-src 'self'; [^*]*base-uri 'none'; frame-ancestors 'none'$/, url);
  assert.doesNotMatch(answer.headers()["content-security-policy"], /unsafe|https?:|data:/, url);
}

const text = (page, selector) => page.$eval(selector, (one) => one.textContent.trim());
const count = (page, selector) => page.$$eval(selector, (all) => all.length);

// All that is asked of a page in one look.
async function assertGood(page, what, scripts = true) {
  await assertFits(page, what);
  // Without scripts there is less of the same.
  if (scripts) await assertUsable(page, axe, what);
  await assertHarmless(page, what);
  assert.equal(await page.evaluate(() => window.canary), "silent", what);
}

const strings = (path) => JSON.parse(readFileSync(new URL(`../vectors/${path}`, import.meta.url), "utf8"));
const chunks = (all, size) => Array.from({ length: Math.ceil(all.length / size) }, (_, at) => all.slice(at * size, (at + 1) * size));

const swarm = new Swarm(resolve(program));
let browser;
try {
  // The reader's own node knows three publishers, one of whom it relies on.
  const acme = swarm.init("acme", "--label", "acme");
  const mallory = swarm.init("mallory", "--no-recovery");
  swarm.init("eve", "--no-recovery");
  const first = await swarm.up("acme");
  const second = await swarm.up("mallory", [first]);
  await swarm.up("eve", [first]);
  const reader = await swarm.up("reader", [first, second]);
  browser = await puppeteer.launch({
    executablePath: chromium,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"],
  });
  rmSync(shots, { recursive: true, force: true });
  mkdirSync(shots, { recursive: true });

  const page = await open(browser);
  await go(page, `${reader.http}/`);
  assert.match(await text(page, "#recent"), /Nothing here yet/);
  await assertGood(page, "the empty start page");
  await page.screenshot({ path: join(shots, "empty-light-wide.png"), fullPage: true });

  const index = (owner) => `sparse+http://127.0.0.1:7878/cargo/${owner}/`;
  const own = (name, version) => `${name} = { version = "${version}", registry-index = "${index(acme)}" }`;
  const facts = 'license = "MIT OR Apache-2.0"\nauthors = ["Ada Example <ada@example.org>"]\nkeywords = ["http", "client", "network"]\nrepository = "https://code.example/acme/http"\n';
  swarm.publish("acme", { "pack.toml": pack("acme-bytes", "0.4.2", "Byte buffers that are cheap to share."), "README.md": "# Bytes" });
  swarm.publish("acme", { "pack.toml": pack("acme-io", "1.3.0", "Reading and writing in pieces.", "", own("acme-bytes", "0.4")), "README.md": "# Pieces" });
  swarm.publish("acme", { "pack.toml": pack("acme-tls", "2.0.1", "Encrypted connections.", "", `${own("acme-bytes", "0.4")}\n${own("acme-io", "1")}`), "README.md": "# TLS" });
  for (const version of ["1.0.0", "1.1.0", "1.2.0"]) {
    const needs = [own("acme-tls", "2"), own("acme-io", "1.1"), 'serde = "1"', own("acme-missing", "7")].join("\n");
    swarm.publish("acme", { "pack.toml": pack("acme-http", version, "A small HTTP client that says what went wrong.", facts, needs), "README.md": README });
  }
  const crate = `[package]\nname = "acme-derive"\nversion = "0.3.1"\nedition = "2021"\ndescription = "Derives what acme-http needs."\nlicense = "MIT"\nreadme = "README.md"\nrust-version = "1.75"\n\n[features]\ndefault = ["std"]\nstd = []\n\n[dependencies]\n${own("acme-bytes", "0.4")}\n`;
  swarm.publish("acme", { "Cargo.toml": crate, "src/lib.rs": "", "README.md": "# acme-derive\n\nA crate." });
  const many = Array.from({ length: 14 }, (_, at) => own(`${LONG.name.slice(0, 60)}-${String(at).padStart(2, "0")}`, ">=1.0.0-alpha.1, <2.0.0-beta.200")).join("\n");
  const longFacts = `license = "${LONG.words}"\nauthors = ["${LONG.words} <${LONG.words}@example.org>"]\nkeywords = ["${LONG.words.slice(0, 60)}"]\nrepository = "https://${"long.".repeat(20)}example/"\n`;
  swarm.publish("acme", { "pack.toml": pack(LONG.name, LONG.version, LONG.words, longFacts, many), "README.md": LONG_README });
  swarm.run("acme", "yank", "acme-http@1.1.0", "--reason", "answers were cut at 64 KiB");
  const evil = "<script>window.canary='text'</script><img src=x onerror=window.canary='attribute'>";
  swarm.publish("mallory", { "pack.toml": pack("friendly", "1.0.0", evil, `keywords = ["a&b", "<b>"]\nlicense = ${JSON.stringify(evil)}`), "README.md": HOSTILE });
  // Two strangers claim one name.
  swarm.publish("mallory", { "pack.toml": pack("templates", "1.0.0", "Templates of one.") });
  swarm.publish("eve", { "pack.toml": pack("templates", "1.0.0", "Templates of another.") });
  swarm.run("reader", "trust", "add", acme);
  swarm.run("acme", "trust", "endorse", mallory, "--level", "partial", "--reason", "met once");
  const knows = async (path) => (await fetch(`${reader.http}/api/v1/packages/${path}`)).ok;
  await until("the reader's node knows all packages", async () => {
    const all = [`${acme}/acme-http`, `${acme}/acme-derive`, `${acme}/${LONG.name}`, `${mallory}/friendly`, `${mallory}/templates`];
    const known = await Promise.all(all.map(knows));
    return known.every(Boolean) && (await fetch(`${reader.http}/api/v1/packages/templates`)).status === 409;
  });
  swarm.run("reader", "fetch", `${acme}/acme-http@1.2.0`);
  swarm.run("reader", "fetch", `${mallory}/friendly@1.0.0`);
  swarm.run("reader", "fetch", `${acme}/acme-derive@0.3.1`);
  swarm.run("reader", "fetch", `${acme}/${LONG.name}@${LONG.version}`);

  // Search while typing, then open what was found.
  await go(page, `${reader.http}/`);
  await page.type("#q", "acme-htt");
  await until("typing finds the package", async () => (await count(page, "#results .item")) > 0);
  await until("the count is told", async () => /package/.test(await text(page, "#said")));
  assert.match(page.url(), /\/search\?q=acme-htt$/);
  assert.equal(await text(page, "#results .item h3 a"), "acme-http");
  assert.equal(await text(page, "#results .item .badge"), "trusted");
  await assertGood(page, "results while typing");
  await page.click("#q", { count: 3 });
  await page.type("#q", "zzqqxxyy");
  await until("nothing is found", async () => /Nothing found/.test(await text(page, "#said")));
  assert.equal(await count(page, "#results .item"), 0);
  await page.click("#q", { count: 3 });
  await page.type("#q", "http client");
  await until("words find it, too", async () => (await count(page, "#results .item")) > 0);
  await Promise.all([page.waitForNavigation(), page.click("#results .item h3 a")]);
  assert.match(await text(page, "h1"), /^acme-http\s+1\.2\.0$/);
  assert.match(await text(page, ".readme"), /Nothing is retried/);
  assert.deepEqual(await page.$$eval(".readme img", (all) => all.length), 0);
  await until("availability is told", async () => /holds? it/.test(await text(page, "#availability")));
  assert.ok((await count(page, ".box")) >= 5);
  assert.match(await text(page, ".readme"), /the guide, the licence and a picture of it/);
  assert.deepEqual(await page.$$eval(".needs .quiet", (all) => all.map((one) => one.textContent)), ["from acme", "from acme", "from acme", "from cargo's default registry"]);

  // Copying gives what is shown.
  await page.browserContext().overridePermissions(reader.http, ["clipboard-read", "clipboard-write", "clipboard-sanitized-write"]);
  await page.click(".copied button");
  await until("the button says so", async () => (await text(page, ".copied button")) === "Copied");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `market fetch ${acme}/acme-http@1.2.0`);

  // Beyond the end of a list it says so.
  await go(page, `${reader.http}/search?q=&page=2`);
  assert.equal(await text(page, "#none"), "The list ends before this page.");

  // By keyboard alone: the skip link comes first and leads to the content.
  await go(page, `${reader.http}/swarm`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  await until("the content has the focus", () => page.evaluate(() => document.activeElement.id === "main"));

  // What is published elsewhere appears while one looks.
  await until("the page is live", async () => (await text(page, "#live")) === "live");
  const numbers = () => page.$$eval("#numbers dd", (all) => all.map((one) => one.textContent));
  const [, , packagesBefore, , recordsBefore] = await numbers();
  swarm.publish("mallory", { "pack.toml": pack("just-now", "0.1.0", "It came while you looked.") });
  await until("the new package is in the list", async () => (await text(page, "#feed li")).includes("just-now"));
  await until("the numbers follow", async () => {
    const [, , packages, , records] = await numbers();
    return Number(packages) === Number(packagesBefore) + 1 && Number(records) === Number(recordsBefore) + 1;
  });
  swarm.init("late", "--no-recovery");
  const peersBefore = await count(page, "#peer-list tbody tr");
  const late = await swarm.up("late", [reader]);
  await until("the new peer is in the table", async () => (await count(page, "#peer-list tbody tr")) === peersBefore + 1);
  assert.equal((await numbers())[0], String(peersBefore + 1));
  assert.notEqual((await numbers())[6], "0 B");
  const gone = new Promise((done) => late.child.once("exit", done));
  late.child.kill("SIGINT");
  await gone;
  await until("the peer that left is not", async () => (await count(page, "#peer-list tbody tr")) === peersBefore);

  // Nothing that strangers wrote runs, with every click that they ask for.
  await go(page, `${reader.http}/packages/${mallory}/friendly`);
  assert.match(await text(page, ".readme"), /A friendly tool/);
  await poke(page);
  assert.equal(await page.evaluate(() => window.canary), "silent");
  await assertHarmless(page, "the hostile package");
  await go(page, `${reader.http}/search?q=friendly`);
  await page.type("#q", " tool");
  await until("the script shows it, too", async () => (await text(page, "#said")) !== "");
  assert.equal(await page.evaluate(() => window.canary), "silent");

  // Every page in light and dark, wide and narrow, with scripts and without.
  const lonely = await swarm.up("lonely");
  const nobody = `ns1${"a".repeat(acme.length - 3)}`;
  const pages = [
    ["start", "/"],
    ["search", "/search?q=acme"],
    ["leafed", "/search?q=&page=2"],
    ["nothing", "/search?q=quite%20unknown%20words"],
    ["package", `/packages/${acme}/acme-http`],
    ["crate", `/packages/${acme}/acme-derive`],
    ["long", `/packages/${acme}/${LONG.name}`],
    ["yanked", `/packages/${acme}/acme-http/1.1.0`],
    ["asked", `/packages/${acme}/acme-http/1.1.0?ask=peers`],
    ["hostile", `/packages/${mallory}/friendly`],
    ["contested", "/packages/templates", 409],
    ["owner", `/owners/${acme}`],
    ["stranger", `/owners/${mallory}`],
    ["swarm", "/swarm"],
    ["lost", "/packages/nobody", 404],
    ["wrong", `/packages/nobody/x/y/${LONG.words}`, 404],
    ["lonely-start", "/", 200, lonely],
    ["lonely-search", "/search?q=", 200, lonely],
    ["lonely-swarm", "/swarm", 200, lonely],
  ];
  let looks = 0;
  for (const scripts of [true, false]) {
    for (const scheme of ["light", "dark"]) {
      for (const [width, size] of Object.entries({ wide: WIDE, narrow: NARROW, tiny: TINY })) {
        if (width === "tiny" && !(scripts && scheme === "light")) continue;
        const looked = await open(browser, { scripts, scheme, size });
        for (const [name, path, status, node = reader] of pages) {
          const what = `${name}-${scheme}-${width}${scripts ? "" : "-plain"}`;
          await go(looked, `${node.http}${path}`, status);
          if (scripts) await until("the page has settled", () => looked.evaluate(() => !/Asking/.test(document.body.textContent)));
          await looked.screenshot({ path: join(shots, `${what}.png`), fullPage: true });
          await looked.$$eval("details", (all) => all.forEach((one) => (one.open = true)));
          await assertGood(looked, what, scripts);
          looks += 1;
        }
        await looked.browserContext().close();
      }
    }
  }

  // Without scripts all of it can be read and used.
  const plain = await open(browser, { scripts: false });
  await go(plain, `${reader.http}/`);
  assert.ok((await count(plain, "#recent .item")) >= 5);
  await plain.type("#q", "acme-http");
  await Promise.all([plain.waitForNavigation(), plain.keyboard.press("Enter")]);
  assert.equal(await text(plain, "#results .item h3 a"), "acme-http");
  await Promise.all([plain.waitForNavigation(), plain.click("#results .item h3 a")]);
  assert.match(await text(plain, ".readme"), /Nothing is retried/);
  assert.match(await text(plain, ".columns"), /This node holds the archive/);
  assert.equal(await count(plain, ".copied button"), 0);
  await Promise.all([plain.waitForNavigation(), plain.click("#availability a")]);
  assert.match(await text(plain, "#availability"), /holds? it/);
  await go(plain, `${reader.http}/swarm`);
  assert.ok((await count(plain, "#feed li")) > 5);
  assert.equal(await count(plain, "#live[hidden]"), 1);

  // None of the known attacks does anything, each in a README, a description and a licence of its own.
  const attacks = [...strings("dompurify-xss/payloads.json").map((one) => [one]), ...chunks(strings("blns/blns.json"), 20)];
  assert.ok(attacks.length > 240);
  swarm.publish("mallory", ...attacks.map((texts, at) => ({
    "pack.toml": pack(`attack-${at}`, "1.0.0", texts.join(" ").slice(0, 400), `license = ${quoted(texts[0].slice(0, 100))}`),
    "README.md": `# It begins\n\n${texts.join("\n\n")}\n\n# It ends\n`,
  })));
  const victim = await open(browser);
  for (const [at, texts] of attacks.entries()) {
    const what = JSON.stringify(texts);
    await go(victim, `${second.http}/packages/${mallory}/attack-${at}`);
    assert.match(await text(victim, ".readme"), /It begins/, what);
    await assertHarmless(victim, what);
    await poke(victim);
    await assertHarmless(victim, what);
    const end = await victim.evaluate(() => [window.canary, document.querySelectorAll("main.wide").length, document.documentElement.scrollWidth <= window.innerWidth]);
    assert.deepEqual([end, complaints], [["silent", 1, true], []], what);
  }
  await victim.browserContext().close();

  assert.deepEqual(complaints, []);
  console.log(`pages: ${pages.length} pages in ${looks} looks, ${attacks.length} attacks, no complaint; screenshots in ${shots}`);
} finally {
  await browser?.close();
  await swarm.stop();
}
