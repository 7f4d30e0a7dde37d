// Brings what changes up to date without loading the page again. Everything works without it.
"use strict";
(() => {
  const every = 10000;
  const connection = document.getElementById("connection");
  const parts = () => document.querySelectorAll("[data-live]");
  if (!connection || parts().length === 0) return;

  const trouble = (sentence) => {
    if (connection.textContent !== sentence) connection.textContent = sentence;
    connection.hidden = sentence === "";
  };

  // What somebody opened stays open.
  const opened = (part) => [...part.querySelectorAll("details")].map((one) => one.open);

  const replace = (old, fresh) => {
    // Nothing is taken away under somebody's hands.
    if (old.contains(document.activeElement) || old.innerHTML === fresh.innerHTML) return;
    const open = opened(old);
    fresh.querySelectorAll("details").forEach((one, n) => { one.open = open[n] === true; });
    old.replaceChildren(...fresh.childNodes);
    old.className = fresh.className;
  };

  const refresh = async () => {
    if (document.hidden) return;
    let response;
    try {
      response = await fetch(location.href, {
        cache: "no-store",
        credentials: "same-origin",
        // It is not a person who asks: the session's end does not move.
        headers: { "X-Lighterman-Refresh": "1" },
      });
    } catch {
      trouble("The agent does not answer. This is how things stood before.");
      return;
    }
    if (response.redirected || response.status === 401 || response.status === 403) {
      location.reload();
      return;
    }
    if (!response.ok) {
      trouble("The agent cannot say how things stand now. This is how they stood before.");
      return;
    }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const old of parts()) {
      const fresh = page.getElementById(old.id);
      if (fresh) replace(old, fresh);
    }
    // What somebody asked for has ended meanwhile: it is said once, so it stays until the page is left.
    const said = document.getElementById("said");
    const news = page.getElementById("said");
    if (said && news && news.childElementCount > 0) said.replaceChildren(...news.childNodes);
    const was = document.querySelector(".health");
    const is = page.querySelector(".health");
    if (was && is) was.className = is.className;
    trouble("");
  };

  setInterval(refresh, every);
})();
