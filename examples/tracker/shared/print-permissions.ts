// Writes the compiled permissions to the file named, or to standard output.
import { permissionsText, writePermissions } from 'landfall/permissions';
import { permissions } from './permissions.ts';

const compiled = await permissions;
if (compiled === undefined) throw new Error('There are no permissions');
const [file] = process.argv.slice(2);
if (file === undefined) {
  process.stdout.write(permissionsText(compiled));
} else {
  await writePermissions(compiled, file);
}
