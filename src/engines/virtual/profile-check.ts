/**
 * Checks a profile that a user wrote (JSON), with one line for each problem.
 *
 * The table below is the whole schema: every field, what it must be. `extends` names a built-in profile whose fields
 * stand where the file says nothing, so that a file may hold only what differs.
 */
import { Cost } from '../../machine/cost.ts';
import { type MachineProfile, PREEMPTIONS, RESCHED_RULES } from './profile.ts';
import { type TopologyShape, topologyProblems } from './topology.ts';

type Rule =
  | { readonly kind: 'text' }
  | { readonly kind: 'choice'; readonly of: readonly string[] }
  | { readonly kind: 'number'; readonly min: number; readonly max: number; readonly unit: string }
  | { readonly kind: 'topology' };

/** A day, in nanoseconds: no single step takes longer. */
const DAY_NS = 86_400e9;

const TEXT: Rule = { kind: 'text' };
const TOPOLOGY: Rule = { kind: 'topology' };
const TIME: Rule = { kind: 'number', min: 0, max: DAY_NS, unit: 'nanoseconds' };
/** Times that must not be zero, because clocks advance by them. */
const PERIOD: Rule = { kind: 'number', min: 1, max: DAY_NS, unit: 'nanoseconds' };

const times = (...names: string[]): Record<string, Rule> => Object.fromEntries(names.map((name) => [name, TIME]));

const FIELDS: Record<string, Rule | Record<string, Rule>> = {
  name: TEXT,
  description: TEXT,
  topology: { sockets: TOPOLOGY, coresPerSocket: TOPOLOGY, threadsPerCore: TOPOLOGY },
  access: times('hitNs', 'storeNs', 'atomicNs', 'fenceNs', 'pauseNs', 'storeBufferNs'),
  transfer: times('siblingNs', 'socketNs', 'remoteNs', 'memoryNs', 'fanoutNs'),
  scheduler: {
    ...times('contextSwitchNs', 'wakeNs', 'wakeupNs'),
    sliceNs: PERIOD,
    tickNs: PERIOD,
    resched: { kind: 'choice', of: RESCHED_RULES },
    preemption: { kind: 'choice', of: PREEMPTIONS },
  },
  jitter: { kind: 'number', min: 0, max: 0.5, unit: '' },
  costs: times(...Object.keys(Cost)),
};

const isRule = (entry: Rule | Record<string, Rule>): entry is Rule => typeof entry.kind === 'string';
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const shown = (value: unknown): string => (value === undefined ? 'missing' : JSON.stringify(value));

function checkField(path: string, rule: Rule, value: unknown, problems: string[]): void {
  if (value === undefined) {
    problems.push(`${path} is missing`);
  } else if (rule.kind === 'text') {
    if (typeof value !== 'string' || value === '') problems.push(`${path} must be a non-empty string, not ${shown(value)}`);
  } else if (rule.kind === 'choice') {
    if (typeof value !== 'string' || !rule.of.includes(value)) {
      problems.push(`${path} must be one of ${rule.of.join(', ')}, not ${shown(value)}`);
    }
  } else if (rule.kind === 'number') {
    if (typeof value !== 'number' || !(value >= rule.min && value <= rule.max)) {
      const range = `${rule.min} to ${rule.max} ${rule.unit}`.trimEnd();
      problems.push(`${path} must be a number from ${range}, not ${shown(value)}`);
    }
  }
}

function checkGroup(path: string, rules: Record<string, Rule>, value: unknown, problems: string[]): void {
  if (value === undefined) {
    problems.push(`${path} is missing`);
    return;
  }
  if (!isObject(value)) {
    problems.push(`${path} must be an object, not ${shown(value)}`);
    return;
  }
  for (const name of Object.keys(rules)) checkField(`${path}.${name}`, rules[name], value[name], problems);
  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(rules, name)) {
      problems.push(`${path}.${name} is not known; ${path} has ${Object.keys(rules).join(', ')}`);
    }
  }
}

/** What is wrong with a complete profile, one line a problem; empty where the engine can take it. */
export function profileProblems(value: unknown): string[] {
  if (!isObject(value)) return [`a profile must be an object, not ${shown(value)}`];
  const problems: string[] = [];
  for (const [name, entry] of Object.entries(FIELDS)) {
    if (isRule(entry)) checkField(name, entry, value[name], problems);
    else checkGroup(name, entry, value[name], problems);
  }
  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(FIELDS, name)) problems.push(`${name} is not known; a profile has ${Object.keys(FIELDS).join(', ')}`);
  }
  const { topology } = value;
  if (isObject(topology) && Object.values(topology).every((n) => n !== undefined) && Object.keys(topology).length === 3) {
    problems.push(...topologyProblems(topology as unknown as TopologyShape));
  }
  return problems;
}

/** A user's profile that cannot be used; `problems` has one line each. */
export class ProfileError extends Error {
  override readonly name = 'ProfileError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/**
 * Makes a profile of parsed JSON. Fields that are absent come from the built-in profile that `extends` names.
 *
 * @throws ProfileError with every problem found.
 * @example
 * readProfile({ extends: 'laptop-8', name: 'slow-exits', costs: { vmExit: 2000 } }, PROFILES)
 */
export function readProfile(json: unknown, builtIn: Readonly<Record<string, MachineProfile>>): MachineProfile {
  if (!isObject(json)) throw new ProfileError([`a profile must be an object, not ${shown(json)}`]);
  const { extends: baseName, ...own } = json;
  let merged: Record<string, unknown> = own;
  if (baseName !== undefined) {
    if (typeof baseName !== 'string' || !Object.hasOwn(builtIn, baseName)) {
      throw new ProfileError([`extends must be one of ${Object.keys(builtIn).join(', ')}, not ${shown(baseName)}`]);
    }
    merged = { ...builtIn[baseName] };
    for (const [name, value] of Object.entries(own)) {
      const below = merged[name];
      merged[name] = isObject(value) && isObject(below) ? { ...below, ...value } : value;
    }
  }
  const problems = profileProblems(merged);
  if (problems.length > 0) throw new ProfileError(problems);
  return merged as unknown as MachineProfile;
}
