/**
 * The scenarios that are explored to their end in about a second, and how many executions that takes with optimal reduction: no
 * interleaving of them breaks a rule. A test explores them all again; another number means that the MMU, the machine below it, or the
 * reduction has changed.
 */
export const COMPLETE_EXECUTIONS: Readonly<Record<string, number>> = {
  'small-collapse-against-zap-range': 58,
  'small-enable-log-against-unmap': 135,
  'small-fast-fault-against-zap-range': 100,
  'small-fault-against-fault': 28,
  'small-fault-against-zap-range': 137,
  'small-get-log-against-zap-range': 3,
  'small-split-against-zap-range': 197,
  'small-unmap-against-zap-range': 3,
  'small-write-against-clear-log': 4,
  'small-write-against-enable-log': 4,
  'small-write-against-get-log': 10,
  'small-zap-range-against-zap-range': 2,
};
