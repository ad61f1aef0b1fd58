import {writeFile} from 'node:fs/promises';
import type {MaybePromise} from '../type-tools.js';
import type {CompiledPermissionsConfig} from './define-permissions.js';

/** The text of a permissions file, as the server reads it. */
export function permissionsText(compiled: CompiledPermissionsConfig): string {
  return `${JSON.stringify(compiled, null, 2)}\n`;
}

/**
 * Writes what `definePermissions` made to a file for the server.
 *
 * ```ts
 * await writePermissions(permissions, 'permissions.json');
 * ```
 */
export async function writePermissions(
  permissions: MaybePromise<CompiledPermissionsConfig | undefined>,
  path: string,
): Promise<void> {
  const compiled = await permissions;
  if (compiled === undefined) {
    throw new Error('definePermissions gave no permissions to write.');
  }
  await writeFile(path, permissionsText(compiled));
}
