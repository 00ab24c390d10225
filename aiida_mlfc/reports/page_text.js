'use strict';
// What the page knows, and how it is written.
// Names, errors and provenance come from files that others wrote: they reach the page through textContent only.

const byId = (id) => document.getElementById(id);
const read = (id) => JSON.parse(byId(id).textContent);
const overview = read('overview');
const rows = overview.rows.map((row, place) => ({ ...row, place }));

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
const readable = (key) => String(key).replaceAll('_', ' ');
const verdictClass = (text) => text === 'stable' ? 'stable' : text === 'unstable' ? 'unstable' : 'mixed';

const state = { key: null, descending: false, text: '', kind: 'all', shown: 0, open: new Map() };

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
