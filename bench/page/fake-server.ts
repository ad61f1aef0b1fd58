/** A sync server inside the page: both clients that speak the protocol are fed by it, with the same text. */
import {type AnyRow, type Data, tableNames} from './data.ts';
import type {Change, Changes} from './script.ts';
import {turn} from './waiting.ts';

interface Mutation {
  readonly id: number;
  readonly clientID: string;
  readonly args: readonly [{readonly changes: Changes}];
}
type Message = readonly [type: string, body: {readonly [key: string]: unknown}];
interface QueryOp {
  readonly op: 'put' | 'del' | 'clear';
  readonly hash?: string;
}

const primaryKeys: {readonly [table: string]: readonly string[]} = {issueLabel: ['issueID', 'labelID']};
const servers = new Map<string, FakeServer>();
let count = 0;

/** Serves one client. */
export class FakeServer {
  readonly url: string;
  #socket: FakeSocket | undefined;
  #clientID = '';
  #cookie: string | null = null;
  #version = 0;
  #greeted = false;
  #unconfirmed: Mutation[] = [];

  constructor() {
    const host = `sync-${++count}.test`;
    this.url = `https://${host}`;
    servers.set(host, this);
  }

  /** Whether the client has said what it wants, so that pokes may come. */
  get ready(): boolean {
    return this.#greeted;
  }

  /** How many writes wait for `confirm`. */
  get unconfirmed(): number {
    return this.#unconfirmed.length;
  }

  /** Sends all rows, in pokes of some ten thousand, and lets the client work after each. */
  async load(data: Data): Promise<void> {
    for (const table of tableNames) {
      const rows = data[table] as unknown as readonly AnyRow[];
      for (let at = 0; at < rows.length; at += 25_000) {
        const puts = rows.slice(at, at + 25_000).map(value => ({op: 'put', tableName: table, value}));
        this.#poke([{rowsPatch: puts}]);
        await turn();
      }
    }
  }

  /** One transaction of another client. */
  poke(changes: Changes): void {
    this.#poke([{rowsPatch: changes.map(rowOp)}]);
  }

  /** Applies the writes that wait, as the database would, and says so. */
  confirm(): void {
    const last = this.#unconfirmed.at(-1);
    if (last === undefined) {
      return;
    }
    const rowsPatch = this.#unconfirmed.flatMap(({args}) => args[0].changes.map(rowOp));
    this.#unconfirmed = [];
    this.#poke([{rowsPatch, lastMutationIDChanges: {[last.clientID]: last.id}}]);
  }

  stop(): void {
    servers.delete(new URL(this.url).host);
    this.#socket = undefined;
  }

  connected(socket: FakeSocket, url: URL, protocol: string): void {
    this.#socket = socket;
    this.#clientID = url.searchParams.get('clientID') ?? '';
    this.#send(['connected', {wsid: url.searchParams.get('wsid') ?? '', timestamp: Date.now()}]);
    const header = JSON.parse(new TextDecoder().decode(bytesOf(atob(decodeURIComponent(protocol))))) as {
      initConnectionMessage?: Message;
    };
    if (header.initConnectionMessage !== undefined) {
      this.received(header.initConnectionMessage);
    }
  }

  received([type, body]: Message): void {
    if (type === 'ping') {
      this.#send(['pong', {}]);
    } else if (type === 'initConnection' || type === 'changeDesiredQueries') {
      this.#greeted = true;
      this.#desired((body['desiredQueriesPatch'] ?? []) as readonly QueryOp[]);
    } else if (type === 'push') {
      this.#unconfirmed.push(...(body['mutations'] as readonly Mutation[]));
    }
  }

  // Every row is there from the start, so every query is answered as soon as it is asked.
  #desired(patch: readonly QueryOp[]): void {
    const ops = patch.map(({op, hash}) => (op === 'clear' ? {op} : {op, hash}));
    this.#poke([{desiredQueriesPatches: {[this.#clientID]: ops}, gotQueriesPatch: ops}]);
  }

  #poke(parts: readonly {readonly [key: string]: unknown}[]): void {
    const pokeID = (++this.#version).toString(36).padStart(6, '0');
    const cookie = `1${pokeID}`;
    this.#send(['pokeStart', {pokeID, baseCookie: this.#cookie}]);
    for (const part of parts) {
      this.#send(['pokePart', {pokeID, ...part}]);
    }
    this.#send(['pokeEnd', {pokeID, cookie}]);
    this.#cookie = cookie;
  }

  #send(message: Message): void {
    this.#socket?.deliver(JSON.stringify(message));
  }
}

function rowOp({op, table, row}: Change): object {
  if (op !== 'delete') {
    return {op: 'put', tableName: table, value: row};
  }
  const key = primaryKeys[table] ?? ['id'];
  return {op: 'del', tableName: table, id: Object.fromEntries(key.map(column => [column, row[column]]))};
}

function bytesOf(binary: string): Uint8Array {
  return Uint8Array.from(binary, letter => letter.charCodeAt(0));
}

type Handler<E> = ((event: E) => void) | null;

/** A `WebSocket` whose other end is a {@link FakeServer} in this page. */
class FakeSocket extends EventTarget {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSING = 2;
  static readonly CLOSED = 3;
  readonly CONNECTING = 0;
  readonly OPEN = 1;
  readonly CLOSING = 2;
  readonly CLOSED = 3;
  readonly url: string;
  readonly protocol: string;
  readonly bufferedAmount = 0;
  readonly extensions = '';
  binaryType: BinaryType = 'blob';
  readyState = 0;
  onopen: Handler<Event> = null;
  onmessage: Handler<MessageEvent> = null;
  onclose: Handler<CloseEvent> = null;
  onerror: Handler<Event> = null;

  constructor(url: string | URL, protocols: string | string[] = '') {
    super();
    this.url = String(url);
    this.protocol = typeof protocols === 'string' ? protocols : (protocols[0] ?? '');
    const parsed = new URL(this.url);
    const server = servers.get(parsed.host);
    void turn().then(() => {
      if (this.readyState !== 0) {
        return;
      }
      if (server === undefined) {
        this.close(1006);
        return;
      }
      this.readyState = 1;
      const event = new Event('open');
      this.onopen?.(event);
      this.dispatchEvent(event);
      server.connected(this, parsed, this.protocol);
    });
  }

  deliver(data: string): void {
    if (this.readyState === 1) {
      const event = new MessageEvent('message', {data});
      this.onmessage?.(event);
      this.dispatchEvent(event);
    }
  }

  send(text: string): void {
    servers.get(new URL(this.url).host)?.received(JSON.parse(text) as Message);
  }

  close(code = 1000, reason = ''): void {
    if (this.readyState === 3) {
      return;
    }
    this.readyState = 3;
    const event = new CloseEvent('close', {code, reason, wasClean: code === 1000});
    this.onclose?.(event);
    this.dispatchEvent(event);
  }
}

/** From now on every socket of this page leads to a fake server. */
export function replaceWebSocket(): void {
  globalThis.WebSocket = FakeSocket as unknown as typeof WebSocket;
}
