/** What exploring many scenarios came to: a line for each, printed as it becomes known. */
import type { ExploreReport } from '../engines/explore/explore.ts';
import type { Policy } from '../engines/explore/options.ts';
import { count } from './quantity.ts';

const NAME_WIDTH = 38;
const CELL_WIDTH = 15;

/** The heads of the columns: executions by policy, then what all of them came to. */
export function exploreTableHead(policies: readonly Policy[]): string {
  const cells = [...policies, 'final states', 'most steps'].map((title) => title.padStart(CELL_WIDTH));
  return `${'scenario'.padEnd(NAME_WIDTH)}${cells.join('')}  verdict`;
}

/** The line of one scenario. A policy that did not have to run, since every trace was known, has a dash. */
export function exploreTableLine(name: string, policies: readonly Policy[], reports: ReadonlyMap<Policy, ExploreReport>): string {
  const all = [...reports.values()];
  const most = (of: (report: ExploreReport) => number): string => count(Math.max(0, ...all.map(of)));
  const executions = policies.map((policy) => {
    const report = reports.get(policy);
    return report === undefined ? '-' : count(report.executions);
  });
  const cells = [...executions, most((report) => report.states), most((report) => report.stepsMax)];
  return `${name.padEnd(NAME_WIDTH)}${cells.map((cell) => cell.padStart(CELL_WIDTH)).join('')}  ${verdict(all)}`;
}

function verdict(reports: readonly ExploreReport[]): string {
  const broken = reports.flatMap(({ findings }) => findings)[0];
  if (broken !== undefined) return broken.rule;
  return reports.some(({ complete }) => complete) ? 'complete' : 'held';
}
