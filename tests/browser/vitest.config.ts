import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['*.test.ts'],
    globalSetup: './global-setup.ts',
    testTimeout: 120_000,
    hookTimeout: 300_000,
    // Two cores: one Chromium at a time keeps waits short and failures readable.
    fileParallelism: false,
    retry: 0,
  },
});
