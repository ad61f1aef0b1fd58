// Fails when a dependency, Rust or npm, has a licence that the project does not accept.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cargoMetadata, command, readJson, Refusal, root, say } from './tools.mjs';

const ACCEPTED = new Set([
  'MIT', 'MIT-0', 'Apache-2.0', 'Apache-2.0 WITH LLVM-exception', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', '0BSD', 'Zlib',
  'Unicode-3.0', 'BlueOak-1.0.0', 'CC0-1.0',
]);
// Data, not code, or a tool that no artefact contains; each with the reason.
const EXCEPTIONS = {
  'webpki-root-certs': 'root certificates, data under CDLA-Permissive-2.0',
  'webpki-roots': 'root certificates, data under CDLA-Permissive-2.0',
  'lightningcss': 'MPL-2.0, used unmodified by the bundler while building',
  'caniuse-lite': 'data under CC-BY-4.0, used while building',
};

/** Whether an SPDX expression can be met by accepted licences alone. */
function accepted(expression) {
  const plain = expression.replaceAll('/', ' OR ').replace(/[()]/g, ' ( ');
  if (plain.includes('(')) {
    const inner = /^(.*?)\(([^()]*)\)(.*)$/.exec(expression.replaceAll('/', ' OR '));
    if (inner) return accepted(`${inner[1]} ${accepted(inner[2]) ? 'MIT' : 'refused'} ${inner[3]}`);
  }
  return expression.replaceAll('/', ' OR ').split(/\s+OR\s+/)
    .some(option => option.split(/\s+AND\s+/).every(licence => ACCEPTED.has(licence.trim())));
}

await command(() => {
  const problems = [];
  const crates = cargoMetadata().packages;
  for (const { name, version, license } of crates) {
    const exempt = Object.hasOwn(EXCEPTIONS, name);
    if (!exempt && !(license && accepted(license))) problems.push(`crate ${name} ${version}: ${license ?? 'no licence'}`);
  }
  const packages = Object.entries(readJson('package-lock.json').packages)
    .filter(([path, { link }]) => path.includes('node_modules/') && !link)
    .map(([path]) => path);
  let read = 0;
  for (const path of packages) {
    const manifest = join(root, path, 'package.json');
    if (!existsSync(manifest)) continue; // optional packages of other platforms
    const { name, version, license } = JSON.parse(readFileSync(manifest, 'utf8'));
    read += 1;
    const exempt = Object.keys(EXCEPTIONS).some(known => name === known || name?.startsWith(`${known}-`));
    if (!exempt && !(typeof license === 'string' && accepted(license))) {
      problems.push(`npm package ${name} ${version}: ${license ?? 'no licence'}`);
    }
  }
  if (problems.length) throw new Refusal(`licences that are not accepted:\n  ${problems.join('\n  ')}`);
  say(`licences: ${crates.length} crates and ${read} npm packages, all accepted`);
});
