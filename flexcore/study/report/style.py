"""Look and behaviour of the report: colours for light and dark screens, style sheet, and the script that draws figures.

Figures name colours as '$local', '$red', ...; the script puts in the value of the present theme, so that a change of
theme or printing (always light) draws them again.
"""

#: Colour names -> value on light screens and paper.
LIGHT = {
    "page": "#f5f6f8",
    "card": "#ffffff",
    "ink": "#17212b",
    "muted": "#5a6875",
    "line": "#dce2e8",
    "soft": "#eef1f4",
    "local": "#1f66b0",
    "local_soft": "#c6daf0",
    "global": "#b8571a",
    "global_soft": "#f3d8c5",
    "third": "#6b4fa0",
    "green": "#3f9b6c",
    "yellow": "#eab931",
    "red": "#c8372d",
    "none": "#c9d1d9",
    "load0": "#b4c3d2",
    "load1": "#86a9cb",
    "load2": "#3f7fbf",
    "load3": "#dd9f14",
    "load4": "#dc5420",
    "load5": "#9c0f3c",
    "tint0": "#cbd2d9",
    "tint1": "#a6c7b3",
    "tint2": "#e5d19c",
    "tint3": "#c5b6df",
    "tint4": "#e6b4ae",
    "tint5": "#a9cbe0",
    "local_shade": "rgba(31,102,176,0.14)",
    "global_shade": "rgba(184,87,26,0.12)",
    "local_flow": "rgba(31,102,176,0.32)",
    "global_flow": "rgba(184,87,26,0.32)",
    "green_flow": "rgba(63,155,108,0.32)",
    "red_flow": "rgba(200,55,45,0.32)",
    "third_flow": "rgba(107,79,160,0.32)",
}
#: The same names on dark screens.
DARK = {
    "page": "#10151a",
    "card": "#182027",
    "ink": "#e6ecf1",
    "muted": "#9aa8b5",
    "line": "#2c3843",
    "soft": "#202a33",
    "local": "#69aef5",
    "local_soft": "#2b4a6b",
    "global": "#f29a5c",
    "global_soft": "#64422b",
    "third": "#b79cf0",
    "green": "#4bb981",
    "yellow": "#f0c74b",
    "red": "#f0645a",
    "none": "#43505c",
    "load0": "#3f4f5f",
    "load1": "#4b6f94",
    "load2": "#5c9fe0",
    "load3": "#e9b440",
    "load4": "#ff7d45",
    "load5": "#ff4f86",
    "tint0": "#46535f",
    "tint1": "#3d6650",
    "tint2": "#6e6034",
    "tint3": "#584d78",
    "tint4": "#74484a",
    "tint5": "#3b6079",
    "local_shade": "rgba(105,174,245,0.18)",
    "global_shade": "rgba(242,154,92,0.15)",
    "local_flow": "rgba(105,174,245,0.36)",
    "global_flow": "rgba(242,154,92,0.36)",
    "green_flow": "rgba(75,185,129,0.36)",
    "red_flow": "rgba(240,100,90,0.36)",
    "third_flow": "rgba(183,156,240,0.36)",
}


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name.replace('_', '-')}:{value};" for name, value in colours.items())


