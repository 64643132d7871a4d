// Sets every formula that the page marks, \(inline\) and \[displayed\], with KaTeX: version and content are pinned.
// Without a network, formulas stay as they were written.
const KATEX = "https://cdn.jsdelivr.net/npm/katex@0.16.47/dist/katex.min";
const STYLE = "sha384-nH0MfJ44wi1dd7w6jinlyBgljjS8EJAh2JBoRad8a3VDw2K69vfaaqm4WnR+gXtA";
const SCRIPT = "sha384-CwjPRVHTvLiMBFjEoij+QZViMV5rhTOIp7CJzl24JEqpRDA1sJFHVXXLURktbYYp";

function fetched(tag, attributes) {
  return document.head.appendChild(Object.assign(document.createElement(tag), { crossOrigin: "anonymous", ...attributes }));
}

function set(formula) {
  const text = formula.textContent.trim();
  katex.render(text.slice(2, -2), formula, { displayMode: text.startsWith("\\["), throwOnError: false });
}

const formulas = document.querySelectorAll(".arithmatex");
if (formulas.length) {
  fetched("link", { rel: "stylesheet", href: KATEX + ".css", integrity: STYLE });
  fetched("script", { src: KATEX + ".js", integrity: SCRIPT, onload: () => formulas.forEach(set) });
}
