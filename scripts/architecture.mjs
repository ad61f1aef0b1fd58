// Fails when a crate gains an arrow to another crate of ours that the design does not have,
// or when something with I/O reaches a crate that must stay without.
import { cargoMetadata, command, Refusal, say } from './tools.mjs';

const ARROWS = {
  'landfall-zql': [],
  'landfall-ivm': ['landfall-zql'],
  'landfall-protocol': ['landfall-zql'],
  'landfall-store': ['landfall-zql'],
  'landfall-client': ['landfall-ivm', 'landfall-protocol', 'landfall-store', 'landfall-zql'],
  'landfall-web': ['landfall-client', 'landfall-store'],
  'landfall-server': ['landfall-ivm', 'landfall-protocol', 'landfall-zql'],
};
const SANS_IO = ['landfall-zql', 'landfall-ivm', 'landfall-protocol', 'landfall-store', 'landfall-client'];
const IO = ['tokio', 'futures', 'async-std', 'rand', 'getrandom', 'web-sys', 'js-sys', 'wasm-bindgen', 'rusqlite', 'reqwest'];

await command(() => {
  const problems = [];
  for (const { name, dependencies } of cargoMetadata('--no-deps').packages) {
    if (['landfall-sim', 'landfall-oracle', 'landfall-example-rust-server'].includes(name)) continue;
    const wanted = ARROWS[name];
    if (!wanted) {
      problems.push(`${name} is a new crate: give it a place in scripts/architecture.mjs and ARCHITECTURE.md`);
      continue;
    }
    for (const { name: other } of dependencies.filter(dependency => dependency.kind === null)) {
      if (other.startsWith('landfall-') && !wanted.includes(other)) problems.push(`${name} must not know ${other}`);
      if (SANS_IO.includes(name) && IO.includes(other)) problems.push(`${name} does no I/O: it must not depend on ${other}`);
    }
  }
  if (problems.length) throw new Refusal(problems.join('\n✗ '));
  say('crates: no arrow that the design does not have');
});
