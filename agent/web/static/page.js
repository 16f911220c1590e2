// The page works without this script. With it, the page updates itself and shows times in the user's time zone.
"use strict";
(() => {
  const WAIT = 25, SLOWEST = 8000, QUIET = 1000; // s of a long poll; maximum ms between retries; ms after a change
  const fine = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const zone = new Intl.DateTimeFormat(undefined, fine), older = new Intl.DateTimeFormat(undefined, { year: "numeric", ...fine });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const root = document.documentElement, banner = document.getElementById("connection");
  let tag = root.dataset.tag || "", waiting = null, lostAt = null, pause = 0;

  // Times

  function showTimes(part) {
    for (const each of part.querySelectorAll("time[datetime]")) {
      const time = new Date(each.dateTime);
      if (!isNaN(time)) each.textContent = (time.getFullYear() === new Date().getFullYear() ? zone : older).format(time);
    }
  }

  // Changes: only nodes that differ are changed, so that focus, selection and entered text are kept

  const key = (node) => (node.nodeType === 1 && node.id ? node.id : null);
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b);

  function morph(old, fresh, polled) {
    if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (polled && old.dataset.keep !== undefined) return;
    for (const { name, value } of [...fresh.attributes]) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    if (old.nodeName === "TEXTAREA" || old.nodeName === "SELECT") return;
    const down = old.nodeName === "PRE" && old.scrollHeight - old.scrollTop - old.clientHeight < 8;
    children(old, fresh, polled);
    if (down) old.scrollTop = old.scrollHeight;
  }

  function children(old, fresh, polled) {
    const kept = new Map([...old.childNodes].filter(key).map((each) => [key(each), each]));
    const wanted = new Set([...fresh.childNodes].map(key));
    let at = old.firstChild;
    for (const each of [...fresh.childNodes]) {
      while (at && key(at) && !wanted.has(key(at))) at = drop(at);
      const found = key(each) ? kept.get(key(each)) : at && !key(at) && alike(at, each) ? at : null;
      if (found) while (at && at !== found && !key(at)) at = drop(at); // a node that is not moved keeps the focus
      if (found && found.nodeName === each.nodeName) {
        if (found === at) at = at.nextSibling;
        else old.insertBefore(found, at);
        morph(found, each, polled);
      } else {
        old.insertBefore(document.adoptNode(each), at);
      }
    }
    while (at) at = drop(at);
  }

  function drop(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  function show(text, polled) {
    const fresh = new DOMParser().parseFromString(text, "text/html"), focused = document.activeElement;
    showTimes(fresh);
    document.title = fresh.title;
    root.dataset.tag = tag = fresh.documentElement.dataset.tag || "";
    for (const id of ["head", "main", "said"]) {
      const old = document.getElementById(id), now = fresh.getElementById(id);
      if (old && now) morph(old, now, polled);
    }
    const old = document.getElementById("faults"), now = fresh.getElementById("faults");
    if (old && now) morph(old, now, polled);
    else if (old) old.remove();
    else if (now) banner.before(document.adoptNode(now));
    if (!focused.isConnected && focused.href) { // its row was moved to another list
      const moved = [...document.links].find((each) => each.href === focused.href);
      if (moved) moved.focus();
    }
  }

  // Following: one request waits for the next change; none while the page is hidden

  async function follow() {
    while (tag && !document.hidden) {
      const began = Date.now();
      waiting = new AbortController();
      const limit = setTimeout(() => waiting && waiting.abort("late"), (WAIT + 10) * 1000);
      try {
        const answer = await fetch(location.href, {
          headers: { "If-None-Match": `"${tag}"`, Prefer: `wait=${lostAt ? 0 : WAIT}` },
          cache: "no-store", redirect: "manual", signal: waiting.signal,
        });
        if (answer.type === "opaqueredirect") return signedOut();
        if (answer.status === 404) return say("This page is no longer there.");
        if (answer.status !== 200 && answer.status !== 304) throw new Error(answer.status);
        const text = answer.status === 200 ? await answer.text() : null;
        connected();
        if (text !== null) show(text, true);
        await sleep(text === null ? Math.max(0, 200 - (Date.now() - began)) : QUIET);
      } catch (error) {
        if (document.hidden) return;
        lost();
        await sleep(pause);
      } finally {
        clearTimeout(limit);
        waiting = null;
      }
    }
  }

  const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

  function say(text, link) {
    banner.textContent = text;
    if (link) banner.append(" ", Object.assign(document.createElement("a"), { href: link, textContent: "Sign in" }));
    banner.hidden = false;
  }

  function lost() {
    lostAt = lostAt || new Date();
    pause = Math.min(SLOWEST, Math.max(500, pause * 1.6));
    say(`Not connected since ${clock.format(lostAt)}. What you see is from then.`);
  }

  function connected() {
    if (!lostAt) return;
    [lostAt, pause, banner.hidden] = [null, 0, true];
  }

  function signedOut() {
    const here = encodeURIComponent(location.pathname + location.search);
    say("You are signed out. What you see is from before.", `/ui/sign-in?next=${here}`);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden && waiting) waiting.abort("hidden");
    else if (!document.hidden && !waiting) follow();
  });

  // Forms: the plan is inserted into the page, so that an entered secret stays in its field

  document.addEventListener("submit", async (event) => {
    const form = event.target, pressed = event.submitter;
    if (form.dataset.ask === undefined) return;
    event.preventDefault();
    if (form.ariaBusy === "true") return;
    form.ariaBusy = "true";
    try {
      const body = new URLSearchParams(new FormData(form, pressed));
      const answer = await fetch(form.action, { method: "POST", body, cache: "no-store" });
      if (answer.redirected) return location.assign(answer.url);
      show(await answer.text(), false);
      const focus = document.querySelector("[data-focus], [aria-invalid]");
      if (focus) focus.focus();
    } catch (error) {
      say("The agent did not answer. The request may have arrived: check the running and waiting actions, then try again.");
    } finally {
      form.ariaBusy = "false";
    }
  });

  showTimes(document);
  for (const each of document.querySelectorAll("pre.output")) each.scrollTop = each.scrollHeight;
  const first = document.querySelector("[data-focus]");
  if (first) first.focus();
  follow();
})();
