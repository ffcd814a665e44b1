/**
 * A mistake of the user: an unknown name, a value that means nothing. One line, without a stack trace.
 */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`. */
export function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let edits = Math.min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) edits = Math.min(edits, rows[i - 2][j - 2] + 1);
      row.push(edits);
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}

/** More names than this are no help in an error. */
const NAMES_LISTED = 12;

const byDistance = (given: string, names: readonly string[]): readonly { readonly name: string; readonly edits: number }[] =>
  names.map((name) => ({ name, edits: editDistance(given, name.toLowerCase()) })).sort((a, b) => a.edits - b.edits);

/** The name that was most likely meant, or nothing where none is near. */
export function nearestName(given: string, names: readonly string[]): string | undefined {
  const wanted = given.toLowerCase();
  const [best] = byDistance(wanted, names);
  if (best && best.edits <= Math.max(2, Math.floor(wanted.length / 3))) return best.name;
  return names.find((name) => wanted.length >= 3 && name.toLowerCase().startsWith(wanted));
}

/** The error for a name that is none of `names`: with the nearest one, or with all of them. */
export function unknownName(what: string, given: string, names: readonly string[]): UsageError {
  const near = nearestName(given, names);
  if (near !== undefined) return new UsageError(`unknown ${what} '${given}': did you mean '${near}'?`);
  if (names.length <= NAMES_LISTED) return new UsageError(`unknown ${what} '${given}': there are ${names.join(', ')}`);
  const [{ name }] = byDistance(given.toLowerCase(), names);
  return new UsageError(`unknown ${what} '${given}': the nearest of ${names.length} is '${name}'`);
}

/** Why a file that should be `wanted` cannot be read, by the code of the system's error; nothing for other codes. */
export function unreadableText(code: string | undefined, wanted: string): string | undefined {
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EISDIR') return `is a directory, not ${wanted}`;
  if (code === 'EACCES' || code === 'EPERM') return 'may not be read';
  return undefined;
}
