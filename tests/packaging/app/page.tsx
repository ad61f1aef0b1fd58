// The page: shows what it wrote, and what a client in a worker has stored.
import { createRoot } from 'react-dom/client';
import type { WasmSource } from 'landfall';
import { Notes } from './notes.js';

export function start(worker: Worker, wasm?: WasmSource): void {
  createRoot(document.getElementById('root')!).render(<Notes wasm={wasm} />);
  worker.onmessage = ({ data }: MessageEvent<string>) => { document.getElementById('worker')!.textContent = data; };
}
