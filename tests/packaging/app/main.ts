// For bundlers that know `new URL(…, import.meta.url)`: nothing to say.
import { start } from './page.js';

start(new Worker(new URL('./worker.js', import.meta.url), { type: 'module' }));
