"use strict";
const statements = [...document.querySelectorAll(".statement")];
const search = document.getElementById("search");
const choices = ["section", "verdict", "outcome", "needs"].map((id) => document.getElementById(id));
const shown = document.getElementById("shown");
const toggle = document.getElementById("toggle");
const texts = new Map(statements.map((statement) => [statement, `${statement.id} ${statement.textContent}`.toLowerCase()]));

function fits(statement) {
  const words = search.value.toLowerCase().split(/\s+/);
  return (
    words.every((word) => texts.get(statement).includes(word)) &&
    choices.every(({ id, value }) => !value || statement.dataset[id].split("|").includes(value))
  );
}

function hideHeadings() {
  for (const section of document.querySelectorAll(".section")) {
    section.hidden = !section.querySelector(".statement:not([hidden])");
    let heading = null;
    for (const child of section.children) {
      if (child.tagName === "H3") {
        heading = child;
        heading.hidden = true;
      } else if (heading && child.matches(".statement:not([hidden])")) {
        heading.hidden = false;
      }
    }
  }
}

function filter() {
  for (const statement of statements) statement.hidden = !fits(statement);
  hideHeadings();
  const count = statements.filter((statement) => !statement.hidden).length;
  shown.textContent = count ? shown.dataset.text.replace("{shown}", count) : shown.dataset.none;
}

function follow() {
  const target = statements.find(({ id }) => `#${id}` === location.hash) ?? document.getElementById(location.hash.slice(1));
  if (!target) return;
  if (target.closest("[hidden]")) {
    search.value = "";
    for (const choice of choices) choice.value = "";
    filter();
  }
  if (target.matches(".statement")) {
    target.open = true;
    target.querySelector("summary").focus({ preventScroll: true });
  }
  target.scrollIntoView();
}

for (const control of [search, ...choices]) control.addEventListener("input", filter);
document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
toggle.addEventListener("click", () => {
  const open = toggle.getAttribute("aria-pressed") !== "true";
  toggle.setAttribute("aria-pressed", open);
  for (const statement of statements) if (!statement.hidden) statement.open = open;
});
addEventListener("hashchange", follow);
document.querySelector(".filters").hidden = false; // they need scripts
addEventListener("pageshow", filter); // a browser keeps what was chosen for who comes back
addEventListener("load", () => setTimeout(follow)); // after the browser's own jump, which takes the focus
