// Builds the page once for all test files.
import { buildPage } from './pack.mjs';

export default async function setup({ provide }: { provide(key: 'page', value: string): void }): Promise<void> {
  provide('page', await buildPage());
}

declare module 'vitest' {
  interface ProvidedContext { page: string }
}
