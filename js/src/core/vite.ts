/** Vite's dev server before version 8 bundles dependencies into a folder of its own, and leaves files beside them behind. */

// A bundle does not tell by which name this package was installed.
const names = ['landfall', '@rocicorp/zero'];

/** Where the dev server begins, if `script` is a dependency that Vite has bundled. */
export function viteBase(script: string): string | undefined {
  return /^(https?:\/\/.*?\/)(?:@fs|node_modules|\.vite)\/(?:.*\/)?deps\/[^/]+$/.exec(script)?.[1];
}

/** Where the dev server has the WebAssembly module: it is asked, since packages may be in any folder above the page's. */
export async function viteModuleURL(script: string): Promise<URL | undefined> {
  const base = viteBase(script);
  for (const name of base === undefined ? [] : names) {
    // What Vite makes of `import … from 'landfall/landfall.wasm?init'`: the only such code that all versions give to a page.
    // A package that is not there gets a place too, but one with the name that was asked for.
    const answer = await fetch(`${base}@id/${name}/landfall.wasm?import&init`);
    const [, place] = /"([^"]+\/landfall_bg\.wasm)(?:\?init)?"/.exec(answer.ok ? await answer.text() : '') ?? [];
    if (place !== undefined) {
      return new URL(place, base);
    }
  }
  return undefined;
}
