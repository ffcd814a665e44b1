/** Errors of system calls; an ioctl returns one negated (kernel: include/uapi/asm-generic/errno-base.h). */
export const Errno = {
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  EAGAIN: 11,
  ENOMEM: 12,
  EFAULT: 14,
  EEXIST: 17,
  EINVAL: 22,
} as const;

export type ErrnoName = keyof typeof Errno;

/** `-EINVAL` for -22, `0` for 0: for messages. */
export function errnoName(result: number): string {
  const name = Object.entries(Errno).find(([, value]) => value === -result)?.[0];
  return name === undefined ? `${result}` : `-${name}`;
}
