/**
 * A broken invariant found by the single source itself: the BUG_ON and WARN_ON of the model.
 *
 * Expected races are return values and user mistakes are `UsageError`s; this is the third kind. It carries data, because a
 * worker pool drops an error's class.
 */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
  /** The rule that was broken, in kebab case; a stable name for reports and tests. */
  readonly rule: string;

  constructor(rule: string, message: string) {
    super(message);
    this.rule = rule;
  }
}

/** Throws an {@link InvariantError} of `rule` where `condition` does not hold. */
export function invariant(condition: boolean, rule: string, message: string): asserts condition {
  if (!condition) throw new InvariantError(rule, message);
}
