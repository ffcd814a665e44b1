/** A failing schedule as a page of its own that steps through it: see `page/`. */
import { historyOf } from './explore-columns.ts';
import type { ExploreTrace } from './explore-trace.ts';
import template from './page/page.html';
import type { PageData } from './page/page-data.ts';

/** What a page says besides the trace. */
export interface PageTitle {
  readonly scenario: string;
  readonly pits: string;
  readonly bugs: readonly string[];
  /** The command that shows the same in a terminal. */
  readonly command: string;
}

/** Where the template wants the data. */
const DATA = '"data goes here"';

/** The page, as HTML that needs nothing else. `trace` must have pictures. */
export function failurePage(trace: ExploreTrace, title: PageTitle): string {
  const { threads, finding, steps, pictures } = trace;
  const history = historyOf(trace);
  const data: PageData = {
    ...title,
    finding,
    steps,
    threads,
    rows: trace.rows.map(({ step, thread, kind, text }) => ({ step, thread, kind, text })),
    states: pictures.states,
    forests: pictures.forests,
    history: history === null ? null : { gfn: history.gfn, rows: history.changes.map(({ row }) => row) },
  };
  // A script element ends at the first '</script', whatever JSON it is in; a function, since '$&' means something in a string.
  const json = JSON.stringify(data).replaceAll('<', '\\u003c');
  return template.replace(DATA, () => json);
}
