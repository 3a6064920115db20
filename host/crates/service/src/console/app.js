// The console: which page is shown, what it is fed with, and the keys.
//
// Owns the address (`#/…`), the loop that asks how everything is doing, and the notice when the service is away. Pages know nothing of one another.

import { Failure, get, signOut, token } from "./api.js";
import { el, mark, put } from "./dom.js";
import { deployPage } from "./deploy.js";
import { Live } from "./figures.js";
import { overviewPage } from "./overview.js";
import { pipelinePage } from "./pipeline.js";
import { showSignIn } from "./sign-in.js";
import { tenantsPage } from "./tenants.js";

/** The time between two looks, in ms. Where an answer takes long, the next one waits for nine times as long: looking costs at most a tenth. */
const LOOK_MS = 1_000;
const LOOK_SHARE = 9;
/** The longest time between two attempts to reach a service that is away. */
const RETRY_MS_MAX = 5_000;

const main = document.getElementById("main");
const notice = document.getElementById("notice");
const who = document.getElementById("who");

/** What pages share. */
const shared = { live: new Live(), caller: null, go: (address) => (location.hash = address), files: null };
let page = null;
let looking = null;

function notify(text, kind = "bad") {
  notice.hidden = !text;
  notice.className = kind;
  notice.textContent = text ?? "";
}

/** The page of an address, and what of the pipelines it needs. */
function pageOf(address) {
  const [first, ...rest] = address.replace(/^#?\/?/, "").split("/").map(decodeURIComponent);
  switch (first) {
    case "pipelines":
      if (rest.length >= 2) {
        return { name: "pipelines", path: `/api/v1/activity?tenant=${encodeURIComponent(rest[0])}`, make: () => pipelinePage(shared, ...rest) };
      }
      break;
    case "tenants":
      return { name: "tenants", path: "/api/v1/activity", make: () => tenantsPage(shared) };
    case "deploy":
      return { name: "deploy", path: "/api/v1/activity", make: () => deployPage(shared) };
  }
  return { name: "pipelines", path: "/api/v1/activity", make: () => overviewPage(shared) };
}

function open() {
  page?.close?.();
  page = null;
  clearTimeout(looking);
  if (!token()) return ask();
  const { name, path, make } = pageOf(location.hash);
  for (const link of document.querySelectorAll("nav a")) mark(link, "aria-current", link.dataset.page === name && "page");
  // Another page may show what the one before did not ask for.
  if (shared.path !== path) [shared.path, shared.live] = [path, new Live()];
  page = make();
  put(main, page.node);
  document.title = page.title ? `${page.title} · Dirigo` : "Dirigo";
  window.scrollTo(0, 0);
  if (shared.live.activity) page.update?.();
  look(page, 0);
}

/** Asks how everything is doing, again and again, for as long as a page is shown. */
async function look(shown, failures) {
  if (shown !== page) return;
  const started = performance.now();
  let wait = LOOK_MS;
  try {
    if (!shared.caller) meet(await get("/api/v1/whoami"));
    if (!document.hidden) {
      const activity = await get(shared.path);
      if (shown !== page) return;
      shared.live.take(activity);
      if (failures) notify(null);
      page.update?.();
    }
    failures = 0;
    wait = Math.max(LOOK_MS, (performance.now() - started) * LOOK_SHARE);
  } catch (failure) {
    if (shown !== page) return;
    if (!(failure instanceof Failure)) {
      looking = setTimeout(() => look(shown, failures), RETRY_MS_MAX);
      throw failure;
    }
    if (failure.status === 401) return ask(failure.message);
    failures += 1;
    wait = Math.min(RETRY_MS_MAX, LOOK_MS * failures);
    notify(failure.isAway ? `${failure.message} What is shown is from before. It is asked again until it answers.` : failure.message);
  }
  looking = setTimeout(() => look(shown, failures), wait);
}

function meet(caller) {
  shared.caller = caller;
  const out = el("button", { type: "button", onclick: leave, title: "Forget the token" }, "Sign out");
  const role = caller.tenant ? `${caller.tenant}${caller.may_change ? "" : ", may only look"}` : caller.may_change ? "operator of the host" : "may only look";
  put(who, el("span", {}, el("b", {}, caller.name), el("small", {}, role)), out);
}

function leave() {
  signOut();
  ask();
}

function ask(why) {
  page?.close?.();
  page = null;
  clearTimeout(looking);
  [shared.caller, shared.live, shared.path] = [null, new Live(), null];
  put(who);
  notify(null);
  document.title = "Sign in · Dirigo";
  showSignIn(main, why, (caller) => {
    meet(caller);
    open();
  });
}

addEventListener("hashchange", open);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "range";
  if (page?.key?.(event, isTyping)) return event.preventDefault();
  if (isTyping) return;
  const address = { 1: "#/", 2: "#/tenants", 3: "#/deploy" }[event.key] ?? (event.key === "Escape" && "#/");
  if (address) {
    event.preventDefault();
    shared.go(address);
  }
});

// Files may be dropped anywhere.
addEventListener("dragover", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => !event.relatedTarget && document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  document.body.classList.remove("dropping");
  shared.files = [...event.dataTransfer.files];
  if (page?.dropped) page.dropped();
  else shared.go("#/deploy");
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden || !page) return;
  clearTimeout(looking);
  look(page, 0);
});

open();