CSS = (
    ":root{color-scheme:light;" + _variables(LIGHT) + "}\n"
    "@media (prefers-color-scheme:dark){:root:not([data-theme=light]){color-scheme:dark;" + _variables(DARK) + "}}\n"
    ":root[data-theme=dark]{color-scheme:dark;" + _variables(DARK) + "}\n"
    """
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:4rem;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"Noto Sans","DejaVu Sans",sans-serif}
main,.head{max-width:1240px;margin:0 auto;padding:0 1.25rem}
.head{padding-top:2.2rem;padding-bottom:.6rem}
h1{font-size:2rem;line-height:1.2;margin:0 0 .35rem;letter-spacing:-.015em}
h2{font-size:1.35rem;line-height:1.25;margin:0 0 .3rem;letter-spacing:-.01em}
h3{font-size:1rem;margin:1.4rem 0 .5rem}
p{margin:.3rem 0 .7rem;max-width:112ch}
.sub,.lead,.note,figcaption{color:var(--muted)}
.sub{display:flex;flex-wrap:wrap;align-items:baseline}.sub span{white-space:nowrap}
.sub span+span:not(.flag)::before{content:"\\00b7";margin:0 .55em}.sub .flag{margin-left:.7em}
nav{position:sticky;top:0;z-index:5;background:var(--page);border-bottom:1px solid var(--line)}
nav div{max-width:1240px;margin:0 auto;padding:.55rem 1.25rem;display:flex;gap:.2rem 1.05rem;flex-wrap:wrap;
align-items:center}
nav a{color:var(--muted);text-decoration:none;font-size:.88rem;white-space:nowrap}
nav a:hover{color:var(--ink);text-decoration:underline}
nav button{margin-left:auto}
a{color:var(--local)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.3rem 1.5rem;margin:1.1rem 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(215px,1fr));gap:.8rem;margin:.9rem 0 0}
.tile{background:var(--soft);border-radius:8px;padding:.75rem .95rem .8rem}
.tile b{display:block;font-size:1.55rem;font-weight:650;line-height:1.25;font-variant-numeric:tabular-nums;
letter-spacing:-.01em}
.tile b small{font-size:.95rem;font-weight:500;color:var(--muted);margin-left:.22em}
.tile .name{font-size:.83rem;color:var(--muted)}
.tile .more{font-size:.83rem;line-height:1.4;margin-top:.1rem}
.flag{display:inline-block;border-radius:99px;padding:.05rem .6rem;font-size:.8rem;background:var(--global-soft);
color:var(--ink)}
.scroll{overflow-x:auto;margin:.3rem 0 .6rem}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
.cap{margin:0;color:var(--muted);font-size:.83rem;padding:.1rem 0 .35rem}
th,td{padding:.3rem .55rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{font-weight:600;font-size:.8rem;color:var(--muted);vertical-align:bottom}
th:first-child,td:first-child{padding-left:.1rem}
td.n,th.n{text-align:right}td.n,td.k{white-space:nowrap}
td.w{min-width:15rem}
tfoot td{font-weight:650;border-bottom:0;border-top:1.5px solid var(--muted)}
tbody tr:hover{background:var(--soft)}
table.dense{font-size:.81rem}.dense th{font-size:.74rem}.dense th,.dense td{padding-left:.34rem;padding-right:.34rem}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(245px,1fr));gap:0 1.6rem;margin:.6rem 0 0}
.facts div{display:flex;justify-content:space-between;gap:1rem;border-bottom:1px solid var(--line);padding:.24rem 0;
font-size:.88rem}
.facts dt{color:var(--muted)}.facts dd{margin:0;text-align:right;overflow-wrap:anywhere;
font-variant-numeric:tabular-nums}
.cols{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:.4rem 2.2rem}
.cols>*{min-width:0}
.stack{display:flex;height:1.15rem;border-radius:5px;overflow:hidden;margin:.35rem 0;background:var(--soft)}
.stack i{display:block;height:100%}
.keys{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;font-size:.85rem;margin:0 0 .5rem;padding:0;list-style:none}
.keys i,.key{display:inline-block;width:.72em;height:.72em;border-radius:2px;margin-right:.42em}
.bars{display:grid;grid-template-columns:minmax(9rem,15rem) 1fr auto;gap:.3rem .8rem;align-items:center;
font-size:.86rem;margin:.5rem 0}
.bars .track{height:.78rem;background:var(--soft);border-radius:3px;overflow:hidden}
.bars .track i{display:block;height:100%;border-radius:3px}
.bars .v{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bars .what{grid-column:1/-1;color:var(--muted);font-size:.8rem;margin:-.25rem 0 .15rem}
.kpis{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:1rem 2.2rem}
.kpi{min-width:0;border-top:3px solid var(--local);padding-top:.55rem}
.kpi h3{margin:0;font-size:.95rem}
.kpi .big{font-size:1.7rem;font-weight:650;line-height:1.2;font-variant-numeric:tabular-nums}
figure{margin:.7rem 0 0}
figcaption{font-size:.83rem}
.plot{width:100%;min-height:120px}
[hidden]{display:none!important}
.controls{display:flex;flex-wrap:wrap;gap:.5rem .9rem;align-items:center;font-size:.87rem;margin:.2rem 0}
.segments{display:inline-flex;border:1px solid var(--line);border-radius:7px;overflow:hidden}
.segments label{padding:.28rem .75rem;cursor:pointer;border-left:1px solid var(--line)}
.segments label:first-child{border-left:0}
.segments input{position:absolute;opacity:0;pointer-events:none}
.segments label:has(input:checked){background:var(--local);color:var(--card)}
.segments label:has(input:focus-visible){outline:2px solid var(--local);outline-offset:2px}
select,button{font:inherit;font-size:.87rem;color:var(--ink);background:var(--card);border:1px solid var(--line);
border-radius:7px;padding:.25rem .6rem;max-width:100%}
input[type=range]{width:min(15rem,50vw);accent-color:var(--local)}
code{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;background:var(--soft);
border-radius:4px;padding:.1em .35em;overflow-wrap:anywhere}
.none{color:var(--muted);font-style:italic}
footer{max-width:1240px;margin:0 auto;padding:.4rem 1.25rem 2.5rem;color:var(--muted);font-size:.83rem}
@media (max-width:640px){section{padding:1rem .9rem}.bars{grid-template-columns:minmax(6rem,9rem) 1fr auto}
nav{position:static}}
@page{size:A4;margin:12mm}
@media print{body{background:#fff;font-size:10.5pt}nav,.controls button,nav button{display:none}
section{border:0;border-radius:0;padding:0 0 .4rem;margin:0 0 1rem;break-inside:auto}h2,h3,.lead{break-after:avoid}
.modebar{display:none!important}
figure,.tile,.kpi,tr{break-inside:avoid}.scroll{overflow:visible}main,.head{padding:0;max-width:none}
th,td{padding:.16rem .35rem}
table{font-size:7.5pt}.tile,.stack i,.track i,.track,.key,.keys i{print-color-adjust:exact;
-webkit-print-color-adjust:exact}}
"""
)

