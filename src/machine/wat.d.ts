/** WebAssembly text, compiled by the build: the bytes of the module. */
declare module '*.wat' {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}

/** The part of the WebAssembly interface in use: it has its types in the browser's library, which does not belong here. */
declare namespace WebAssembly {
  class Memory {
    readonly buffer: SharedArrayBuffer;
    /** Sizes in pages of 64 KiB. */
    constructor(options: { initial: number; maximum: number; shared: true });
    grow(pages: number): number;
  }
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    readonly exports: Record<string, unknown>;
    constructor(module: Module, imports: Record<string, Record<string, unknown>>);
  }
  function validate(bytes: Uint8Array): boolean;
}
