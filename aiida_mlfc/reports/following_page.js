'use strict';
// A tree of crystals. All text reaches the page through textContent only.

const byId = (id) => document.getElementById(id);
const overview = JSON.parse(byId('overview').textContent);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const child of children) if (child !== null && child !== undefined) element.append(child);
  return element;
}

const number = (value, digits) => typeof value === 'number' ? value.toFixed(digits).replace('-', '−') : '';
const CLASSES = { stable: 'stable', unstable: 'unstable', failed: 'error' };

/** Headings as [text, unit]; lines as lists of [text, class]. */
function fill(table, heads, lines) {
  const row = table.querySelector('thead tr');
  for (const [text, unit] of heads) {
    const th = make('th', unit === null ? '' : 'number', text, unit ? make('br') : null, unit ? make('small', 'quiet', unit) : null);
    th.scope = 'col';
    row.append(th);
  }
  for (const line of lines) table.querySelector('tbody').append(make('tr', '', ...line.map(([text, kind]) => make('td', kind, text))));
}

const { nodes, outcome } = overview;
byId('title').textContent = overview.title;
document.title = overview.title;
byId('note').textContent = overview.note;
const named = (k) => { const node = nodes.find((n) => n.identifier === k); return `crystal ${k}, ${node.spacegroup}, ${number(node.energy, 3)} meV/atom`; };
const said = { stable: 'The lowest crystal found is stable', budget: 'The lowest crystal found is not known to be stable', failed: 'The lowest crystal found could not be judged' };
byId('summary').append(`${nodes.length} crystals. ${said[outcome.state]}: ${named(outcome.lowest)}.`
  + (outcome.stable !== null && outcome.stable !== outcome.lowest ? ` The lowest stable one: ${named(outcome.stable)}.` : ''));

fill(byId('crystals'),
  [['', null], ['from', null], ['space group', null], ['verdict', null], ['atoms', ''], ['energy', 'meV/atom'], ['volume', 'Å³/atom'], ['mode', null], ['direction', null],
    ['frequency', 'THz'], ['amplitude', 'Å'], ['gain', 'meV/atom'], ['lowest', 'THz'], ['denser mesh', 'THz'], ['', null]],
  nodes.map((n) => [[String(n.identifier), ''], [n.parent === null ? '' : String(n.parent), ''], [n.spacegroup, 'nowrap'],
    [n.verdict, `nowrap ${CLASSES[n.verdict] || 'mixed'}`], [String(n.n_atoms), 'number'],
    [number(n.energy, 3), 'number'], [number(n.volume, 3), 'number'], [n.via ? n.via.qpoint : '', 'nowrap'], [n.via ? n.via.direction : '', 'nowrap'],
    [n.via ? number(n.via.frequency, 3) : '', 'number'], [n.via ? number(n.via.amplitude, 3) : '', 'number'], [n.via ? number(n.via.gain, 3) : '', 'number'],
    [number(n.lowest_frequency, 3), 'number'], [number(n.confirmed_frequency, 3), 'number'], [n.reason, 'quiet']]));

const lost = nodes.flatMap((n) => n.dropped.map((d) => ({ ...d, from: n.identifier })));
byId('dropped-section').hidden = !lost.length;
fill(byId('dropped'), [['from', null], ['mode', null], ['frequency', 'THz'], ['direction', null], ['amplitude', 'Å'], ['displaced to', null], ['what became of it', null]],
  lost.map((d) => [[String(d.from), ''], [d.qpoint, 'nowrap'], [number(d.frequency, 3), 'number'], [d.direction, 'nowrap'], [number(d.amplitude, 3), 'number'], [d.spacegroup, 'nowrap'], [d.reason, '']]));

const axis = { ticks: 'outside', showline: true, gridcolor: '#e3e7ec' };
const layout = { ...overview.figure.layout, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', font: { family: 'inherit', size: 13 } };
layout.yaxis = { ...axis, ...layout.yaxis };
Plotly.newPlot(byId('tree'), overview.figure.data, layout, { responsive: true, displaylogo: false });
