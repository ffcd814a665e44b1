/**
 * The script of a failure's page: shows the row of the schedule that the reader is at, and the machine behind it. Runs in a
 * browser. Texts come from users' files too, so they become text nodes, never markup.
 */
import type { PageData, PageEntry, PageState, PageTree } from './page-data.ts';

const data = JSON.parse(byId('data').textContent ?? '') as PageData;
const slider = byId('slider') as HTMLInputElement;

/** Entries by key of each forest, for what a row changed. */
const entries = data.forests.map((trees) => new Map(trees.flatMap((tree) => tree.entries.map((entry) => [entry.key, entry]))));

/** How many rows are behind the reader: 0 is the machine before the first. */
let at = data.rows.length;

function byId(id: string): HTMLElement {
  return document.getElementById(id) as HTMLElement;
}

type Attributes = Readonly<Record<string, string>>;

function element(tag: string, attributes: Attributes = {}, ...children: readonly (Node | string)[]): HTMLElement {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const hex = (n: number): string => `0x${n.toString(16)}`;

function showTitle(): void {
  const { scenario, pits, bugs, command, finding, steps } = data;
  const back = bugs.length === 0 ? '' : ` with ${bugs.join(', ')} put back`;
  document.title = `${finding?.rule ?? 'held'}: ${scenario}`;
  byId('scenario').textContent = `${scenario}${back}. ${pits}`;
  byId('finding').textContent = finding === null ? `No rule was broken in ${steps} steps` : finding.rule;
  byId('finding').classList.toggle('held', finding === null);
  byId('message').textContent = finding?.message ?? '';
  byId('command').textContent = command;
}

/** Whether another thread runs than in the row before. */
const isSwitch = (row: number): boolean => row > 0 && data.rows[row].thread !== data.rows[row - 1].thread;

function showSchedule(): void {
  const shown = data.threads.flatMap((_, thread) => (data.rows.some((row) => row.thread === thread) ? [thread] : []));
  const titles = shown.map((thread) => element('th', { scope: 'col' }, data.threads[thread]));
  byId('threads').replaceChildren(element('tr', {}, element('th', { class: 'step', scope: 'col' }, 'step'), ...titles));
  const rows = data.rows.map(({ step, thread, kind, text }, row) => {
    const columns = shown.map((column) => element('td', {}, column === thread ? text : ''));
    const head = element('th', { class: 'step', scope: 'row' }, String(step));
    const line = element('tr', { class: `${kind}${isSwitch(row) ? ' switch' : ''}` }, head, ...columns);
    line.addEventListener('click', () => go(row + 1));
    return line;
  });
  byId('rows').replaceChildren(...rows);
}

function showHistory(): void {
  const { history, rows, threads } = data;
  byId('history-title').hidden = history === null;
  if (history === null) return;
  byId('history-title').textContent = `History of gfn ${hex(history.gfn)}`;
  const items = history.rows.map((row) => {
    const { step, thread, text } = rows[row];
    const button = element('button', { type: 'button' }, `step ${step}, ${threads[thread]}: ${text}`);
    button.addEventListener('click', () => go(row + 1));
    return element('li', {}, button);
  });
  byId('history').replaceChildren(...items);
}

function showTrees(state: PageState, before: PageState | null): void {
  const trees = data.forests[state.forest];
  const known = before === null ? null : entries[before.forest];
  const notes = [
    ...(trees.length === 0 ? ['no root'] : []),
    ...[...(known ?? [])].flatMap(([key, { level, gfn, text }]) =>
      entries[state.forest].has(key) ? [] : [`no longer: level ${level}, gfn ${hex(gfn)}: ${text}`],
    ),
    ...state.detached.map((page) => `out of the tree, not yet free: table ${page}`),
  ];
  const lines = notes.map((note) => element('li', { class: 'none' }, note));
  byId('trees').replaceChildren(...trees.map((tree) => treeOf(tree, known)), element('ul', { class: 'tree' }, ...lines));
}

/** The entries of a tree, each table's below it. */
function treeOf(tree: PageTree, before: ReadonlyMap<string, PageEntry> | null): HTMLElement {
  const { root, asId, invalid } = tree;
  const name = `root ${root}${asId === 0 ? '' : `, address space ${asId}`}${invalid ? ', invalid' : ''}`;
  const list = element('ul', { class: 'tree', 'aria-label': name });
  const heads: { level: number; list: HTMLElement }[] = [];
  const below = element('ul');
  list.append(element('li', {}, element('span', {}, name), below));
  for (const entry of tree.entries) {
    while (heads.length > 0 && heads[heads.length - 1].level <= entry.level) heads.pop();
    const into = heads.at(-1)?.list ?? below;
    const item = entryItem(entry, before?.get(entry.key) ?? null, before !== null);
    into.append(item);
    if (entry.kind !== 'table') continue;
    const inner = element('ul');
    item.append(inner);
    heads.push({ level: entry.level, list: inner });
  }
  return list;
}

function entryItem({ level, gfn, kind, text }: PageEntry, was: PageEntry | null, compare: boolean): HTMLElement {
  const changed = compare && was?.text !== text;
  const label = element('span', { class: kind }, `level ${level}, gfn ${hex(gfn)}: ${text}`);
  const old = changed ? [' ', element('span', { class: 'was' }, was?.text ?? 'empty')] : [];
  return element('li', changed ? { class: 'changed' } : {}, label, ...old);
}

function showThreads({ threads }: PageState): void {
  const head = element(
    'tr',
    {},
    ...['thread', 'in', 'holds', 'waits for'].map((title) => element('th', { scope: 'col' }, title)),
  );
  const lines = threads.flatMap(({ operation, holds, waitsFor, rcu }, thread) => {
    if (operation === '' && holds.length === 0 && waitsFor === '' && !rcu) return [];
    const held = [...holds, ...(rcu ? ['rcu_read_lock'] : [])].join(', ');
    const name = element('th', { scope: 'row' }, data.threads[thread]);
    return [element('tr', {}, name, ...[operation, held, waitsFor].map((text) => element('td', {}, text)))];
  });
  byId('holdings').replaceChildren(element('thead', {}, head), element('tbody', {}, ...lines));
}

function showTlbs({ threads }: PageState): void {
  const lists = threads.flatMap(({ tlb }, thread) => {
    if (tlb === null) return [];
    const items = tlb.length === 0 ? [element('li', { class: 'none' }, 'empty')] : tlb.map((text) => element('li', {}, text));
    return [element('ul', { class: 'tree' }, element('li', {}, data.threads[thread], element('ul', {}, ...items)))];
  });
  byId('tlb-title').hidden = lists.length === 0;
  byId('tlbs').replaceChildren(...lists);
}

function positionText(): string {
  if (at === 0) return 'before the first step';
  const { step, thread } = data.rows[at - 1];
  return `row ${at} of ${data.rows.length}, step ${step}, ${data.threads[thread]}`;
}

/** Shows the machine behind the first `rows` rows. */
function go(rows: number): void {
  at = Math.max(0, Math.min(data.rows.length, rows));
  const state = data.states[at];
  slider.value = String(at);
  slider.setAttribute('aria-valuetext', positionText());
  byId('position').textContent = positionText();
  for (const [row, line] of [...byId('rows').children].entries()) {
    line.classList.toggle('ahead', row >= at);
    if (row === at - 1) {
      line.setAttribute('aria-current', 'step');
      line.scrollIntoView({ block: 'nearest' });
    } else {
      line.removeAttribute('aria-current');
    }
  }
  for (const id of ['first', 'back']) (byId(id) as HTMLButtonElement).disabled = at === 0;
  for (const id of ['next', 'last', 'switch']) (byId(id) as HTMLButtonElement).disabled = at === data.rows.length;
  showTrees(state, at === 0 ? null : data.states[at - 1]);
  showThreads(state);
  showTlbs(state);
}

/** To the first row of the next thread that runs, or to the end. */
function nextSwitch(): void {
  let row = at;
  while (row < data.rows.length && !isSwitch(row)) row++;
  go(row + 1);
}

const KEYS: Readonly<Record<string, () => void>> = {
  ArrowRight: () => go(at + 1),
  ArrowLeft: () => go(at - 1),
  Home: () => go(0),
  End: () => go(data.rows.length),
  s: nextSwitch,
};

function listen(): void {
  slider.max = String(data.rows.length);
  slider.addEventListener('input', () => go(Number(slider.value)));
  byId('first').addEventListener('click', KEYS.Home);
  byId('back').addEventListener('click', KEYS.ArrowLeft);
  byId('next').addEventListener('click', KEYS.ArrowRight);
  byId('last').addEventListener('click', KEYS.End);
  byId('switch').addEventListener('click', nextSwitch);
  document.addEventListener('keydown', (event) => {
    const act = event.ctrlKey || event.metaKey || event.altKey ? undefined : KEYS[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  });
}

showTitle();
showSchedule();
showHistory();
listen();
go(at);
