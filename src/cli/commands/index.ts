/**
 * All commands, in the order of the help.
 */
import type { CliCommand } from '../command.ts';
import { conform } from './conform.ts';
import { demo } from './demo.ts';
import { script } from './script.ts';
import { simulate } from './simulate.ts';
import { stress } from './stress.ts';

export const COMMANDS: readonly CliCommand[] = [demo, stress, simulate, script, conform];
