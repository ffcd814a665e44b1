/**
 * Call sites of the locks inside the machine itself, beside the MMU's own in `mmu/site.ts`.
 *
 * A site is a number that a lock reports to the probe; the machine's begin at {@link MACHINE_SITES_BASE}, so that the two
 * tables share one space.
 */
export const MACHINE_SITES_BASE = 96;

export const MACHINE_SITES = [
  'get_page_from_freelist',
  'free_one_page',
  'queue_work',
  'process_one_work',
  'flush_workqueue',
] as const;

export type MachineSiteName = (typeof MACHINE_SITES)[number];

/** Number of a site by its name. */
export const MachineSite = Object.fromEntries(MACHINE_SITES.map((name, i) => [name, MACHINE_SITES_BASE + i])) as Readonly<
  Record<MachineSiteName, number>
>;
