#!/usr/bin/env node
/** `landfall-permissions MODULE [FILE]`: writes the export `permissions` of a module to a file, or to standard output. */
import {resolve} from 'node:path';
import {pathToFileURL} from 'node:url';
import type {CompiledPermissionsConfig} from './define-permissions.js';
import {permissionsText, writePermissions} from './write-permissions.js';

async function main([module, file]: readonly string[]): Promise<void> {
  if (module === undefined) {
    throw new Error('Usage: landfall-permissions MODULE [FILE]');
  }
  const exports = await load(module);
  const permissions = (await exports.permissions) as CompiledPermissionsConfig | undefined;
  if (permissions === undefined) {
    throw new Error(`${module} has no export named "permissions".`);
  }
  if (file === undefined) {
    process.stdout.write(permissionsText(permissions));
  } else {
    await writePermissions(permissions, file);
  }
}

async function load(module: string): Promise<{readonly permissions?: unknown}> {
  try {
    return await import(pathToFileURL(resolve(module)).href);
  } catch (error) {
    if ((error as {readonly code?: unknown}).code === 'ERR_UNKNOWN_FILE_EXTENSION') {
      throw new Error(`Node ${process.versions.node} does not read ${module}: give a module in JavaScript, for example by
  npx esbuild ${module} --bundle --packages=external --platform=node --format=esm --outfile=permissions.mjs`);
    }
    throw error;
  }
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
