// Installs everything that `npm start` and `npm test` need.
import { command, say, setUpToTest } from './tools.mjs';

await command(() => {
  setUpToTest();
  say('everything is there');
});
