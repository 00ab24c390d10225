// One panel for each opened crystal: key numbers, figures, provenance.

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
    ['Truncation error of the supercell', isNumber(row.truncation_error) && `${fixed(3)(row.truncation_error)} THz`],
    ['Uncertainty of the frequencies', isNumber(row.uncertainty) && `${fixed(3)(row.uncertainty)} THz`],
    ['Acoustic sum residual', isNumber(row.acoustic_sum_residual) && `${scientific(1)(row.acoustic_sum_residual)} eV/Å²`],
    ['Supercell', row.supercell], ['q-mesh', more && more.mesh],
    [row.with_nac ? 'Frequencies at Γ, approached along the path (THz)' : 'Frequencies at Γ (THz)', more && more.gamma_frequencies.length <= 36 && more.gamma_frequencies.map(fixed(2)).join(', ')],
  ]);
}

/** A verdict's threshold with its name. */
function verdictLabel(name) {
  const found = overview.thresholds.find((t) => t.name === name);
  return found ? `At ${String(found.frequency).replace('-', '−')} THz (${readable(name)})` : readable(name);
}

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
    const chips = Object.entries(row.verdicts).map(([name, verdict]) => [verdictLabel(name), make('span', verdictClass(verdict), verdict)]);
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
