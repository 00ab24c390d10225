// Scoreboard, table of pairs, and a panel with figures for each pair that is opened.

const CAPTIONS = {
  bands: 'Bands and density of states (mesh, Gaussian lines): reference grey, compared blue. Imaginary modes are negative.',
  thermal: 'Harmonic free energy, entropy and heat capacity (dashed) per mole of primitive cells.',
  parity: 'Frequencies on the mesh, and components of force constants, against those of the reference.',
  decay: 'Force constants of pairs of atoms against their distance.',
  shells: 'Mean error of each shell of neighbours beside the size of its force constants; the atom itself at 0.',
};
const signed = (digits) => (value) => isNumber(value) ? (value > 0 ? '+' : '') + fixed(digits)(value) : '';
const yesNo = (value) => value === null ? '' : value ? 'yes' : 'no';
const COLUMNS = [
  { key: 'name', label: 'Crystal' },
  { key: 'formula', label: 'Formula', show: (value) => value === null ? '' : formula(value) },
  { key: 'spacegroup', label: 'Space group', className: 'nowrap', show: (value) => value || '' },
  { key: 'b', label: 'Compared' },
  { key: 'relative_frobenius', label: 'ΔΦ/Φ', number: true, show: fixed(4) },
  { key: 'frequency_mae', label: 'MAE', unit: 'THz', number: true, show: fixed(4) },
  { key: 'frequency_max_error', label: 'max', unit: 'THz', number: true, show: fixed(3) },
  { key: 'max_frequency_error', label: 'Δω max', unit: 'K', number: true, show: signed(1) },
  { key: 'free_energy_error', label: 'ΔF', unit: 'kJ/mol', number: true, show: signed(3) },
  { key: 'entropy_error', label: 'ΔS', unit: 'J/K/mol', number: true, show: signed(2) },
  { key: 'heat_capacity_error', label: 'ΔC', unit: 'J/K/mol', number: true, show: signed(3) },
  { key: 'stable_a', label: 'Stable', show: (value, row) => make('span', row.stable_a === row.stable_b ? '' : 'unstable', `${yesNo(row.stable_a)}/${yesNo(row.stable_b)}`) },
  { key: 'nac', label: 'NAC', show: (value) => value || '' },
];
const FIRST_UNKNOWN = 4;
const SCORES = [
  ['max_frequency_K', 'ω max (K)', 1], ['entropy_J_per_K_mol', 'S (J/K/mol)', 2], ['free_energy_kJ_per_mol', 'F (kJ/mol)', 2],
  ['heat_capacity_J_per_K_mol', 'C (J/K/mol)', 2], ['frequency_mae_THz', 'ω MAE (THz)', 3], ['relative_frobenius', 'ΔΦ/Φ', 3],
];

/** Put the shared lists back where a figure refers to them. */
function resolve(value, arrays) {
  if (Array.isArray(value)) return value.map((item) => resolve(item, arrays));
  if (value === null || typeof value !== 'object') return value;
  if (isNumber(value.array)) return arrays[value.array];
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, arrays)]));
}

function headCell(text, number) {
  const cell = make('th', number ? 'number' : '', text);
  cell.scope = 'col';
  return cell;
}

function drawScores() {
  byId('scores').hidden = overview.scores.length === 0;
  const head = document.querySelector('#scoreboard thead tr'), body = document.querySelector('#scoreboard tbody');
  head.append(headCell('Compared'), ...SCORES.map(([, label]) => headCell(label, true)), headCell('References', true),
    headCell('Materials', true), headCell('Refused', true), headCell('Time (s)', true));
  for (const score of overview.scores) {
    const cells = SCORES.map(([key, , digits]) => {
      const found = score.errors[key];
      if (!found) return make('td', 'number', '');
      const cell = make('td', 'number', make('strong', '', fixed(digits)(found.mean)));
      if (isNumber(found.low)) cell.append(make('br'), make('small', 'quiet', `${fixed(digits)(found.low)} – ${fixed(digits)(found.high)}`));
      return cell;
    });
    body.append(make('tr', '', make('td', '', make('bdi', '', score.name)), ...cells, make('td', 'number', String(score.n_references)),
      make('td', 'number', String(score.n_materials)), make('td', 'number', String(score.n_failed)), make('td', 'number', fixed(1)(score.seconds))));
  }
  const kinds = [['stable_stable', 'stable → stable'], ['stable_unstable', 'stable → unstable'], ['unstable_stable', 'unstable → stable'], ['unstable_unstable', 'unstable → unstable']];
  document.querySelector('#confusion thead tr').append(headCell('Compared'), headCell('Threshold'), headCell('THz', true), ...kinds.map(([, label]) => headCell(label, true)));
  const thresholds = Object.entries(overview.thresholds).sort((a, b) => b[1] - a[1]);
  for (const score of overview.scores) for (const [name, value] of thresholds) {
    document.querySelector('#confusion tbody').append(make('tr', '', make('td', '', make('bdi', '', score.name)), make('td', '', readable(name)),
      make('td', 'number', fixed(3)(value)), ...kinds.map(([key]) => make('td', 'number', String(score.confusion[name].counts[key])))));
  }
}

