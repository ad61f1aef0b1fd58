/** A sync server inside the page: both clients that speak the protocol are fed by it, with the same text. */
import {type AnyRow, type Data, tableNames} from './data.ts';
import type {Change, Changes} from './script.ts';
import {turn} from './waiting.ts';

interface Mutation {
  readonly id: number;
  readonly clientID: string;
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
  // Texts of pushes: read when they are confirmed, so that reading them is no part of a figure.
  #pushes: string[] = [];
  #written: Changes[] = [];
  readonly #texts = new WeakMap<Changes, string>();

  constructor() {
    const host = `sync-${++count}.test`;
    this.url = `https://${host}`;
    servers.set(host, this);
  }

  /** Whether the client has said what it wants, so that pokes may come. */
  get ready(): boolean {
    return this.#greeted;
  }

  /** Sends all rows, in pokes of some ten thousand, and lets the client work after each. */
  async load(data: Data): Promise<void> {
    for (const table of tableNames) {
      const rows = data[table] as unknown as readonly AnyRow[];
      for (let at = 0; at < rows.length; at += 25_000) {
        this.#poke({rowsPatch: rows.slice(at, at + 25_000).map(value => ({op: 'put', tableName: table, value}))});
        await turn();
      }
    }
  }

  /** Writes the text of these transactions beforehand. */
  prepare(transactions: readonly Changes[]): void {
    for (const changes of transactions) {
      this.#texts.set(changes, JSON.stringify(changes.map(rowOp)));
    }
  }

  /** One transaction of another client. */
  poke(changes: Changes): void {
    const [pokeID, cookie] = this.#begin();
    this.#socket?.deliver(`["pokePart",{"pokeID":"${pokeID}","rowsPatch":${this.#texts.get(changes) ?? '[]'}}]`);
    this.#end(pokeID, cookie);
  }

  /** What the client is about to write. */
  expect(changes: Changes): void {
    this.#written.push(changes);
  }

  /** Applies what was written, as the database would, and says so. */
  confirm(): void {
    const mutations = this.#pushes.flatMap(text => (JSON.parse(text) as Message)[1]['mutations'] as readonly Mutation[]);
    const last = mutations.at(-1);
    if (mutations.length !== this.#written.length) {
      throw new Error(`${this.#written.length} writes, but ${mutations.length} were pushed`);
    }
    if (last !== undefined) {
      const rowsPatch = this.#written.flatMap(changes => changes.map(rowOp));
      this.#pushes = [];
      this.#written = [];
      this.#poke({rowsPatch, lastMutationIDChanges: {[last.clientID]: last.id}});
    }
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
      this.#handle(header.initConnectionMessage);
    }
  }

  received(text: string): void {
    if (text.startsWith('["push"')) {
      this.#pushes.push(text);
    } else {
      this.#handle(JSON.parse(text) as Message);
    }
  }

  #handle([type, body]: Message): void {
    if (type === 'ping') {
      this.#send(['pong', {}]);
    } else if (type === 'initConnection' || type === 'changeDesiredQueries') {
      this.#greeted = true;
      this.#desired((body['desiredQueriesPatch'] ?? []) as readonly QueryOp[]);
    }
  }

  // Every row is there from the start, so every query is answered as soon as it is asked.
  #desired(patch: readonly QueryOp[]): void {
    const ops = patch.map(({op, hash}) => (op === 'clear' ? {op} : {op, hash}));
    this.#poke({desiredQueriesPatches: {[this.#clientID]: ops}, gotQueriesPatch: ops});
  }

  #poke(part: {readonly [key: string]: unknown}): void {
    const [pokeID, cookie] = this.#begin();
    this.#send(['pokePart', {pokeID, ...part}]);
    this.#end(pokeID, cookie);
  }

  #begin(): [pokeID: string, cookie: string] {
    const pokeID = (++this.#version).toString(36).padStart(6, '0');
    this.#send(['pokeStart', {pokeID, baseCookie: this.#cookie}]);
    return [pokeID, `1${pokeID}`];
  }

  #end(pokeID: string, cookie: string): void {
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
  readonly #server: FakeServer | undefined;
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
    this.#server = server;
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
    this.#server?.received(text);
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
