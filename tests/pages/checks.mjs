// What is asked of every page, whatever is on it: it can be used, it fits its window, nothing of strangers acts in it.
import assert from "node:assert/strict";

// Axe finds nothing serious.
export async function assertUsable(page, axe, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const bad = found.violations.filter((one) => ["serious", "critical"].includes(one.impact));
  const told = bad.map((one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
  assert.deepEqual(told, [], what);
}

// All text can be read: nothing is wider than the window, cut off by what it lies in, beyond its box or over other
// text. Only what a publisher may make as wide as it likes scrolls.
export async function assertFits(page, what) {
  const found = await page.evaluate(() => {
    const SCROLLS = ".drawing, .text pre, .text table, .plain";
    const bad = [];
    const name = (one) => `${one.tagName.toLowerCase()}${one.id ? `#${one.id}` : ""}.${one.getAttribute("class") ?? ""}`;
    const root = document.documentElement;
    if (root.scrollWidth > window.innerWidth) {
      const wide = Array.from(document.body.querySelectorAll("*")).filter((one) => !one.closest(SCROLLS) && one.getBoundingClientRect().right > window.innerWidth);
      bad.push(`the page is ${root.scrollWidth} px wide in ${window.innerWidth}: ${wide.map(name)}`);
    }
    const lines = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      const holder = text.parentElement;
      if (!text.data.trim() || holder.closest("script, svg, .unseen, .skip") || !holder.checkVisibility()) continue;
      const range = document.createRange();
      range.selectNodeContents(text);
      const rects = Array.from(range.getClientRects()).filter((rect) => rect.width > 0);
      for (let box = holder; box !== document.body; box = box.parentElement) {
        if (box.matches(SCROLLS)) break;
        const style = getComputedStyle(box);
        const cuts = style.overflowX !== "visible" || style.overflowY !== "visible";
        if (style.display === "inline" || !(cuts || box.matches(".card, .item, .note, .tiles div, .copied, td, th, li, p, h1, h2, h3, dd, dt"))) continue;
        const edge = box.getBoundingClientRect();
        const out = rects.some((rect) => rect.left < edge.left - 1 || rect.right > edge.right + 1 || (cuts && rect.bottom > edge.bottom + 1));
        if (out) bad.push(`${JSON.stringify(text.data.trim().slice(0, 40))} leaves ${name(box)}`);
      }
      if (!holder.closest(SCROLLS)) lines.push(...rects.map((rect) => [rect, text.data.trim().slice(0, 40)]));
    }
    // Boxes of neighbouring lines touch; letters do not, until they share a third of their height.
    for (const [at, [one, words]] of lines.entries()) {
      for (const [other, others] of lines.slice(at + 1, at + 40)) {
        const width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
        const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
        if (width > 2 && height > Math.min(one.height, other.height) / 3) bad.push(`${words} lies over ${others}`);
      }
    }
    for (const box of document.querySelectorAll(".drawing .box")) {
      const edge = box.querySelector("rect").getBBox();
      for (const text of box.querySelectorAll("text")) {
        const own = text.getBBox();
        if (own.x + own.width > edge.x + edge.width) bad.push(`${text.textContent} leaves its box in the drawing`);
      }
    }
    return bad.slice(0, 10);
  });
  assert.deepEqual(found, [], what);
}

// No script, handler or address that runs something came from a publisher, and none of their markup has a name by
// which our script could take it for its own.
export async function assertHarmless(page, what) {
  const found = await page.evaluate(() => {
    const bad = [];
    const told = (one) => one.outerHTML.slice(0, 160);
    for (const one of document.querySelectorAll("*")) {
      for (const { name, value } of one.attributes) {
        if (name.startsWith("on") || ["style", "srcdoc", "formaction", "ping", "background"].includes(name)) bad.push(told(one));
        const plain = /^(https?:\/\/|mailto:|\/(?!\/)|#main$)/.test(value);
        if (["href", "src", "action", "data", "poster", "xlink:href"].includes(name) && !plain) bad.push(told(one));
      }
    }
    for (const one of document.querySelectorAll(".readme .text a[href]")) {
      if (one.rel !== "nofollow noopener noreferrer" || one.target) bad.push(told(one));
    }
    const scripts = Array.from(document.scripts).filter((one) => one.getAttribute("src") !== "/page.js" || one.textContent);
    const acts = document.querySelectorAll("style, iframe, object, embed, base, frame, frameset, math, template, meta[http-equiv], img, video, audio, noscript, [is]");
    const inside = document.querySelectorAll(".readme .text :is([id], [name], [class], form, input, button, select, textarea, svg, link, dialog)");
    bad.push(...[...scripts, ...acts, ...inside].map(told));
    return bad.slice(0, 5);
  });
  assert.deepEqual(found, [], what);
}

// Does to a README what a curious reader does.
export async function poke(page) {
  await page.$$eval(".readme .text, .readme .text *", (all) => {
    for (const one of all) {
      if (one.tagName === "A") one.addEventListener("click", (event) => /^(https?|mailto):/.test(one.href) && event.preventDefault());
      for (const kind of ["mouseover", "focus", "pointerdown", "toggle", "animationend", "error", "load"]) one.dispatchEvent(new Event(kind));
      if (one.click) one.click();
    }
  });
}
