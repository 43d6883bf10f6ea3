// The page around the terminal: asks for the token, keeps it for this tab, and opens the place that the address names.
"use strict";

const TOKEN_KEY = "tracecar.token"; // in the tab's session storage: gone when the tab is closed
const element = (id) => document.getElementById(id);

function say(text, bad = false) {
  element("state").textContent = text;
  element("state").classList.toggle("bad", bad);
}

function askToken(text, bad) {
  sessionStorage.removeItem(TOKEN_KEY);
  say(text, bad);
  element("form").hidden = false;
  element("token").value = "";
  element("token").focus();
}

async function open(token) {
  element("form").hidden = true;
  say("Connecting to the sidecar …");
  let answer;
  try {
    answer = await fetch("/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, link: location.hash }),
    });
  } catch {
    offerAgain("The dashboard's server does not answer. Is `tracecar tui --web` still running?");
    return;
  }
  const session = await answer.json();
  if (answer.status === 401) return askToken(session.detail, true);
  if (!answer.ok) return offerAgain(session.detail);
  sessionStorage.setItem(TOKEN_KEY, token);
  document.title = `${session.service} · Tracecar`;
  say("Starting the dashboard …");
  startTerminal(session.id);
}

function startTerminal(session) {
  const terminal = element("terminal");
  terminal.className = "textual-terminal";
  terminal.dataset.sessionWebsocketUrl = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/${session}`;
  terminal.dataset.fontSize = new URLSearchParams(location.search).get("fontsize") || "16";
  const script = document.createElement("script");
  script.src = "/static/js/textual.js";
  script.onload = () => window.onload(new Event("load")); // it starts every terminal that it finds then
  document.body.append(script);
}

function offerAgain(text) {
  say(text, true);
  element("again").hidden = false;
  element("forget").hidden = !sessionStorage.getItem(TOKEN_KEY);
}

new MutationObserver(() => {
  if (document.body.classList.contains("-closed")) offerAgain("The dashboard was closed.");
}).observe(document.body, { attributes: true, attributeFilter: ["class"] });

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  open(element("token").value.trim());
});
element("again").addEventListener("click", () => location.reload());
element("forget").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN_KEY);
  location.reload();
});
window.addEventListener("hashchange", () => location.reload()); // another link was opened in this tab

const known = sessionStorage.getItem(TOKEN_KEY);
if (known) open(known);
else askToken("");
