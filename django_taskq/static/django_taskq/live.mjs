// Keeps a page fresh: fetches it again and puts its middle in the place of the old one. It waits while
// nobody looks (a hidden tab), and while somebody works on it (ticks, types, has something selected).

const KEY = "taskq-refresh";
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
  return selects || types || region.querySelector("input[name=job]:checked") !== null;
}

function say(what) {
  const text = status.dataset[what] ?? "";
  if (status.textContent !== text) status.textContent = text;
}

// What a reader opened or closed, and where the focus is, survives.
function replace(fresh) {
  const open = new Map([...region.querySelectorAll("details[id]")].map((d) => [d.id, d.open]));
  const links = [...region.querySelectorAll("a, button, summary")];
  const focus = links.indexOf(document.activeElement);
  const across = [...region.querySelectorAll(".tq-scroll")].map((box) => box.scrollLeft);
  region.replaceChildren(...fresh.childNodes);
  for (const details of region.querySelectorAll("details[id]")) {
    if (open.has(details.id)) details.open = open.get(details.id);
  }
  region.querySelectorAll(".tq-scroll").forEach((box, at) => { box.scrollLeft = across[at] ?? 0; });
  if (focus >= 0) region.querySelectorAll("a, button, summary")[focus]?.focus({ preventScroll: true });
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
      if (document.hidden) asking?.abort();
      start();
      if (!document.hidden && Number(every.value)) refresh();
    });
    start();
  }
}
