/** The engines that are compared. */
import * as landfall from 'landfall';
import * as zero from '@rocicorp/zero';
import type {Engine} from './engine.ts';
import {rindle} from './rindle.ts';
import {tanstack} from './tanstack.ts';
import {zeroEngine} from './zero-api.ts';

export const engines: readonly Engine[] = [
  // The view of a query stays for 50 ms after its last user.
  zeroEngine({name: 'landfall', module: landfall, options: {wasm: new URL('/landfall_bg.wasm', location.href)}, lingerMs: 80}),
  zeroEngine({name: 'zero', module: zero as unknown as typeof landfall, lingerMs: 80}),
  tanstack,
  rindle,
];
