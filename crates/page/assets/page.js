"use strict";
// Applies the parts of the page that the server sends, and keeps what the viewer has chosen. All HTML comes from the server, which
// has escaped every text of others.

const THEMES = ["system", "light", "dark"];

// Time without an event after which the page calls itself out of date, in milliseconds.
const SILENCE = 5000;

let theme = "system";
try {
  theme = localStorage.getItem("theme") ?? "system";
} catch {
  // A browser may refuse to store anything.
}

function showTheme() {
  if (theme === "system") {
    delete document.documentElement.dataset.theme;
  } else {
    document.documentElement.dataset.theme = theme;
  }
}

showTheme();

function start() {
  const byId = (id) => document.getElementById(id);

  // --- Colours ---------------------------------------------------------------------------------------------------------
  const button = byId("theme");
  const nameTheme = () => {
    button.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // The choice lasts until the page is closed.
    }
    showTheme();
    nameTheme();
  });
  nameTheme();

  // --- Slider: delay → lost --------------------------------------------------------------------------------------------
  const slider = byId("slider");
  // The chosen delay, which keeps its place when the choices change.
  let chosen = null;

  function showDelay() {
    if (slider === null) {
      return;
    }
    const choices = [...document.querySelectorAll("#lateness-table .choice")];
    byId("slider-box").hidden = choices.length < 2;
    if (choices.length === 0) {
      return;
    }
    const at = Math.max(0, choices.findIndex((choice) => choice.dataset.delay === chosen));
    slider.max = String(choices.length - 1);
    slider.value = String(at);
    const { delay, counted, lost, amount, share } = choices[at].dataset;
    byId("slider-delay").textContent = at === 0 ? `${delay}, as now` : delay;
    const result = `With a delay of ${delay}, ${counted} of these events count and ${lost} are lost: amount ${amount}, ${share} of all events late.`;
    if (byId("slider-result").textContent !== result) {
      byId("slider-result").textContent = result;
    }
    slider.setAttribute("aria-valuetext", `${delay}: ${lost} lost`);
    document.querySelectorAll("#lateness .bar").forEach((bar, number) => bar.classList.toggle("counted", number < at));
  }

  slider?.addEventListener("input", () => {
    const choices = document.querySelectorAll("#lateness-table .choice");
    chosen = choices[Number(slider.value)]?.dataset.delay ?? null;
    showDelay();
  });

  // --- Sums of the window under the pointer ----------------------------------------------------------------------------
  const readout = byId("windows-readout");
  byId("windows").addEventListener("pointerover", (event) => {
    const text = event.target.dataset?.text;
    if (text) {
      readout.textContent = text;
    }
  });

  // A narrow screen begins at the newest windows.
  const newest = () => {
    const scroll = document.querySelector("#windows .scroll");
    if (scroll) {
      scroll.scrollLeft = scroll.scrollWidth;
    }
  };

  // --- Parts -----------------------------------------------------------------------------------------------------------
  const shown = new Map();

  function apply(parts) {
    for (const [id, html] of Object.entries(parts)) {
      const element = byId(id);
      if (element === null || shown.get(id) === html) {
        continue;
      }
      // A scrolled or focused region is replaced by the same one.
      const scroll = element.querySelector(".scroll");
      const [left, top] = [scroll?.scrollLeft, scroll?.scrollTop];
      const focused = scroll !== null && scroll === document.activeElement;
      element.innerHTML = html;
      const after = element.querySelector(".scroll");
      if (after !== null && scroll !== null) {
        after.scrollLeft = left;
        after.scrollTop = top;
        if (focused) {
          after.focus({ preventScroll: true });
        }
      } else if (id === "windows") {
        newest();
      }
      shown.set(id, html);
    }
    showDelay();
  }

  // --- Connection ------------------------------------------------------------------------------------------------------
  const link = byId("link");
  let timer;
  const silent = () => {
    link.dataset.state = "silent";
    document.documentElement.dataset.silent = "";
  };

  function alive() {
    link.dataset.state = "live";
    delete document.documentElement.dataset.silent;
    clearTimeout(timer);
    timer = setTimeout(silent, SILENCE);
  }

  // The browser connects again by itself, unless the server answered with an error.
  function connect() {
    const events = new EventSource("/events");
    events.onmessage = (event) => {
      performance.mark("update");
      apply(JSON.parse(event.data).parts);
      performance.measure("update", "update");
      performance.clearMarks("update");
      alive();
    };
    events.onerror = () => {
      silent();
      if (events.readyState === EventSource.CLOSED) {
        setTimeout(connect, 2000);
      }
    };
  }

  showDelay();
  newest();
  connect();
}

document.addEventListener("DOMContentLoaded", start);
