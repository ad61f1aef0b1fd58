// Runs a command against a throw-away Postgres: `node scripts/with-postgres.mjs -- cargo test -p landfall-server`.
// The command finds it in LANDFALL_TEST_POSTGRES_URL; a URL that is already set is used as it is.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { startPostgres } from './postgres.mjs';

const [command, ...args] = process.argv.slice(2).filter((arg, index) => !(index === 0 && arg === '--'));
if (!command) {
  console.error('usage: node scripts/with-postgres.mjs -- COMMAND [ARGUMENT …]');
  process.exit(2);
}
const given = process.env.LANDFALL_TEST_POSTGRES_URL;
const postgres = given ? undefined : await startPostgres();
const child = spawn(command, args, {
  stdio: 'inherit',
  env: {
    ...process.env,
    LANDFALL_TEST_POSTGRES_URL: given ?? postgres.url,
    ...(postgres?.ca && { LANDFALL_TEST_POSTGRES_CA: postgres.ca }),
  },
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
const code = await new Promise(resolve => {
  child.once('error', error => { console.error(`${command}: ${error.message}`); resolve(127); });
  child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
});
await postgres?.stop();
process.exit(code);
