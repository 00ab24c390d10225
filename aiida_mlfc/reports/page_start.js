// Words and model cards, what the controls do, and printing.

// CSS pixels between the margins of a portrait A4 or Letter sheet, panel's own margin taken off.
const PAPER_WIDTH = 660;

function drawCards() {
  const place = byId('potentials');
  place.hidden = overview.cards.length === 0;
  if (overview.cards.length > 1) byId('potentials-heading').textContent = 'Potentials';
  for (const card of overview.cards) {
    const { name, ...others } = card;
    const first = ['description', 'architecture', 'elements', 'species', 'licence', 'license', 'sha256', 'errors'];
    const ordered = {};
    for (const key of [...first, ...Object.keys(others)]) if (key in others) ordered[key] = others[key];
    place.append(make('article', 'panel', make('h3', '', String(name ?? 'potential')), record(ordered)));
  }
}

function drawWords() {
  document.title = overview.title;
  byId('title').textContent = overview.title;
  byId('note').textContent = overview.note;
  const count = (condition) => rows.filter(condition).length;
  const failed = count((r) => r.status === 'failed'), stable = count((r) => r.verdict === 'stable');
  const parts = [`${rows.length} crystals`, `${stable} stable at every threshold`,
    `${rows.length - failed - stable} unstable at some`, `${failed} failed`];
  byId('summary').textContent = parts.join(' · ');
  const body = document.querySelector('#thresholds tbody');
  for (const t of overview.thresholds) {
    body.append(make('tr', '', make('td', '', t.name), make('td', 'number', String(t.frequency).replace('-', '−')), make('td', '', t.meaning)));
  }
}

/** The browser prints as soon as the handler returns: relayout draws at once, Plots.resize would wait. */
function fitPlots(size) {
  for (const { plots } of state.open.values()) plots.forEach((holder) => Plotly.relayout(holder, size));
}

drawWords();
drawHead();
drawTable();
drawCards();
byId('filter').addEventListener('input', (event) => { state.text = event.target.value; state.shown = PORTION; drawTable(); });
byId('kind').addEventListener('change', (event) => { state.kind = event.target.value; state.shown = PORTION; drawTable(); });
byId('more').addEventListener('click', () => { state.shown += PORTION; drawTable(); });
// On paper there is no button for more, and figures have another width.
window.addEventListener('beforeprint', () => {
  state.shown = rows.length;
  drawTable();
  fitPlots({ width: PAPER_WIDTH, autosize: false });
});
window.addEventListener('afterprint', () => fitPlots({ width: null, autosize: true }));
// The page should not begin with an empty half: the first crystal that has figures is open.
const first = rows.find((row) => row.status === 'ok');
if (first) toggle(first.place, true);
