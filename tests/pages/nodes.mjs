// Real nodes for the test of the pages: homes below one folder, everything on loopback.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const DEADLINE_MS = 60_000;

export class Swarm {
  constructor(program) {
    this.program = program;
    this.folder = mkdtempSync(join(tmpdir(), "pages-"));
    this.network = `pages-${process.pid}`;
    this.running = [];
  }

  // Runs a command on one home and gives back what it printed.
  run(home, ...words) {
    return execFileSync(this.program, ["--home", join(this.folder, home), ...words], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      timeout: DEADLINE_MS,
    });
  }

  // Makes an identity; gives back its owner id.
  init(home, ...words) {
    const made = this.run(home, "--json", "init", "--network", this.network, ...words);
    return JSON.parse(made.trim().split("\n").pop()).owner;
  }

  // Starts a node; `others` are the ready lines of those it joins.
  async up(home, others = []) {
    const joined = others.flatMap((other) => ["--bootstrap", other.addr]);
    const words = ["--home", join(this.folder, home), "up", "--http", "127.0.0.1:0", "--no-mdns", "--network", this.network, ...joined];
    const child = spawn(this.program, words, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, MARKET_LOG: "error,iroh_blobs=off" } });
    this.running.push(child);
    const lines = createInterface({ input: child.stdout });
    const deadline = setTimeout(() => lines.close(), DEADLINE_MS);
    for await (const line of lines) {
      const found = line.match(/^ready http=(\S+) peer=(\S+) addr=(\S+)$/);
      if (found) {
        clearTimeout(deadline);
        child.stdout.resume();
        return { child, http: found[1], peer: found[2], addr: found[3] };
      }
    }
    throw new Error(`${home} did not get ready`);
  }

  // Publishes a folder for each of these packages, which are given by their files.
  publish(home, ...packages) {
    const folders = packages.map((files) => {
      const folder = mkdtempSync(join(this.folder, "package-"));
      for (const [path, content] of Object.entries(files)) {
        mkdirSync(join(folder, path, ".."), { recursive: true });
        writeFileSync(join(folder, path), content);
      }
      return folder;
    });
    return this.run(home, "publish", ...folders);
  }

  async stop() {
    const ended = this.running.map((child) => child.exitCode === null && new Promise((done) => {
      child.once("exit", done);
      child.kill("SIGINT");
    }));
    await Promise.all(ended);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

// A text as TOML wants it: as JSON, and without the one control character that JSON lets through.
export const quoted = (text) => JSON.stringify(text).replace(/\x7f/g, "\\u007f");

// The manifest of a pack.
export function pack(name, version, description, more = "", dependencies = "") {
  return `[pack]\nname = ${quoted(name)}\nversion = ${quoted(version)}\ndescription = ${quoted(description)}\n${more}\n[dependencies]\n${dependencies}\n`;
}
