import { write } from './in-worker.js';

void write().then(said => postMessage(said));
