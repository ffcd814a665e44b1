/**
 * Switches that put historical bugs back, each read at the place of the rule that it breaks. All are off unless a hunt turns
 * one on; the catalogue beside the oracles says what each was.
 */
export interface BugSwitches {
  readonly [id: string]: boolean | undefined;
}

export const NO_BUGS: BugSwitches = Object.freeze({});
