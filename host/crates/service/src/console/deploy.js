// Deploying by drag and drop: a pipeline file and the components that it names.

import { Failure, ask, pipelinePath, sentence } from "./api.js";
import { apiLine, confirmed, el, put } from "./dom.js";
import * as format from "./format.js";
import { addressOf } from "./overview.js";
import { findingOf } from "./pipeline.js";

/** Components as a pipeline file names them. What matters is only which files to send: the service reads the file itself. */
const COMPONENT = /^\s*component\s*=\s*(?:"([^"]+)"|'([^']+)')/gm;

export function deployPage(shared) {
  let pipeline = null;
  const components = new Map();

  const picker = el("input", { type: "file", multiple: true, accept: ".toml,.wasm", class: "hidden", onchange: () => take([...picker.files]) });
  const zone = el(
    "button",
    { type: "button", class: "zone", onclick: () => picker.click() },
    el("b", {}, "Drop a pipeline file and its components here"),
    el("span", {}, "one .toml, and each .wasm that it names; or choose files"),
  );
  const chosen = el("ul", { class: "files" });
  const tenant = el("input", { type: "text", autocomplete: "off", spellcheck: "false", list: "tenants", placeholder: "as its file says, or default", "aria-label": "Tenant" });
  const known = el("datalist", { id: "tenants" });
  const of = el("label", { class: "field" }, el("span", {}, "Tenant"), tenant, known);
  const check = el("button", { type: "button", disabled: true, onclick: () => work(checkIt) }, "Check");
  const deploy = el("button", { type: "button", class: "primary", disabled: true, onclick: () => work(deployIt) }, "Deploy");
  const outcome = el("div", { class: "outcome", role: "status", "aria-live": "polite" });
  const node = el(
    "div",
    {},
    el("div", { class: "title" }, el("h1", {}, "Deploy")),
    el("section", { class: "card" }, zone, picker, chosen, of, el("div", { class: "buttons" }, check, deploy), outcome),
    apiLine("PUT /api/v1/components/SHA256", "POST /api/v1/check", "POST /api/v1/pipelines", "PUT /api/v1/tenants/TENANT/pipelines/NAME"),
  );

  async function take(files) {
    for (const file of files) {
      if (file.name.endsWith(".toml")) pipeline = { name: file.name, text: await file.text() };
      else if (file.name.endsWith(".wasm")) components.set(file.name, file);
    }
    put(outcome);
    show();
  }

  /** What the pipeline file names, by what it calls them, with the file that was dropped. */
  function named() {
    const paths = pipeline ? [...pipeline.text.matchAll(COMPONENT)].map((match) => match[1] ?? match[2]) : [];
    const own = [...new Set(paths)].filter((path) => !path.startsWith("builtin:"));
    return own.map((path) => ({ path, file: components.get(path.split("/").at(-1)) }));
  }

  function show() {
    const wanted = named();
    const lines = [
      pipeline && el("li", {}, el("b", {}, pipeline.name), el("span", { class: "hint" }, `${pipeline.text.split("\n").length} lines`)),
      ...wanted.map(({ path, file }) =>
        el("li", { "data-bad": !file }, el("b", {}, path), el("span", { class: "hint" }, file ? format.bytes(file.size) : "drop this component as well")),
      ),
    ];
    if (wanted.length && !crypto.subtle) {
      lines.push(el("li", { "data-bad": true }, "This page came neither over HTTPS nor from this machine, so the browser computes no SHA-256, by which components are stored. Use dirigo deploy for this pipeline."));
    }
    put(chosen, lines);
    const isComplete = Boolean(pipeline) && wanted.every(({ file }) => file) && (!wanted.length || Boolean(crypto.subtle));
    const may = shared.caller?.may_change ?? true;
    check.disabled = !isComplete || !may;
    deploy.disabled = !isComplete || !may;
    if (!may) put(outcome, el("p", { class: "error" }, "This token may only look."));
  }

  async function work(doIt) {
    check.disabled = true;
    deploy.disabled = true;
    put(outcome, el("p", { class: "hint" }, "Looking at it…"));
    try {
      await doIt();
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      put(outcome, el("p", { class: "error" }, failure.message), failure.help && el("p", { class: "hint" }, sentence(failure.help)), ...problems(failure));
    } finally {
      [check.disabled, deploy.disabled] = [false, false];
    }
  }

  const query = () => (tenant.value.trim() ? `?tenant=${encodeURIComponent(tenant.value.trim())}` : "");

  /** What is sent; the components are stored before. */
  async function deployment() {
    const sent = {};
    const files = named();
    // What the service has already is not sent: it would answer before all was read, which a browser takes for no answer.
    const stored = new Set(files.length ? (await ask("GET", "/api/v1/components")).map((component) => component.sha256) : []);
    for (const { path, file } of files) {
      const body = await file.arrayBuffer();
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
      const sha256 = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      sent[path] = sha256;
      if (stored.has(sha256)) continue;
      put(outcome, el("p", { class: "hint" }, `Sending ${path} (${format.bytes(file.size)})…`));
      await ask("PUT", `/api/v1/components/${sha256}`, { body, type: "application/wasm" });
    }
    return { pipeline: pipeline.text, file: pipeline.name, components: sent };
  }

  async function checkIt() {
    const checked = await ask("POST", `/api/v1/check${query()}`, { body: JSON.stringify(await deployment()) });
    put(outcome, el("p", { class: "good" }, `${checked.tenant}/${checked.name} can run.`), ...problems(checked));
  }

  async function deployIt() {
    const sent = await deployment();
    let deployed;
    try {
      deployed = await ask("POST", `/api/v1/pipelines${query()}`, { body: JSON.stringify(sent) });
    } catch (failure) {
      if (failure.status !== 409) throw failure;
      const checked = await ask("POST", `/api/v1/check${query()}`, { body: JSON.stringify(sent) }).catch(() => null);
      if (!checked) throw failure;
      const says = `${failure.message} The new version resumes where it is, and is taken back if it does worse within 30 s.`;
      if (!(await confirmed({ title: `Upgrade ${checked.name}?`, says, action: "Upgrade" }))) return put(outcome);
      deployed = await ask("PUT", pipelinePath(checked.tenant, checked.name), { body: JSON.stringify(sent) });
    }
    const { pipeline: made } = deployed;
    put(
      outcome,
      el("p", { class: "good" }, `${made.tenant}/${made.name}, version ${made.version}, is on disk, and is started. `, el("a", { href: addressOf(made) }, "Look at it")),
      ...problems(deployed),
    );
  }

  function update() {
    const tenants = (shared.live.activity.tenants ?? []).map((one) => one.name);
    of.hidden = Boolean(shared.caller?.tenant);
    if (known.dataset.of !== tenants.join()) {
      known.dataset.of = tenants.join();
      put(known, tenants.map((name) => el("option", { value: name })));
    }
    if (shared.caller && !shared.caller.may_change && !outcome.firstChild) show();
  }

  function dropped() {
    const files = shared.files ?? [];
    shared.files = null;
    take(files);
  }
  if (shared.files) dropped();
  return { node, update, dropped, title: "Deploy" };
}

/** Findings, and the same as `dirigo check` shows them, with the lines of the file. */
function problems({ findings = [], rendered = "" }) {
  return rendered ? [el("pre", { class: "rendered" }, rendered)] : findings.map(findingOf);
}
