'use strict';
// Names, errors and provenance come from files that others wrote: they reach the page through textContent only.
(() => {
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const overview = read('overview');
  const rows = overview.rows.map((row, place) => ({ ...row, place }));
  // Rows that are in the document at once; more come when they are asked for, so thousands do not freeze the page.
  const PORTION = 200;

  /** An element with a class, and children that are elements or texts. */
  function make(tag, className, ...children) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    for (const child of children) if (child !== null && child !== undefined) element.append(child);
    return element;
  }

  /** Digits of a formula as subscripts. */
  function formula(text) {
    const span = make('span');
    for (const part of String(text).split(/(\d+)/)) if (part) span.append(/^\d+$/.test(part) ? make('sub', '', part) : part);
    return span;
  }

  const isNumber = (value) => typeof value === 'number';
  const fixed = (digits) => (value) => isNumber(value) ? value.toFixed(digits).replace('-', '−') : '';
  const scientific = (digits) => (value) => isNumber(value) ? value.toExponential(digits).replace('-', '−') : '';
  const verdictClass = (text) => text === 'stable' ? 'stable' : text === 'unstable' ? 'unstable' : 'mixed';

  // key, heading, unit, how it is written; numbers are set right and sorted as numbers.
  const COLUMNS = [
    { key: 'name', label: 'Crystal' },
    { key: 'formula', label: 'Formula', show: (value) => value === null ? '' : formula(value) },
    { key: 'spacegroup', label: 'Space group', className: 'nowrap' },
    { key: 'n_atoms', label: 'Atoms', number: true, show: fixed(0) },
    { key: 'verdict', label: 'Verdict', show: (value) => make('span', verdictClass(value), value.replaceAll('-', '−')) },
    { key: 'min_frequency', label: 'Lowest', unit: 'THz', number: true, show: fixed(3) },
    { key: 'max_frequency', label: 'Highest', unit: 'THz', number: true, show: fixed(3) },
    { key: 'free_energy_300K', label: 'F(300 K)', unit: 'kJ/mol', number: true, show: fixed(2) },
    { key: 'zero_point_energy', label: 'ZPE', unit: 'kJ/mol', number: true, show: fixed(2) },
    { key: 'max_residual_force', label: 'Force', unit: 'eV/Å', number: true, show: scientific(0) },
    { key: 'supercell', label: 'Supercell', className: 'nowrap' },
    { key: 'with_nac', label: 'NAC', show: (value) => value === null ? '' : value ? 'yes' : 'no' },
    { key: 'seconds', label: 'Time', unit: 's', number: true, show: fixed(1) },
  ];
  const FIRST_UNKNOWN_OF_FAILED = 4;

  const state = { key: null, descending: false, text: '', kind: 'all', shown: PORTION, open: new Map() };

  // ---- table ----------------------------------------------------------------------------------------------------

  const collator = new Intl.Collator('en', { numeric: true });
  function compare(a, b) {
    const x = a[state.key], y = b[state.key];
    const missing = (value) => value === null || value === undefined || value === '';
    if (missing(x) || missing(y)) return missing(x) - missing(y) || a.place - b.place;  // what is unknown comes last, always
    const order = isNumber(x) && isNumber(y) ? x - y : collator.compare(String(x), String(y));
    return (state.descending ? -order : order) || a.place - b.place;
  }

  const haystack = rows.map((row) => [row.name, row.formula, row.spacegroup, row.error, row.potential, row.verdict,
    ...row.warnings].filter(Boolean).join('\n').toLowerCase());
  function wanted() {
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const kinds = { all: () => true, failed: (r) => r.status === 'failed',
      stable: (r) => r.verdict === 'stable', unstable: (r) => r.status === 'ok' && r.verdict !== 'stable' };
    const found = rows.filter((row) => kinds[state.kind](row) && words.every((word) => haystack[row.place].includes(word)));
    if (state.key) found.sort(compare);
    return found;
  }

  function tableRow(row) {
    const line = make('tr', state.open.has(row.place) ? 'open' : '');
    line.dataset.place = row.place;
    const opener = make('button', '', make('bdi', '', row.name));
    opener.type = 'button';
    opener.setAttribute('aria-expanded', String(state.open.has(row.place)));
    opener.addEventListener('click', () => toggle(row.place));
    line.append(make('td', 'name', opener));
    for (const [k, column] of COLUMNS.entries()) {
      if (k === 0) continue;
      if (row.status === 'failed' && k === FIRST_UNKNOWN_OF_FAILED) {
        const cell = make('td', 'error', make('strong', '', 'failed: '), row.error || 'no reason was given');
        cell.colSpan = COLUMNS.length - k;
        line.append(cell);
        break;
      }
      const value = row[column.key];
      const content = column.show ? column.show(value) : (value ?? '');
      line.append(make('td', column.number ? 'number' : (column.className || ''), content));
    }
    return line;
  }

  function drawTable() {
    const found = wanted();
    const seen = found.slice(0, state.shown);
    document.querySelector('#screen tbody').replaceChildren(...seen.map(tableRow));
    byId('count').textContent = found.length === rows.length ? `${rows.length} crystals` : `${found.length} of ${rows.length} crystals`;
    byId('more-line').hidden = seen.length === found.length;
    byId('more').textContent = `Show ${Math.min(PORTION, found.length - seen.length)} more of ${found.length - seen.length}`;
  }

  function drawHead() {
    const head = document.querySelector('#screen thead tr');
    for (const column of COLUMNS) {
      const button = make('button', '', make('span', 'label', column.label), make('small', '', column.unit || '\u00a0'));
      button.type = 'button';
      const cell = make('th', column.number ? 'number' : '', button);
      cell.scope = 'col';
      button.addEventListener('click', () => {
        state.descending = state.key === column.key && !state.descending;
        state.key = column.key;
        for (const other of head.children) other.removeAttribute('aria-sort');
        cell.setAttribute('aria-sort', state.descending ? 'descending' : 'ascending');
        drawTable();
      });
      head.append(cell);
    }
  }

  // ---- panels ---------------------------------------------------------------------------------------------------

  /** Put the shared lists back where a figure refers to them. */
  function resolve(value, arrays) {
    if (Array.isArray(value)) return value.map((item) => resolve(item, arrays));
    if (value === null || typeof value !== 'object') return value;
    if (isNumber(value.array)) return arrays[value.array];
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, arrays)]));
  }

  const CAPTIONS = {
    bands: 'Phonon bands and density of states. Imaginary modes are negative and red.',
    thermal: 'Harmonic thermal properties per mole of primitive cells.',
    stability: 'Share of all modes on the mesh below a threshold; verdicts at the thresholds in use.',
  };

  function plot(parent, kind, figure, row) {
    const holder = make('div', 'plot');
    holder.setAttribute('role', 'img');
    holder.setAttribute('aria-label', `${CAPTIONS[kind]} ${row.name}: ${row.min_frequency} to ${row.max_frequency} THz.`);
    parent.append(make('figure', kind === 'bands' ? 'wide' : '', holder, make('figcaption', '', CAPTIONS[kind])));
    const filename = `${kind}-${row.place + 1}`;
    Plotly.newPlot(holder, figure.data, figure.layout, {
      responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: '',
      modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d'], toImageButtonOptions: { format: 'svg', filename },
    });
    return holder;
  }

  function facts(pairs) {
    const list = make('dl', 'facts');
    for (const [label, value] of pairs) if (value) list.append(make('div', '', make('dt', '', label), make('dd', '', value)));
    return list;
  }

  function keyNumbers(row, more) {
    const at = more ? more.at_300K : {};
    return facts([
      ['Lowest frequency', isNumber(row.min_frequency) && `${fixed(4)(row.min_frequency)} THz` + (more ? ` at q = (${more.lowest_at.map(fixed(3)).join(', ')})` : '')],
      ['Highest frequency', isNumber(row.max_frequency) && `${fixed(3)(row.max_frequency)} THz`],
      ['Noise floor', isNumber(row.noise_floor) && `${scientific(1)(row.noise_floor)} THz`],
      ['F(300 K)', isNumber(row.free_energy_300K) && `${fixed(3)(row.free_energy_300K)} kJ/mol`],
      ['S(300 K)', isNumber(at.entropy) && `${fixed(2)(at.entropy)} J/K/mol`],
      [make('span', '', 'C', make('sub', '', 'V'), '(300 K)'), isNumber(at.heat_capacity) && `${fixed(2)(at.heat_capacity)} J/K/mol`],
      ['Zero-point energy', isNumber(row.zero_point_energy) && `${fixed(3)(row.zero_point_energy)} kJ/mol`],
      ['Largest residual force', isNumber(row.max_residual_force) && `${scientific(1)(row.max_residual_force)} eV/Å`],
      ['Acoustic sum residual', isNumber(row.acoustic_sum_residual) && `${scientific(1)(row.acoustic_sum_residual)} eV/Å²`],
      ['Supercell', row.supercell], ['q-mesh', more && more.mesh],
      [row.with_nac ? 'Frequencies at Γ, no direction of approach (THz)' : 'Frequencies at Γ (THz)', more && more.gamma_frequencies.length <= 36 && more.gamma_frequencies.map(fixed(2)).join(', ')],
    ]);
  }

  /** Any nested value as lists and tables of text. */
  function record(value) {
    if (value === null || value === undefined) return make('span', 'quiet', '–');
    if (typeof value !== 'object') return make('span', '', isNumber(value) ? String(Number(value.toPrecision(6))) : String(value));
    const flat = (item) => item === null || typeof item !== 'object';
    if (Array.isArray(value) && value.every(flat)) return make('span', '', value.join(', '));
    const entries = Array.isArray(value) ? value.map((item, k) => [String(k + 1), item]) : Object.entries(value);
    const inner = entries.map(([, item]) => item);
    if (inner.length && inner.every((item) => !flat(item) && !Array.isArray(item) && Object.values(item).every(flat))) {
      const keys = [...new Set(inner.flatMap((item) => Object.keys(item)))];
      const heads = (Array.isArray(value) ? keys : ['', ...keys]).map((key) => { const th = make('th', '', readable(key)); th.scope = 'col'; return th; });
      const lines = entries.map(([label, item]) => make('tr', '', Array.isArray(value) ? null : make('th', '', readable(label)),
        ...keys.map((key) => make('td', isNumber(item[key]) ? 'number' : '', record(item[key])))));
      return make('div', 'table-wrap', make('table', '', make('thead', '', make('tr', '', ...heads)), make('tbody', '', ...lines)));
    }
    const list = make('dl', 'record');
    for (const [label, item] of entries) list.append(make('dt', '', readable(label)), make('dd', '', record(item)));
    return list;
  }
  const readable = (key) => String(key).replaceAll('_', ' ');

  function openPanel(place) {
    const row = rows[place];
    const panel = make('article', 'panel');
    panel.id = `panel-${place}`;
    panel.tabIndex = -1;
    const title = make('h3', '', make('bdi', '', row.name));
    const close = make('button', '', 'Close');
    close.type = 'button';
    close.addEventListener('click', () => toggle(place));
    panel.append(make('header', '', title, close));
    const what = make('p', 'quiet');
    if (row.formula) what.append(formula(row.formula));
    for (const text of [row.spacegroup, isNumber(row.n_atoms) ? `${row.n_atoms} ${row.n_atoms === 1 ? 'atom' : 'atoms'}` : '', row.potential ? `potential ${row.potential}` : '', row.with_nac ? 'with non-analytical correction' : '']) {
      if (text) what.append(what.textContent ? ` · ${text}` : text);
    }
    panel.append(what);
    byId('panels').append(panel);
    const plots = [];
    const parcel = read(`crystal-${place}`);
    if (row.status === 'failed') panel.append(make('p', 'error', row.error || 'no reason was given'));
    for (const warning of row.warnings) panel.append(make('p', 'warning', `Note: ${warning}`));
    if (row.status === 'ok') {
      const chips = Object.entries(row.verdicts).map(([name, verdict]) => [name.replaceAll('_', ' '), make('span', verdictClass(verdict), verdict)]);
      panel.append(keyNumbers(row, parcel.facts), facts(chips));
      const kinds = Object.keys(parcel.figures);
      if (kinds.length) {
        const grid = make('div', 'figures');
        panel.append(grid);
        for (const kind of kinds) plots.push(plot(grid, kind, resolve(parcel.figures[kind], parcel.arrays), row));
      } else panel.append(make('p', 'quiet', 'The phonons of this crystal are not in this page, only its numbers.'));
    }
    const origin = { ...parcel.provenance };
    for (const [label, key] of [['structure uuid', 'structure_uuid'], ['force constants uuid', 'force_constants_uuid'], ['potential sha256', 'potential_sha256']]) {
      if (row[key] && !Object.values(origin).includes(row[key])) origin[label] = row[key];
    }
    if (Object.keys(origin).length) panel.append(make('h4', '', 'Where these numbers come from'), record(origin));
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
      if (opened && !quietly) line.querySelector('button').focus();
    }
  }

  // ---- the rest of the page -------------------------------------------------------------------------------------

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
    for (const { plots } of state.open.values()) plots.forEach((holder) => Plotly.Plots.resize(holder));
  });
  // The page should not begin with an empty half: the first crystal that has figures is open.
  const first = rows.find((row) => row.status === 'ok');
  if (first) toggle(first.place, true);
})();
