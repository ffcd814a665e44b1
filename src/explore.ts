export { acquire } from './engines/explore/access.ts';
export type { Program } from './engines/explore/program.ts';
