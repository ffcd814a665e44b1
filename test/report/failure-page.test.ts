import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { explore } from '../../src/engines/explore/explore.ts';
import { parseToken } from '../../src/engines/explore/token.ts';
import { type ExploreTrace, traceSchedule } from '../../src/report/explore-trace.ts';
import { failurePage } from '../../src/report/failure-page.ts';
import { loadScenario } from '../../src/scenarios/library.ts';
import { VmProgram } from '../../src/scenarios/vm-program.ts';

const CHROMIUM = '/usr/bin/chromium';
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
/** Where the tests must all run, a missing browser is a failure. */
const optional = process.env.CI !== 'true' && !existsSync(CHROMIUM);
if (optional) console.warn(`${CHROMIUM} is missing: the page of a failure is not tested`);

/** A name that would be markup, were it not taken for text. */
const HOSTILE = '</script><img src=x onerror="document.title = 1">$&';

async function failingTrace(): Promise<ExploreTrace> {
  const scenario = loadScenario('collapse-against-fault');
  const program = () => new VmProgram(scenario, { bugs: { 'no-freeze-before-flush': true } });
  const { findings } = await explore(program(), { policy: 'random', executions: 3000, depth: 5000 });
  expect(findings.length).toBeGreaterThan(0);
  const options = { everyStep: false, until: Number.POSITIVE_INFINITY, pictures: true };
  return traceSchedule(program(), parseToken(findings[0].token), options);
}

describe.skipIf(optional)('the page of a failure', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'tdpsim-page-'));
  let trace: ExploreTrace;
  let browser: Browser;
  let page: Page;
  const errors: string[] = [];

  beforeAll(async () => {
    trace = await failingTrace();
    const file = path.join(folder, 'failure.html');
    writeFileSync(
      file,
      failurePage(trace, { scenario: HOSTILE, pits: 'What it pits.', bugs: ['a-bug'], command: 'tdpsim replay x' }),
    );
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    page = await browser.newPage();
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => errors.push(message.text()));
    await page.goto(pathToFileURL(file).href);
  });

  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  it('says what was broken, and takes names for text', async () => {
    expect(await page.textContent('#finding')).toBe(trace.finding!.rule);
    expect(await page.textContent('#message')).toBe(trace.finding!.message);
    expect(await page.textContent('#scenario')).toContain(HOSTILE);
    expect(await page.title()).toContain(trace.finding!.rule);
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.locator('#rows tr').count()).toBe(trace.rows.length);
  });

  it('steps through the schedule by keys, buttons, the slider and rows', async () => {
    const at = async () => Number(await page.inputValue('#slider'));
    expect(await at()).toBe(trace.rows.length);
    await page.keyboard.press('Home');
    expect(await at()).toBe(0);
    expect(await page.textContent('#position')).toBe('before the first step');
    expect(await page.isDisabled('#back')).toBe(true);
    await page.click('#next');
    await page.keyboard.press('ArrowRight');
    expect(await at()).toBe(2);
    expect(await page.textContent('#rows tr[aria-current]')).toContain(trace.rows[1].text);
    await page.fill('#slider', '4');
    expect(await page.textContent('#rows tr[aria-current]')).toContain(trace.rows[3].text);
    await page.keyboard.press('ArrowLeft');
    expect(await at()).toBe(3);
    await page.keyboard.press('s');
    const row = await at();
    expect(trace.rows[row - 1].thread).not.toBe(trace.rows[row - 2].thread);
    await page.locator('#rows tr').nth(6).click();
    expect(await at()).toBe(7);
    await page.keyboard.press('End');
    expect(await page.isDisabled('#next')).toBe(true);
  });

  it('shows the page tables of each step, and what the step changed in them', async () => {
    const removal = trace.rows.findIndex(({ text }) => /: table \d+ -> empty/.test(text));
    const table = /table (\d+)/.exec(trace.rows[removal].text)![1];
    await page.fill('#slider', String(removal));
    expect(await page.textContent('#trees')).toContain(`table ${table}`);
    await page.keyboard.press('ArrowRight');
    expect(await page.textContent('#trees')).toContain(`no longer: level 2, gfn 0x10: table ${table}`);
    await page.keyboard.press('End');
    const { states, forests } = trace.pictures;
    const shown = await page.locator('#trees ul ul li > span:first-child').allTextContents();
    const entries = forests[states.at(-1)!.forest].flatMap((tree) => tree.entries);
    expect(shown).toEqual(entries.map(({ level, gfn, text }) => `level ${level}, gfn 0x${gfn.toString(16)}: ${text}`));
  });

  it('shows who holds what, and what TLBs hold', async () => {
    const taken = trace.rows.findIndex(({ text }) => text.startsWith('mmu_lock taken for read'));
    await page.fill('#slider', String(taken + 1));
    const thread = trace.threads[trace.rows[taken].thread];
    expect(await page.locator('#holdings tr', { has: page.locator(`th:text-is("${thread}")`) }).textContent()).toContain(
      'mmu_lock (read)',
    );
    await page.keyboard.press('End');
    const held = trace.pictures.states.at(-1)!.threads.flatMap(({ tlb }) => tlb ?? []);
    expect(held).toContainEqual(expect.stringMatching(/^level 1, gfn 0x1[0-3]: frame/));
    const shown = await page.textContent('#tlbs');
    for (const translation of held) expect(shown).toContain(translation);
  });

  it('leads from the history of the gfn to the rows that changed it', async () => {
    const items = page.locator('#history button');
    expect(await items.count()).toBeGreaterThan(1);
    await items.first().click();
    const text = (await items.first().textContent())!.replace(/^step \d+, \w+: /, '');
    expect(await page.textContent('#rows tr[aria-current]')).toContain(text);
  });

  it('fits a narrow screen, and follows the colour scheme', async () => {
    await page.setViewportSize({ width: 400, height: 800 });
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(400);
    const colours: string[] = [];
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      colours.push(await page.evaluate('getComputedStyle(document.body).backgroundColor'));
    }
    expect(new Set(colours).size).toBe(2);
  });

  it('logs no error', () => {
    expect(errors).toEqual([]);
  });
});
