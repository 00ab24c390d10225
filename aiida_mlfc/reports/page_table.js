// The sortable table.

// Rows that are in the document at once; more come when they are asked for, so thousands do not freeze the page.
const PORTION = 200;
state.shown = PORTION;

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
  { key: 'truncation_error', label: 'Cut off', unit: 'THz', number: true, show: fixed(3) },
  { key: 'uncertainty', label: 'Unsure', unit: 'THz', number: true, show: fixed(3) },
  { key: 'supercell', label: 'Supercell', className: 'nowrap' },
  { key: 'with_nac', label: 'NAC', show: (value) => value === null ? '' : value ? 'yes' : 'no' },
  { key: 'seconds', label: 'Time', unit: 's', number: true, show: fixed(1) },
  // only potentials that hold an ensemble know how sure they are
].filter((column) => column.key !== 'uncertainty' || rows.some((row) => isNumber(row.uncertainty)));
const FIRST_UNKNOWN_OF_FAILED = 4;

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
      const cell = make('td', 'error', make('div', '', make('strong', '', 'failed: '), row.error || 'no reason was given'));
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