SCRIPT = r"""
(function () {
"use strict";
const read = id => JSON.parse(document.getElementById(id).textContent);
const figures = read("figures"), palettes = read("palettes");
const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
const shown = {};
const wanted = new URLSearchParams(location.search);
let forced = wanted.get("theme"), printing = false;
if (forced !== "light" && forced !== "dark") forced = null;
if (forced) root.dataset.theme = forced;

const theme = () => printing ? "light" : forced || (dark.matches ? "dark" : "light");
function paint(value, colours) {
  if (typeof value === "string") return value[0] === "$" ? colours[value.slice(1)] || value : value;
  if (Array.isArray(value)) {
    const plain = v => typeof v === "number" || v === null;
    return plain(value[0]) && plain(value[value.length - 1]) ? value : value.map(v => paint(v, colours));
  }
  if (value && typeof value === "object") {
    if (ArrayBuffer.isView(value)) return value;
    const copy = {};
    for (const key in value) copy[key] = paint(value[key], colours);
    return copy;
  }
  return value;
}
function frame(c) {
  const axis = {gridcolor: c.line, zerolinecolor: c.line, linecolor: c.line, tickcolor: c.line, automargin: true,
                title: {font: {size: 12, color: c.muted}, standoff: 8}, tickfont: {color: c.muted, size: 11.5}};
  return {paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: {l: 60, r: 16, t: 34, b: 44},
    font: {family: getComputedStyle(document.body).fontFamily, size: 12.5, color: c.ink},
    hoverlabel: {bgcolor: c.card, bordercolor: c.muted, font: {color: c.ink, size: 12.5}, align: "left"},
    legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: {size: 12}},
    modebar: {bgcolor: "rgba(0,0,0,0)", color: c.muted, activecolor: c.ink},
    template: {layout: {xaxis: axis, yaxis: axis, annotationdefaults: {font: {color: c.ink}}}}};
}
function draw(id) {
  const figure = figures[id], place = document.getElementById("plot-" + id), c = palettes[theme()];
  const chosen = figure.map ? mapView(figure.map) : figure.variants[shown[id] || 0];
  const layout = Object.assign(frame(c), paint(chosen.layout, c));
  if (chosen.layout.legend) layout.legend = Object.assign(frame(c).legend, paint(chosen.layout.legend, c));
  if (printing) layout.width = 690;
  place.style.height = layout.height + "px";
  Plotly.react(place, paint(chosen.data, c), layout, {responsive: true, displaylogo: false,
    displayModeBar: matchMedia("(hover:hover)").matches ? "hover" : false,  // on a touch screen it would stay
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"]});
  // the bands of a money flow fade in; paper does not wait for that
  if (printing) place.querySelectorAll(".sankey-link").forEach(band => { band.style.opacity = 1; });
}
const drawAll = () => Object.keys(figures).forEach(draw);

// ---- map: one copy of the coordinates, from which every view makes a few traces
const decoded = new Map();
function numbers(packed) {
  if (!decoded.has(packed)) {
    const bytes = Uint8Array.from(atob(packed.bdata), ch => ch.charCodeAt(0));
    const type = {f4: Float32Array, u1: Uint8Array, i2: Int16Array}[packed.dtype];
    decoded.set(packed, new type(bytes.buffer));
  }
  return decoded.get(packed);
}
const view = {name: "before", hour: 0};
function mapView(m) {
  const x0 = numbers(m.x0), y0 = numbers(m.y0), x1 = numbers(m.x1), y1 = numbers(m.y1), thick = numbers(m.thick);
  const lights = view.name === "up" || view.name === "down", n = x0.length;
  let classes, names, colour;
  if (lights) {
    const all = numbers(m.lights), perimeter = numbers(m.perimeter), count = m.perimeters.length;
    const start = ((view.name === "down" ? m.n_hours : 0) + view.hour) * count;
    classes = Uint8Array.from(perimeter, p => p < 0 ? 0 : all[start + p]);
    names = m.light_names; colour = ["$none", "$green", "$yellow", "$red"];
  } else {
    classes = numbers(m[view.name]); names = m.load_names;
    colour = ["$load0", "$load1", "$load2", "$load3", "$load4", "$load5"];
  }
  const lines = new Map();
  for (let i = 0; i < n; i++) {
    if (x0[i] === x1[i] && y0[i] === y1[i]) continue;
    const key = classes[i] * 2 + thick[i];
    if (!lines.has(key)) lines.set(key, {x: [], y: []});
    const xy = lines.get(key);
    xy.x.push(x0[i], x1[i], null); xy.y.push(y0[i], y1[i], null);
  }
  const data = [];
  for (let k = 0; k < names.length; k++) {
    data.push({type: "scatter", mode: "markers", x: [null], y: [null], name: names[k], legendgroup: "c" + k,
               hoverinfo: "skip", marker: {symbol: "square", size: 11, color: colour[k]}, showlegend: true});
    for (const t of [0, 1]) {
      const xy = lines.get(k * 2 + t);
      if (!xy) continue;
      const width = (t ? 2.6 : 1.1) + (!lights && k >= 4 ? 2.2 : !lights && k === 3 ? 1 : 0);
      data.push({type: "scatter", mode: "lines", x: xy.x, y: xy.y, line: {color: colour[k], width: width},
                 hoverinfo: "skip", legendgroup: "c" + k, showlegend: false});
    }
  }
  const spots = m.spots, at = Array.from(spots.branch), size = lights ? 7 : 9;
  data.push({type: "scatter", mode: "markers", x: at.map(i => (x0[i] + x1[i]) / 2), y: at.map(i => (y0[i] + y1[i]) / 2),
    text: spots.text, hovertemplate: "%{text}<extra></extra>", showlegend: false,
    marker: {symbol: "square", size: at.map((i, j) => spots.transformer[j] ? size : 7),
             opacity: spots.transformer.map(t => t ? 1 : 0), line: {width: 1, color: "$card"},
             color: at.map(i => colour[classes[i]])}});
  if (!lights) {
    const band = m.band[view.name];
    data.push({type: "scatter", mode: "markers", x: band.x, y: band.y, text: band.text,
      name: "voltage outside its band", hovertemplate: "%{text}<extra></extra>",
      marker: {symbol: "circle-open", size: 7, color: "$third", line: {width: 1.3}}});
  } else {
    const count = m.perimeters.length, first = ((view.name === "down" ? m.n_hours : 0) + view.hour) * count;
    const capability = numbers(m.capability), movable = numbers(m.movable), all = numbers(m.lights);
    const kw = v => v.toLocaleString("en", {maximumFractionDigits: 1});
    data.push({type: "scatter", mode: "markers", x: m.centre_x, y: m.centre_y, showlegend: false,
      text: m.perimeters.map((p, i) => "<b>" + p + "</b><br>" + m.light_names[all[first + i]] + "<br>" +
        kw(capability[first + i]) + " of " + kw(movable[first + i]) + " kW " + view.name),
      hovertemplate: "%{text}<extra></extra>",
      marker: {symbol: "circle", size: 11, opacity: 0.95, color: m.perimeters.map((p, i) => colour[all[first + i]]),
               line: {width: 1.5, color: "$card"}}});
  }
  return {data: data, layout: {height: 720, margin: {l: 4, r: 4, t: 40, b: 4}, hovermode: "closest", dragmode: "pan",
    uirevision: "map", xaxis: {visible: false}, yaxis: {visible: false, scaleanchor: "x"},
    legend: {itemclick: false, itemdoubleclick: false}}};
}
function mapControls() {
  const m = figures.map.map, slider = document.getElementById("map-hour");
  const label = document.getElementById("map-hour-label");
  const update = () => {
    const lights = view.name === "up" || view.name === "down";
    view.hour = +slider.value;
    slider.parentElement.hidden = !lights;
    label.textContent = lights ? m.hours[view.hour] : "highest loading of the day";
  };
  const change = () => { update(); requestAnimationFrame(() => draw("map")); };
  document.querySelectorAll("input[name=map-view]").forEach(input =>
    input.addEventListener("change", () => { view.name = input.value; change(); }));
  slider.addEventListener("input", change);
  // ?map=up&hour=18 opens the page at that view
  if (wanted.get("hour")) slider.value = wanted.get("hour");
  document.querySelectorAll("input[name=map-view]").forEach(input => {
    if (input.value === wanted.get("map")) { input.checked = true; view.name = input.value; } });
  update();
}

document.querySelectorAll("select[data-figure]").forEach(select => select.addEventListener("change", () => {
  shown[select.dataset.figure] = select.selectedIndex; draw(select.dataset.figure); }));
document.getElementById("theme").addEventListener("click", () => {
  forced = theme() === "dark" ? "light" : "dark"; root.dataset.theme = forced; drawAll(); });
dark.addEventListener("change", () => { if (!forced) drawAll(); });
addEventListener("beforeprint", () => { printing = true; root.dataset.theme = "light"; drawAll(); });
addEventListener("afterprint", () => {
  printing = false; if (forced) root.dataset.theme = forced; else delete root.dataset.theme; drawAll(); });
if (figures.map) mapControls();
drawAll();
})();
"""
