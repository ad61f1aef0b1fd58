// What most files here begin with: the page under test, and one way to run it; both go at the end of the file.
import { afterAll, beforeAll, inject } from 'vitest';
import type { Page } from 'playwright-core';
import type { Mode, Prepare } from './modes.ts';
import { type Chromium, serveFolder } from './world.ts';

export class Stage {
  #site: Awaited<ReturnType<typeof serveFolder>> | undefined;
  #mode: Mode | undefined;

  constructor(start: (prepare?: Prepare) => Promise<Mode>, prepare?: Prepare) {
    beforeAll(async () => {
      this.#site = await serveFolder(inject('page'));
      this.#mode = await start(prepare);
    });
    afterAll(async () => {
      await this.#mode?.close();
      await this.#site?.close();
    });
  }

  get mode(): Mode { return this.#mode!; }
  get origin(): string { return this.#site!.url; }

  /** The page's address; `more` are parameters of its own. */
  url(more = ''): string { return `${this.origin}/?cache=${encodeURIComponent(this.mode.server.url)}${more}`; }

  /** Opens the page and waits for its client. */
  async open(chromium: Chromium, more = '', before?: (page: Page) => Promise<void>): Promise<Page> {
    const page = await chromium.page(this.url(more), before);
    await page.waitForFunction(() => 'app' in window);
    return page;
  }
}

export const nothingPending = (page: Page) => page.waitForFunction(() => window.app.zero.pending.current.length === 0);
