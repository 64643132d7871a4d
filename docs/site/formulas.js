// Sets every formula that the page marks, \(inline\) and \[displayed\], with the KaTeX beside this file.
const KATEX = new URL("katex/", document.currentScript.src).href;

function add(tag, attributes) {
  document.head.appendChild(Object.assign(document.createElement(tag), attributes));
}

function set(formula) {
  const text = formula.textContent.trim();
  katex.render(text.slice(2, -2), formula, { displayMode: text.startsWith("\\["), throwOnError: false });
}

const formulas = document.querySelectorAll(".arithmatex");
if (formulas.length) {
  add("link", { rel: "stylesheet", href: KATEX + "katex.min.css" });
  add("script", { src: KATEX + "katex.min.js", onload: () => formulas.forEach(set) });
}
