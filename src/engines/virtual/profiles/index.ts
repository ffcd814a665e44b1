/** The built-in machine profiles, by name. */
import type { MachineProfile } from '../profile.ts';
import { laptop8 } from './laptop-8.ts';
import { skylake2s96 } from './skylake-2s-96.ts';
import { ultramem416 } from './ultramem-416.ts';

export const PROFILES: Readonly<Record<string, MachineProfile>> = {
  [skylake2s96.name]: skylake2s96,
  [ultramem416.name]: ultramem416,
  [laptop8.name]: laptop8,
};

export { laptop8, skylake2s96, ultramem416 };