const collator = new Intl.Collator('en', { numeric: true });
function order(a, b) {
  const x = a[state.key], y = b[state.key];
  const missing = (value) => value === null || value === undefined || value === '';
  if (missing(x) || missing(y)) return missing(x) - missing(y) || a.place - b.place;
  const sign = isNumber(x) && isNumber(y) ? Math.abs(x) - Math.abs(y) : collator.compare(String(x), String(y));
  return (state.descending ? -sign : sign) || a.place - b.place;
}

function tableRow(row) {
  const line = make('tr', state.open.has(row.place) ? 'open' : '');
  line.dataset.place = row.place;
  const opener = make('button', '', make('bdi', '', row.name));
  opener.type = 'button';
  opener.setAttribute('aria-expanded', String(state.open.has(row.place)));
  opener.addEventListener('click', () => toggle(row.place));
  line.append(make('td', 'name', row.status === 'ok' ? opener : make('bdi', '', row.name)));
  for (const [k, column] of COLUMNS.entries()) {
    if (k === 0) continue;
    if (row.status !== 'ok' && k === FIRST_UNKNOWN) {
      const cell = make('td', 'error', make('div', '', make('strong', '', 'refused: '), row.error || 'no reason was given'));
      cell.colSpan = COLUMNS.length - k;
      line.append(cell);
      break;
    }
    const value = row[column.key] ?? null;
    line.append(make('td', column.number ? 'number' : (column.className || ''), column.show ? column.show(value, row) : (value ?? '')));
  }
  return line;
}

function drawTable() {
  const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((row) => words.every((word) => [row.name, row.formula, row.spacegroup, row.error, row.a, row.b].filter(Boolean).join('\n').toLowerCase().includes(word)));
  if (state.key) found.sort(order);
  document.querySelector('#screen tbody').replaceChildren(...found.map(tableRow));
  byId('count').textContent = found.length === rows.length ? `${rows.length} pairs` : `${found.length} of ${rows.length} pairs`;
}

function drawHead() {
  const head = document.querySelector('#screen thead tr');
  for (const column of COLUMNS) {
    const button = make('button', '', make('span', 'label', column.label), make('small', '', column.unit || '\u00a0'));
    button.type = 'button';
    const cell = make('th', column.number ? 'number' : '', button);
    cell.scope = 'col';
    button.addEventListener('click', () => {
      // the worst come first at the first click
      state.descending = state.key === column.key ? !state.descending : Boolean(column.number);
      state.key = column.key;
      for (const other of head.children) other.removeAttribute('aria-sort');
      cell.setAttribute('aria-sort', state.descending ? 'descending' : 'ascending');
      drawTable();
    });
    head.append(cell);
  }
}

function plot(parent, kind, figure, row) {
  const holder = make('div', 'plot');
  holder.setAttribute('role', 'img');
  holder.setAttribute('aria-label', `${CAPTIONS[kind]} ${row.name}.`);
  parent.append(make('figure', kind === 'bands' ? 'wide' : '', holder, make('figcaption', '', CAPTIONS[kind])));
  Plotly.newPlot(holder, figure.data, figure.layout, {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: '',
    modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d'], toImageButtonOptions: { format: 'svg', filename: `${kind}-${row.place + 1}` },
  });
  return holder;
}

