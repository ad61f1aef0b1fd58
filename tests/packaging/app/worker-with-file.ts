import wasm from 'landfall/landfall.wasm';
import { write } from './in-worker.js';

void write(wasm).then(said => postMessage(said));
