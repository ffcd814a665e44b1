/**
 * All commands, in the order of the help.
 */
import type { CliCommand } from '../command.ts';
import { demo } from './demo.ts';
import { stress } from './stress.ts';

export const COMMANDS: readonly CliCommand[] = [demo, stress];
