// Keeps a page fresh: fetches it again and puts its middle in the place of the old one. It waits while
// nobody looks (a hidden tab), and while somebody works on it (ticks, types, has something selected).

const KEY = "taskq-refresh";
const STOPS = "a, button, summary";
const FIELDS = "input:not([type=hidden], #tq-all), select, textarea";
const region = document.getElementById("tq-live");
const tools = document.getElementById("tq-live-tools");
const every = document.getElementById("tq-every");
const status = document.getElementById("tq-live-status");
let timer = 0;
let asking = null;

function isAtWork() {
  const selection = document.getSelection();
  const selects = selection && !selection.isCollapsed && region.contains(selection.anchorNode);
  const active = document.activeElement;
  const types = region.contains(active) && active.matches("input:not([type=checkbox]), select, textarea");
  return selects || types || [...region.querySelectorAll(FIELDS)].some(isChanged);
}

// Whether a field says something else than it came with: that would be lost.
function isChanged(field) {
  if (field.matches("[type=checkbox], [type=radio]")) return field.checked !== field.defaultChecked;
  if (!field.matches("select")) return field.value !== field.defaultValue;
  const first = [...field.options].findIndex((option) => option.defaultSelected);
  return field.selectedIndex !== Math.max(first, 0);
}

// What a link or a button does. In its place there may be another one on the fresh page.
function purpose(element) {
  const form = element.form;
  if (!form) return `${element.tagName} ${element.getAttribute("href") ?? element.closest("details")?.id}`;
  const said = [...new FormData(form)].filter(([name]) => name !== "csrfmiddlewaretoken");
  return JSON.stringify([form.getAttribute("action"), said, element.name, element.value]);
}

function say(what) {
  const text = status.dataset[what] ?? "";
  if (status.textContent !== text) status.textContent = text;
}

// What a reader opened or closed, and where the focus is, survives.
function replace(fresh) {
  const open = new Map([...region.querySelectorAll("details[id]")].map((d) => [d.id, d.open]));
  const active = region.contains(document.activeElement) ? document.activeElement : null;
  const focus = active?.matches(STOPS) ? purpose(active) : null;
  const alike = () => [...region.querySelectorAll(STOPS)].filter((each) => purpose(each) === focus);
  const at = focus === null ? -1 : alike().indexOf(active); // links to one page may be several
  const across = [...region.querySelectorAll(".tq-scroll")].map((box) => box.scrollLeft);
  region.replaceChildren(...fresh.childNodes);
  for (const details of region.querySelectorAll("details[id]")) {
    if (open.has(details.id)) details.open = open.get(details.id);
  }
  region.querySelectorAll(".tq-scroll").forEach((box, at) => { box.scrollLeft = across[at] ?? 0; });
  if (at >= 0) alike()[at]?.focus({ preventScroll: true });
  prepare();
}

async function refresh() {
  if (document.hidden || asking) return;
  if (isAtWork()) {
    say("paused");
    return;
  }
  asking = new AbortController();
  try {
    const answer = await fetch(location.href, { signal: asking.signal, credentials: "same-origin" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("tq-live");
    if (!fresh) throw new Error("no such page any more");
    if (!isAtWork()) replace(fresh);
    say("live");
  } catch (error) {
    if (error.name !== "AbortError") say("lost");
  } finally {
    asking = null;
  }
}

function start() {
  clearInterval(timer);
  asking?.abort(); // what was asked for would change a page that is told to stand still
  const seconds = Number(every.value);
  if (seconds && !document.hidden) timer = setInterval(refresh, seconds * 1000);
  say(seconds ? "live" : "off");
}

// The box that ticks all others needs this script, so only this script shows it.
function prepare() {
  const all = document.getElementById("tq-all");
  if (!all) return;
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of region.querySelectorAll("input[name=job]")) box.checked = all.checked;
  });
}

if (region) {
  prepare();
  if (tools) {
    tools.hidden = false;
    let known = null;
    try { known = localStorage.getItem(KEY); } catch { /* no storage: the choice is not kept */ }
    if ([...every.options].some((option) => option.value === known)) every.value = known;
    every.addEventListener("change", () => {
      try { localStorage.setItem(KEY, every.value); } catch { /* as above */ }
      start();
    });
    document.addEventListener("visibilitychange", () => {
      start();
      if (!document.hidden && Number(every.value)) refresh();
    });
    start();
  }
}
