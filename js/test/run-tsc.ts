import {execFile} from 'node:child_process';
import {createRequire} from 'node:module';
import {dirname, join} from 'node:path';
import {promisify} from 'node:util';

const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
const run = promisify(execFile);

/** What the TypeScript compiler has to say; empty when all is well. */
export async function runTsc(args: readonly string[]): Promise<string> {
  try {
    const {stdout} = await run(process.execPath, [compiler, ...args]);
    return stdout;
  } catch (error) {
    const {stdout, stderr} = error as {readonly stdout?: string; readonly stderr?: string};
    const said = `${stdout ?? ''}${stderr ?? ''}`;
    if (said === '') {
      throw error;
    }
    return said;
  }
}
