// Servers are checked without the browser's types, so this has to do without the name `WebAssembly`.
type CompiledModule = typeof globalThis extends {readonly WebAssembly: {readonly Module: abstract new (...args: never[]) => infer M}}
  ? M
  : never;

/** Where the WebAssembly module comes from: its place, its bytes, or the compiled module. */
export type WasmSource = string | URL | Response | ArrayBuffer | ArrayBufferView | CompiledModule;
