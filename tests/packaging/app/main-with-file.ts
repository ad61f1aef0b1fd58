// For bundlers that do not: the module is a file that the program names.
import wasm from 'landfall/landfall.wasm';
import { start } from './page.js';

start(new Worker(new URL('./worker-with-file.js', import.meta.url), { type: 'module' }), wasm);
