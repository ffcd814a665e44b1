/**
 * The command line.
 */
import { Command } from 'commander';
import manifest from '../../package.json' with { type: 'json' };

const program = new Command('tdpsim').description(manifest.description).version(manifest.version);

await program.parseAsync();
