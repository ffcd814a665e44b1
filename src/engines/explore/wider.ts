/** Logs that grow with an execution: typed arrays that double. */
export function wider<A extends Int32Array | Uint8Array>(from: A): A {
  const Type = from.constructor as new (length: number) => A;
  const to = new Type(from.length * 2);
  to.set(from);
  return to;
}
