/**
 * All commands, in the order of the help.
 */
import type { CliCommand } from '../command.ts';
import { compare } from './compare.ts';
import { conform } from './conform.ts';
import { demo } from './demo.ts';
import { kernels } from './kernels.ts';
import { paper } from './paper.ts';
import { script } from './script.ts';
import { simulate } from './simulate.ts';
import { stress } from './stress.ts';
import { sweep } from './sweep.ts';
import { walk } from './walk.ts';

export const COMMANDS: readonly CliCommand[] = [demo, stress, simulate, sweep, compare, paper, script, conform, walk, kernels];
