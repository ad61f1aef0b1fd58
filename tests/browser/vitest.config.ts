import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['*.test.ts'],
    globalSetup: './global-setup.ts',
    testTimeout: 300_000,
    hookTimeout: 600_000,
    // Two cores: one Chromium at a time keeps waits short and failures readable.
    fileParallelism: false,
    retry: 0,
  },
});
