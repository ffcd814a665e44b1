/**
 * All commands, in the order of the help.
 */
import type { CliCommand } from '../command.ts';
import { bugs } from './bugs.ts';
import { compare } from './compare.ts';
import { conform } from './conform.ts';
import { demo } from './demo.ts';
import { explore } from './explore.ts';
import { kernels } from './kernels.ts';
import { litmus } from './litmus.ts';
import { paper } from './paper.ts';
import { replay } from './replay.ts';
import { scenarios } from './scenarios.ts';
import { script } from './script.ts';
import { simulate } from './simulate.ts';
import { stress } from './stress.ts';
import { sweep } from './sweep.ts';
import { walk } from './walk.ts';

export const COMMANDS: readonly CliCommand[] = [
  demo,
  stress,
  simulate,
  sweep,
  compare,
  paper,
  script,
  conform,
  walk,
  kernels,
  scenarios,
  explore,
  replay,
  bugs,
  litmus,
];
