/**
 * `--profile NAME|FILE.json`: a built-in machine, or a user's own.
 */
import { readFileSync } from 'node:fs';
import type { MachineProfile } from '../engines/virtual/profile.ts';
import { ProfileError, readProfile } from '../engines/virtual/profile-check.ts';
import { PROFILES } from '../engines/virtual/profiles/index.ts';
import { profileFor } from '../simulate/simulation.ts';
import { UsageError, unknownName } from '../workloads/usage-error.ts';

export const PROFILE_HELP = `the modelled machine: ${Object.keys(PROFILES).join(', ')}, or a JSON file (default: by the number of vCPUs)`;

/** Errors: UsageError for a name that there is not, and for a file that cannot be read or describes no machine. */
export function profileOption(given: string | undefined, vcpus: number): MachineProfile {
  if (given === undefined) return profileFor(vcpus);
  if (Object.hasOwn(PROFILES, given)) return PROFILES[given];
  if (!given.endsWith('.json')) throw unknownName('profile', given, Object.keys(PROFILES));
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(given, 'utf8'));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UsageError(`--profile ${given}: ${code === 'ENOENT' ? 'there is no such file' : `is no JSON: ${message}`}`);
  }
  try {
    return readProfile(json, PROFILES);
  } catch (error) {
    if (error instanceof ProfileError) throw new UsageError(`--profile ${given}: ${error.problems.join('; ')}`);
    throw error;
  }
}