/** Both sides beside each other, errors by where they are taken, verdicts; the rest folded. */
function numbers(found) {
  const { a, b, mesh, commensurate, path, warnings, geometry, ...others } = found;
  const pair = (x, y) => ({ reference: x, compared: y });
  const sides = {
    'lowest frequency, mesh and path (THz)': pair(a.min_frequency, b.min_frequency),
    'highest frequency, supercell (THz)': pair(a.max_frequency, b.max_frequency),
    'F(300 K) (kJ/mol)': pair(a.free_energy, b.free_energy),
    'S(300 K) (J/K/mol)': pair(a.entropy, b.entropy),
    'C(300 K) (J/K/mol)': pair(a.heat_capacity, b.heat_capacity),
    'share of imaginary modes': pair(a.imaginary_share, b.imaginary_share),
    'taken away by symmetrisation': pair(a.projection_change, b.projection_change),
    method: pair(a.method, b.method),
  };
  const places = { 'mesh': mesh, 'wave vectors of the supercell': commensurate, 'path': path };
  const verdicts = Object.fromEntries(Object.keys(a.verdicts).map((key) => [`${readable(key)} (${fixed(3)(overview.thresholds[key])} THz)`, pair(a.verdicts[key], b.verdicts[key])]));
  const box = (title, content) => make('div', '', make('h4', '', title), record(content));
  const grid = make('div', 'figures', box('Both sides', sides), box('Stability', verdicts), box('Errors of frequencies (THz)', places), box('Geometry against the reference', geometry));
  const more = make('details', '', make('summary', '', 'All numbers'), record(others));
  return [grid, more];
}

function openPanel(place) {
  const row = rows[place], parcel = byId(`crystal-${place}`) ? read(`crystal-${place}`) : null;
  const panel = make('article', 'panel');
  panel.id = `panel-${place}`;
  panel.tabIndex = -1;
  const close = make('button', '', 'Close');
  close.type = 'button';
  close.addEventListener('click', () => toggle(place));
  panel.append(make('header', '', make('h3', '', make('bdi', '', row.name)), close));
  const what = make('p', 'quiet', formula(row.formula), ` · ${row.spacegroup} · ${row.a} against ${row.b}`);
  panel.append(what);
  byId('panels').append(panel);
  const plots = [];
  if (parcel) {
    for (const warning of parcel.facts.warnings) panel.append(make('p', 'warning', `Note: ${warning}`));
    const grid = make('div', 'figures');
    panel.append(grid);
    for (const kind of Object.keys(parcel.figures)) plots.push(plot(grid, kind, resolve(parcel.figures[kind], parcel.arrays), row));
    panel.append(...numbers(parcel.facts));
    if (Object.keys(parcel.origin).length) panel.append(make('h4', '', 'Where the reference comes from'), record(parcel.origin));
  }
  return { panel, plots };
}

function toggle(place, quietly = false) {
  const opened = state.open.get(place);
  if (opened) {
    opened.plots.forEach((holder) => Plotly.purge(holder));
    opened.panel.remove();
    state.open.delete(place);
  } else {
    state.open.set(place, openPanel(place));
    if (!quietly) {
      state.open.get(place).panel.focus({ preventScroll: true });
      state.open.get(place).panel.scrollIntoView({ block: 'start' });
    }
  }
  const line = document.querySelector(`#screen tr[data-place="${place}"]`);
  if (line) {
    line.classList.toggle('open', !opened);
    line.querySelector('button').setAttribute('aria-expanded', String(!opened));
  }
}

document.title = overview.title;
byId('title').textContent = overview.title;
byId('note').textContent = overview.note;
byId('threshold').textContent = String(overview.stability_threshold).replace('-', '−');
const refused = rows.filter((row) => row.status !== 'ok').length;
byId('summary').textContent = `${rows.length} pairs · ${rows.length - refused} compared · ${refused} refused`;
drawScores();
drawHead();
drawTable();
byId('filter').addEventListener('input', (event) => { state.text = event.target.value; drawTable(); });
const first = rows.find((row) => row.status === 'ok');
if (first) toggle(first.place, true);
