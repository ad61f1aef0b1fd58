import { Landfall } from 'landfall';
import { mutators, queries, schema } from './schema.js';

const zero = new Landfall({ schema, mutators, kvStore: 'mem', logLevel: 'error' });
await zero.mutate(mutators.note.add({ id: 'node', text: 'from Node' })).client;
console.log(JSON.stringify(await zero.run(queries.notes())));
await zero.close();
