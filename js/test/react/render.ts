import {act, createElement, type ReactNode, StrictMode} from 'react';
import {createRoot} from 'react-dom/client';
import {afterEach} from 'vitest';

(globalThis as {IS_REACT_ACT_ENVIRONMENT?: boolean}).IS_REACT_ACT_ENVIRONMENT = true;

const unmounts: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const unmount of unmounts.splice(0)) {
    await unmount();
  }
});

/** A tree under StrictMode, in the document, until the test ends. */
export async function render(node: ReactNode) {
  const element = document.createElement('div');
  const root = createRoot(element);
  const show = (next: ReactNode) => act(async () => root.render(createElement(StrictMode, null, next)));
  const unmount = () => act(async () => root.unmount());
  unmounts.push(unmount);
  await show(node);
  return {show, unmount, text: () => element.textContent};
}
