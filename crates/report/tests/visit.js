// What a user would do with the keyboard and see; the verdict goes to an attribute of the body.
(() => {
  const faults = [];
  const must = (holds, what) => { if (!holds) faults.push(what); };
  const svg = document.querySelector("#chart-loss svg.frame");
  const press = (key) => svg.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  press("End");
  const said = document.getElementById("said").textContent;
  must(said.startsWith("step 399"), "cursor says: " + said);
  const last = JSON.parse(document.getElementById("data").textContent).runs[0].columns.loss.at(-1);
  must(said.includes(String(+last.toPrecision(6))), "cursor lacks the loss " + last + ": " + said);
  press("+");
  const box = svg.querySelector("svg.plot").getAttribute("viewBox");
  must(box !== "0 0 1000 1000", "zoom does nothing");
  const other = document.querySelector("#chart-lr svg.plot").getAttribute("viewBox");
  must(box === other, "charts zoom apart");
  press("Escape");
  must(svg.querySelector("svg.plot").getAttribute("viewBox").endsWith("1000 1000"), "Escape does not reset");
  const button = document.querySelector("#chart-loss .legend button");
  button.click();
  must(button.getAttribute("aria-pressed") === "false", "the legend hides nothing");
  button.click();
  must(document.documentElement.scrollWidth <= window.innerWidth, "scrolls sideways: " + document.documentElement.scrollWidth);
  for (const image of document.querySelectorAll("svg.frame")) must(image.getAttribute("aria-label"), "a chart without a label");
  for (const section of document.querySelectorAll("section")) must(section.querySelector("h2"), "a section without a heading");
  svg.dispatchEvent(new Event("blur"));
  document.body.dataset.visited = faults.length ? faults.join("; ") : "sound";
})();
