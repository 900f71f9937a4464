// Run a figure's own script in Node with as much of a page as it asks for.
// stdin: {script, data, actions}; stdout: what the figure shows at first and after each action.
import fs from "node:fs";
import vm from "node:vm";

class Element {
  constructor(tag) {
    Object.assign(this, { tag, nodes: [], attributes: {}, heard: {}, style: {}, dataset: {}, className: "" });
  }
  get children() { return this.nodes.filter((node) => node instanceof Element); }
  get firstElementChild() { return this.children[0]; }
  get textContent() { return this.nodes.map((node) => (node instanceof Element ? node.textContent : node)).join(""); }
  set textContent(text) { this.nodes = [String(text)]; }
  get value() { return this.attributes.value; }
  set value(value) { this.attributes.value = String(value); }
  append(...nodes) { this.nodes.push(...nodes); }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  getAttribute(name) { return this.attributes[name] ?? null; }
  addEventListener(name, hear) { (this.heard[name] ??= []).push(hear); }
  focus() { focused = this; }
  get all() { return [this, ...this.children.flatMap((child) => child.all)]; }
}
let focused = null;
const { script, data, actions } = JSON.parse(fs.readFileSync(0, "utf8"));
const root = new Element("div");
const [stored, live, says, table] = ["script", "div", "p", "details"].map((tag) => new Element(tag));
stored.textContent = data;
live.hidden = true;
table.open = true;
root.querySelector = (what) => ({ 'script[type="application/json"]': stored, "[data-live]": live, "[data-says]": says })[what];
root.querySelectorAll = (what) => ({ "[data-table]": [table] })[what];
const document = { createElement: (tag) => new Element(tag), querySelectorAll: () => (root.dataset.on ? [] : [root]) };
// no waiting: what is said late is said at once
vm.runInNewContext(script, { document, setTimeout: (speak) => speak(), clearTimeout() {} });

const names = ["role", "aria-label", "aria-checked", "aria-pressed", "aria-disabled", "aria-valuetext"];
const view = () => ({
  says: says.textContent, hidden: live.hidden, open: table.open,
  bold: live.all.filter((one) => one.tag === "b").map((one) => one.textContent),
  buttons: live.all.filter((one) => one.tag === "button").map((one) => [one.textContent, one.tabIndex, ...names.map((name) => one.getAttribute(name))]),
  slider: live.all.filter((one) => one.tag === "input").map((one) => one.getAttribute("aria-valuetext")),
  sums: live.all.filter((one) => one.className.startsWith("av-sum")).map((one) => [one.textContent, one.className]),
  focus: focused && (focused.getAttribute("aria-label") ?? focused.textContent),
});
const send = (target, name, event) => {
  const heard = { target, preventDefault() {}, stopPropagation() {}, ...event };
  live.all.filter((one) => one === target || one.all.includes(target)).reverse()
    .forEach((one) => (one.heard[name] ?? []).forEach((hear) => hear(heard)));
};
const button = (n) => live.all.filter((one) => one.tag === "button")[n];
const shown = [view()];
for (const [kind, what] of actions) {
  if (kind === "slide") {
    const input = live.all.find((one) => one.tag === "input");
    input.value = what;
    send(input, "input");
  } else if (kind === "press") {
    send(button(what), "click");
  } else {
    send(focused ?? button(0), "keydown", { key: what });
  }
  shown.push(view());
}
console.log(JSON.stringify(shown));
