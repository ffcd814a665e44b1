/** Compares what calls returned. */

/** A result without what belongs to the recorded machine: addresses, and the words for an errno. */
function canonical(result: string): string {
  return result
    .replace(/ ?hva_mod_1g=0x[0-9a-f]+/g, '')
    .replace(/\s*\([A-Z][A-Za-z ]*\)/g, '')
    .trim();
}

export const sameResult = (expected: string, got: string): boolean => canonical(expected) === canonical(got);
